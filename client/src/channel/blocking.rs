//! A connection over something that blocks: for tests without a network.

use talaria_wire::channel::message::{Event, Request};

use super::{Connection, ConnectionError, Handshake, Stream, Taken};
use crate::verify::Verified;

/// What carries frames between client and payload, whole and in order. Whoever it is need not be trusted.
pub(super) trait Transport {
    /// Why a frame was not carried.
    type Error;

    /// Sends a frame.
    fn send(&mut self, frame: &[u8]) -> Result<(), Self::Error>;

    /// Waits for the next frame. `None`: none will come any more.
    fn receive(&mut self) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// Why a reply does not come, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error<E> {
    /// The transport failed.
    #[error("the connection failed: {0}")]
    Transport(E),
    /// The transport ended before what was asked for was there in full.
    #[error("the connection was cut off before the reply was complete: what came of it is not all")]
    CutOff,
    /// See there.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// A connection to the payload over a transport.
pub(super) struct Channel<T> {
    transport: T,
    connection: Connection,
}

impl<T: Transport> Channel<T> {
    /// Does the handshake with the payload that was verified, and with no other.
    pub(super) fn connect(verified: &Verified, mut transport: T) -> Result<Self, Error<T::Error>> {
        let (handshake, message) = Handshake::begin(verified)?;
        transport.send(&message).map_err(Error::Transport)?;
        let answer = transport.receive().map_err(Error::Transport)?;
        let connection = handshake.finish(&answer.ok_or(Error::CutOff)?)?;
        Ok(Self {
            transport,
            connection,
        })
    }

    /// Sends a request.
    pub(super) fn request(&mut self, request: Request) -> Result<Stream, Error<T::Error>> {
        let (stream, frames) = self.connection.request(request)?;
        self.send(&frames)?;
        Ok(stream)
    }

    /// Waits for the next event of a stream. `None` after the one that ended it, and never before: a reply
    /// that was cut off is an error. What comes for other streams meanwhile is kept for them.
    pub(super) fn next(&mut self, stream: &mut Stream) -> Result<Option<Event>, Error<T::Error>> {
        loop {
            match self.connection.take(stream)? {
                Taken::Event(event, frames) => {
                    self.send(&frames)?;
                    return Ok(Some(event));
                }
                Taken::Ended => return Ok(None),
                Taken::Nothing => {
                    let frame = self.transport.receive().map_err(Error::Transport)?;
                    self.connection.receive(&frame.ok_or(Error::CutOff)?)?;
                }
            }
        }
    }

    /// Gives a stream up.
    pub(super) fn cancel(&mut self, stream: Stream) -> Result<(), Error<T::Error>> {
        let frames = self.connection.cancel(stream)?;
        self.send(&frames)
    }

    fn send(&mut self, frames: &[Vec<u8>]) -> Result<(), Error<T::Error>> {
        let mut frames = frames.iter();
        frames.try_for_each(|frame| self.transport.send(frame).map_err(Error::Transport))
    }
}
