//! What a host saw, kept: for the adversary lab, for demonstrations and for tests.
//!
//! A record is one append-only file per run of a host, little-endian throughout. Products are left out:
//! a host computes them from what is here and the weights it has.
//!
//! ```text
//! header   "TALREC" 0x0d 0x0a     8 bytes
//!          version                u32     FORMAT
//!          model digest           32 bytes
//!          manifest length        u64     at most MAX_MANIFEST_BYTES
//!          manifest               canonical bytes (talaria-wire)
//! then, for each request,
//!          index                  u64     0, 1, 2, ... in the order in which requests came
//!          stream                 u64     callers open one stream each
//!          microseconds           u64     since the start of the record
//!          projection             u32     index into the manifest
//!          rows                   u32     at least 1
//!          planes                 u32     0: joined, 1: apart
//!          kind                   u32     1: residues, 2: seed
//!          length                 u64     bytes that follow: rows x 2k x 4, or 32
//!          bytes                  as they came (wire/proto/weighted.proto)
//! ```

mod reader;
mod writer;

pub use reader::{Entry, Reader, RecordError};
pub use writer::Recorder;

use crate::backend::Planes;
use crate::scheduler::rows::ClaimBody;

/// Version of the format above.
pub const FORMAT: u32 = 2;

const MAGIC: [u8; 8] = *b"TALREC\r\n";
const KIND_RESIDUES: u32 = 1;
const KIND_SEED: u32 = 2;
const PLANES_JOINED: u32 = 0;
const PLANES_APART: u32 = 1;
/// Bytes of an entry before its body.
const ENTRY_BYTES: usize = 8 + 8 + 8 + 4 + 4 + 4 + 4 + 8;

/// A request as a host saw it. Its counts and lengths agree with the manifest; residues are unread.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Number of the stream it came on, from 0.
    pub stream: u64,
    /// Index into the manifest's projections.
    pub projection: u32,
    /// Number of rows.
    pub rows: u32,
    /// What the product does with the planes.
    pub planes: Planes,
    /// Residues or seed as they came.
    pub body: ClaimBody,
}

/// Looks at everything a host sees.
pub trait Observer: Send + Sync {
    /// Called for each request before it is queued, on the thread that reads the stream: what it waits
    /// for, the caller waits for.
    fn saw(&self, request: &Seen);
}

#[cfg(test)]
mod tests;
