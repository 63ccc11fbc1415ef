//! A payload over the network: evidence first, then a handshake with the key that it vouches for, then
//! requests (docs/client.md, section 2).
//!
//! The order is in the types. [`Opened`] has evidence for a fresh nonce and can say nothing; only an appraisal in
//! which every step passed makes it a [`Session`], and only a session takes requests. Whoever answers at the
//! address, or sits in between, gets an HTTP request with the nonce, and then 48 bytes of a handshake if what it
//! showed passed.

mod address;
#[cfg(test)]
#[path = "../tests/cvm/mod.rs"]
mod cvm;
mod error;
mod opened;
#[cfg(test)]
mod payload_tests;
mod reply;
mod session;
mod socket;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use address::{Address, AddressError};
pub use error::{Refused, RemoteError, printable};
pub use opened::{Opened, Trust};
pub use reply::Reply;
pub use session::Session;

/// For a TCP connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For evidence: hardware takes up to seconds for a report.
pub const EVIDENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// For the answer to a handshake: the payload gives it between two of its steps.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often the other end is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Without any sign for so long, a connection is given up.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(150);
