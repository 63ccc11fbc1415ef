//! How much of a host callers may hold, and for how long.
//!
//! Bytes that came and are not decoded yet are, for each connection: what HTTP/2 lets a caller send ahead
//! ([`CONNECTION_WINDOW`]), a frame that is half there and one for each stream that waits for room
//! ([`FRAME_BYTES`] x (1 + [`STREAMS`])); and for all connections together half-received messages, which take their
//! room before they are kept ([`MESSAGE_BYTES`], or two of the largest requests if that is more). With 64 connections:
//!
//! ```text
//! 64 x (32 MiB + 1 MiB x (1 + 8)) + 512 MiB = 3136 MiB      one origin: half of it, 1568 MiB
//! ```
//!
//! besides the 128 KiB of an encrypted link and what the system keeps for a socket. A window takes a request of 256 rows
//! of 16,384 residues, and a CVM has a connection for each of its streams.

use std::time::Duration;

/// Bytes a caller may send ahead, on one stream and on all of a connection.
pub(super) const CONNECTION_WINDOW: u32 = 32 << 20;
/// Fewer, larger frames than HTTP/2's 16 KiB.
pub(super) const FRAME_BYTES: u32 = 1 << 20;
/// Calls of one connection at the same time. A CVM makes one.
pub(super) const STREAMS: u32 = 8;
/// Headers of a call, in bytes: gRPC's are some hundred.
pub(super) const HEADER_BYTES: u32 = 16 << 10;
/// Half-received messages of all callers; one origin may have half of it.
pub(super) const MESSAGE_BYTES: u64 = 512 << 20;
/// Weight passes at the same time, and of one origin; more wait.
pub(super) const WEIGHT_PASSES: u64 = 8;
pub(super) const WEIGHT_PASSES_OF_ONE: u64 = 2;
/// Connections that are being opened, and of one origin; more are closed. A handshake takes as long as its two messages
/// are under way, and a CVM comes again.
pub(super) const HANDSHAKES: u64 = 32;
pub(super) const HANDSHAKES_OF_ONE: u64 = 8;
/// Bytes a second at which a message must come, over times as long as [`Bounds::silence`]: a link of 1 Mbit/s.
pub(super) const LEAST_SENT: u64 = 128 << 10;
/// Bytes a second at which weights must be taken, over times as long as [`Bounds::stall`]. A payload takes a hundred times
/// as many.
pub(super) const LEAST_TAKEN: u64 = 256 << 10;

/// How much of a host callers may hold, and for how long, as far as that is not the same for every host.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at the same time; one origin may have half of them. More are closed.
    pub connections: usize,
    /// From a connection to the end of its handshake.
    pub handshake: Duration,
    /// From there to its first call.
    pub first_call: Duration,
    /// From the end of its last call to the next. A call may be quiet for as long as it likes.
    pub idle: Duration,
    /// Longest silence in the middle of a message.
    pub silence: Duration,
    /// Longest time in which nothing of an answer is taken. A payload that measures weights pauses for a chunk of
    /// 1 MiB, and has 32 MiB ahead.
    pub stall: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 64,
            handshake: Duration::from_secs(5),
            first_call: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            silence: Duration::from_secs(10),
            stall: Duration::from_secs(30),
        }
    }
}

impl Bounds {
    /// For callers of this process only: as many engines as it likes to run.
    pub fn of_own_callers() -> Self {
        Self {
            connections: 1024,
            ..Self::default()
        }
    }
}
