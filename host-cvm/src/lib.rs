//! The CVM host: runs the payload in wasmtime with exactly its own imports and links it to GPU hosts.
//!
//! ```text
//! Cvm -- sessions --> engine threads -- one payload instance each -- streams --> GPU hosts
//!                          ^ draw                                                  (masked rows only)
//!                      pools <-- minting threads -- one payload instance each
//!                                     ^ A, R_pub
//! ```
//!
//! * [`payload`](Payload): checks a component's imports and exports, compiles, caches
//! * [`Cvm`]: set-up, sessions, counters
//! * [`api`]: clients over HTTP, their frames carried to the payload by `sealed`
//! * [`attestation`]: evidence from the hardware
//! * `link`: one stream for each instance and host; bounds everything that a host sends
//! * `store`, `imports`: all that a guest may touch
//!
//! Nothing here logs a prompt, a token, a row, a key or a mask.

#[allow(
    missing_docs,
    reason = "generated from wit/payload.wit, which documents every item"
)]
mod bindings;

pub mod api;
pub mod attestation;
pub mod cli;
mod config;
mod counters;
mod crew;
mod cvm;
mod engine;
mod error;
mod fetch;
mod imports;
mod instance;
mod link;
mod memory;
mod minter;
mod payload;
mod pool;
mod public;
mod rehearsal;
mod sealed;
mod session;
mod setup;
mod store;

pub use config::{CvmConfig, DEFAULT_PUBLIC_SEED, Deadlines, Masking, SETUP_FACTOR};
pub use counters::Counters;
pub use cvm::{Cvm, Glimpse};
pub use error::CvmError;
pub use link::{LinkError, LinkFailure};
pub use memory::{MaskMemory, free_bytes};
pub use payload::{Payload, PayloadError};
pub use public::PublicRowsFrom;
pub use rehearsal::{Matrix, Part, Rehearsal};
pub use sealed::{FrameReceiver, FrameSender, Keys, Refused, Reservation, SealedConnection};
pub use session::{Event, FinishReason, Message, Prompt, Request, Sampling, Session};
pub use setup::{MaskFacts, ProjectionFact, SetupPhase, SetupProgress, Summary};
pub use talaria_arithmetic::module_lwe::{PARAMETERS, Parameters};

/// The payload that was built with this crate: the bytes of a component, for [`Payload::load`].
pub fn embedded_payload() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/payload.wasm"))
}
