//! Fragments to messages, those of several streams at a time.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{ChannelError, Fragment, MAX_MESSAGE_BYTES, MAX_STREAMS};

/// Messages of which the end has not come yet: at most [`MAX_MESSAGE_BYTES`] in all.
#[derive(Default)]
pub struct Assembler {
    /// Pieces by stream, none of them empty. Kept apart until the end, so that no copy is left behind.
    pieces: BTreeMap<u32, Vec<Zeroizing<Vec<u8>>>>,
    bytes: usize,
}

impl Assembler {
    /// Takes the next fragment; the message that ends with it.
    ///
    /// # Errors
    /// Too many bytes or too many messages under way. The connection has to be given up.
    pub fn push(&mut self, fragment: Fragment) -> Result<Option<Zeroizing<Vec<u8>>>, ChannelError> {
        let Fragment {
            stream,
            last,
            content,
        } = fragment;
        if self.bytes + content.len() > MAX_MESSAGE_BYTES {
            return Err(ChannelError::TooLong);
        }
        if last {
            let mut message = self.forget(stream);
            message.push(content);
            return Ok(Some(join(&message)));
        }
        if content.is_empty() {
            return Err(ChannelError::Protocol);
        }
        self.bytes += content.len();
        self.pieces.entry(stream).or_default().push(content);
        match self.pieces.len() > MAX_STREAMS {
            true => Err(ChannelError::Protocol),
            false => Ok(None),
        }
    }

    /// Drops what came of a message of a stream.
    pub fn forget(&mut self, stream: u32) -> Vec<Zeroizing<Vec<u8>>> {
        let pieces = self.pieces.remove(&stream).unwrap_or_default();
        self.bytes -= total(&pieces);
        pieces
    }
}

fn total(pieces: &[Zeroizing<Vec<u8>>]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

fn join(pieces: &[Zeroizing<Vec<u8>>]) -> Zeroizing<Vec<u8>> {
    let mut message = Zeroizing::new(Vec::with_capacity(total(pieces)));
    pieces
        .iter()
        .for_each(|piece| message.extend_from_slice(piece));
    message
}
