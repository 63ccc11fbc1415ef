//! A fragment: a piece of a message, as it lies in a frame before sealing.
//!
//! ```text
//! flags u8 | stream u32be | length u16be | content (length bytes) | zeros up to a bucket less the tag
//! ```
//!
//! Flags: bit 0 says that the message ends here; the others are 0.

use zeroize::Zeroizing;

use super::{BUCKETS, ChannelError, MAX_CONTENT_BYTES, TAG_BYTES};

/// Bytes of a fragment before its content.
pub(super) const HEADER_BYTES: usize = 1 + 4 + 2;

const MESSAGE_ENDS: u8 = 1;

/// A piece of a message of a stream.
pub struct Fragment {
    /// Chosen by the client for each request of a connection.
    pub stream: u32,
    /// Whether the message ends with it.
    pub last: bool,
    /// At most [`MAX_CONTENT_BYTES`].
    pub content: Zeroizing<Vec<u8>>,
}

impl Fragment {
    /// Cuts a message into as few fragments as can be: at least one, all but the last of them full.
    pub fn split(stream: u32, message: &[u8]) -> impl Iterator<Item = Fragment> {
        let pieces = message.len().div_ceil(MAX_CONTENT_BYTES).max(1);
        (0..pieces).map(move |piece| {
            let rest = &message[piece * MAX_CONTENT_BYTES..];
            Fragment {
                stream,
                last: piece + 1 == pieces,
                content: Zeroizing::new(rest[..rest.len().min(MAX_CONTENT_BYTES)].to_vec()),
            }
        })
    }

    /// Lays it out and pads it. `None`: the content is too long.
    pub(super) fn padded(&self) -> Option<Zeroizing<Vec<u8>>> {
        let needed = HEADER_BYTES + self.content.len() + TAG_BYTES;
        let bucket = BUCKETS.into_iter().find(|bucket| *bucket >= needed)?;
        let length = u16::try_from(self.content.len()).ok()?;
        let mut plaintext = Zeroizing::new(Vec::with_capacity(bucket));
        plaintext.push(u8::from(self.last) * MESSAGE_ENDS);
        plaintext.extend(self.stream.to_be_bytes());
        plaintext.extend(length.to_be_bytes());
        plaintext.extend_from_slice(&self.content);
        plaintext.resize(bucket - TAG_BYTES, 0);
        Some(plaintext)
    }

    /// Takes what [`Fragment::padded`] laid out, and nothing else.
    pub fn parse(plaintext: &[u8]) -> Result<Self, ChannelError> {
        let parse = || {
            let (flags, rest) = plaintext.split_first()?;
            let (stream, rest) = rest.split_first_chunk()?;
            let (length, rest) = rest.split_first_chunk()?;
            let (content, padding) =
                rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            let known = *flags <= MESSAGE_ENDS && padding.iter().all(|byte| *byte == 0);
            known.then(|| Fragment {
                stream: u32::from_be_bytes(*stream),
                last: *flags == MESSAGE_ENDS,
                content: Zeroizing::new(content.to_vec()),
            })
        };
        parse().ok_or(ChannelError::Protocol)
    }
}
