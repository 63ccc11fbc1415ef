//! The CVM host: runs the payload in wasmtime with exactly its own imports and links it to GPU hosts.
//!
//! ```text
//! Cvm -- sessions --> engine threads -- one payload instance each -- streams --> GPU hosts
//!                          ^ draw                                                  (masked rows only)
//!                      pools <-- minting threads -- one payload instance each
//!                                     ^ A, R_pub
//! ```
//!
//! Eight rooms:
//!
//! * `link`: one stream for each instance and host; bounds everything that a host sends
//! * `masks`: the schemes; masks of module-LWE, minted ahead, and what they are minted from
//! * `payload`: checks a component, compiles it, runs instances of it; all that a guest may touch
//! * `engine`: the thread of an instance that serves: sessions, or sealed connections of clients
//! * `cvm`: configuration, set-up, what a program uses
//! * [`attestation`]: evidence from the hardware
//! * [`api`]: clients over HTTP, their frames carried to the payload by `engine`
//! * [`cli`]: the command line of `talaria-cvm`
//!
//! Nothing here logs a prompt, a token, a row, a key or a mask.

pub mod api;
pub mod attestation;
pub mod cli;
mod cvm;
mod engine;
mod link;
mod masks;
mod payload;

pub use cvm::{
    Cvm, CvmConfig, CvmError, DEFAULT_PUBLIC_SEED, Glimpse, MaskFacts, SetupPhase, SetupProgress,
    Summary,
};
pub use engine::{FrameReceiver, FrameSender, Reservation, SealedConnection, Session};
pub use link::{Deadlines, LinkError, LinkFailure, SETUP_FACTOR};
pub use masks::{MaskMemory, Masking, PublicRowsFrom, free_bytes};
pub use payload::{
    Counters, Keys, MOST_HOSTS, Occupancy, Part, Payload, PayloadError, Refused, Rehearsal, Traffic,
};
pub use talaria_arithmetic::module_lwe::{PARAMETERS, Parameters};
pub use talaria_wire::channel::message::{Event, FinishReason, Message, Prompt, Request, Sampling};
pub use talaria_wire::shape::MatrixShape;

/// The payload that was built with this crate: the bytes of a component, for [`Payload::load`].
pub fn embedded_payload() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/payload.wasm"))
}
