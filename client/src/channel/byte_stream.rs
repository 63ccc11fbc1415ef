//! A transport over anything that reads and writes bytes, like a socket.

use std::io::{self, Read, Write};

use talaria_wire::channel::{FrameReader, prefixed};

use super::Transport;

/// Most bytes of one read.
const READ_BYTES: usize = 16 << 10;

/// Frames on a stream of bytes, each after its length.
pub struct ByteStream<S> {
    stream: S,
    reader: FrameReader,
}

impl<S: Read + Write> ByteStream<S> {
    /// Takes a stream on which nothing was said yet.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            reader: FrameReader::default(),
        }
    }
}

impl<S: Read + Write> Transport for ByteStream<S> {
    type Error = io::Error;

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let bytes = prefixed(frame).ok_or(io::ErrorKind::InvalidInput)?;
        self.stream.write_all(&bytes)?;
        self.stream.flush()
    }

    fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(frame) = self.reader.frame() {
                return Ok(Some(frame));
            }
            // There is room: a whole frame would have been taken out.
            let mut bytes = [0; READ_BYTES];
            let most = self.reader.room().min(READ_BYTES);
            match self.stream.read(&mut bytes[..most]) {
                Ok(0) if self.reader.is_within_a_frame() => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(0) => return Ok(None),
                Ok(count) => self.reader.push(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
        }
    }
}
