//! The channel between a client and the payload: what both ends have in common.
//!
//! From the bottom: [`noise`] (handshake), [`Sealed`] (fragments to frames of a few sizes and back),
//! [`Assembler`] (fragments to messages), [`message`] (what is asked and answered). Nothing here reads, writes or
//! waits. docs/channel.md states the protocol.

mod assembler;
mod fragment;
pub mod message;
pub mod noise;
mod sealed;

pub use assembler::Assembler;
pub use fragment::Fragment;
pub use sealed::Sealed;

/// Bytes of an X25519 key, public or secret.
pub const KEY_BYTES: usize = 32;

/// Bytes of each of the two handshake messages: a public key and the tag of an empty payload.
pub const HANDSHAKE_BYTES: usize = KEY_BYTES + TAG_BYTES;

/// Bytes of the payload's answer to it.
pub const ANSWER_BYTES: usize = HANDSHAKE_BYTES + 4;

/// Bytes of a Poly1305 tag.
pub const TAG_BYTES: usize = 16;

/// Longest frame: a Noise message (section 3).
pub const MAX_FRAME_BYTES: usize = 65_535;

/// Lengths that a frame can have. A frame has the shortest that its fragment fits.
pub const BUCKETS: [usize; 5] = [256, 1024, 4096, 16_384, MAX_FRAME_BYTES];

/// Longest content of a fragment.
pub const MAX_CONTENT_BYTES: usize = MAX_FRAME_BYTES - TAG_BYTES - fragment::HEADER_BYTES;

/// Frames in one direction after which its key is replaced (Noise, sections 4.2 and 11.3). A key never seals
/// more than 2^10 frames of 2^16 bytes, 2^26 bytes; ChaCha20-Poly1305 allows 2^38 for a single nonce.
pub const REKEY_FRAMES: u64 = 1 << 10;

/// Longest message, and most bytes of messages under way in one direction of a connection: a prompt of a
/// million tokens as ids, or 4 MiB of text.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Most streams of a connection at a time.
pub const MAX_STREAMS: usize = 64;

/// Events that the payload may send on a stream before the client has taken one of them. So an end keeps at
/// most this many for a reader that is slow.
pub const WINDOW: u32 = 64;

/// Why an end gives up a connection. Fixed texts: nothing here depends on what was said in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The other end has not the expected key or speaks another version, or somebody in between interfered.
    #[error("the handshake failed")]
    Handshake,
    /// A frame that is not the next one that the other end sealed.
    #[error("a frame was changed, repeated, left out or reordered on the way")]
    Frame,
    /// The other end sealed something that this protocol does not have.
    #[error("the other end does not keep to the protocol")]
    Protocol,
    /// A message over [`MAX_MESSAGE_BYTES`].
    #[error("a message is longer than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    /// The connection was given up before.
    #[error("the connection was given up")]
    Closed,
}

#[cfg(test)]
mod tests;
