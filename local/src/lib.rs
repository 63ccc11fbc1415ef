//! All parties of Talaria in one process, over real loopback sockets: GPU hosts, and the CVM with the
//! payload. What `talaria-local` and the end-to-end tests are made of.
//!
//! * [`hosts`]: a checkpoint on a device, and GPU hosts that serve it
//! * [`generate`](mod@generate): requests to a CVM, one or many at once, and their outcomes
//! * [`demo_model`]: the bundled checkpoint
//! * [`demo`](mod@demo), [`run`](mod@run), [`replay`](mod@replay), [`masking`](mod@masking), [`payload`](mod@payload),
//!   [`bench`](mod@bench): the subcommands; [`cli`]: their flags

#![forbid(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod demo;
pub mod demo_model;
mod error;
pub mod generate;
pub mod hosts;
pub mod masking;
mod output;
pub mod payload;
mod progress;
pub mod replay;
pub mod run;
pub mod table;

pub use error::LocalError;
