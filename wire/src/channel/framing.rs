//! Frames on a transport that carries bytes: each after its length as u16be (Noise, section 13).

use super::MAX_FRAME_BYTES;

/// A frame or handshake message with its length before it. `None`: longer than [`MAX_FRAME_BYTES`].
pub fn prefixed(frame: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(frame.len()).ok()?;
    Some([&length.to_be_bytes(), frame].concat())
}

/// Finds frames in bytes as they come, in pieces of any size. Any bytes are frames of something: whether they
/// are the other end's shows when they are opened.
#[derive(Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
}

impl FrameReader {
    /// How many more bytes it can take: never more than a frame is kept.
    pub fn room(&self) -> usize {
        2 + MAX_FRAME_BYTES - self.bytes.len()
    }

    /// Takes the beginning of `bytes`, at most [`FrameReader::room`]; how many.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.bytes.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// The next frame, if all of it came.
    pub fn frame(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(u16::from_be_bytes(*self.bytes.first_chunk()?));
        let end = 2 + length;
        let frame = self.bytes.get(2..end)?.to_vec();
        self.bytes.drain(..end);
        Some(frame)
    }

    /// Whether bytes of a frame came, but not all: if nothing more comes, it was cut off.
    pub fn is_within_a_frame(&self) -> bool {
        !self.bytes.is_empty()
    }
}
