//! The channel to a payload: the client's end (docs/channel.md).
//!
//! [`Handshake`] begins with a [`Verified`] and so only with a key that hardware vouches for and the policy
//! allows; only a finished handshake yields a [`Connection`], and only a connection can seal a request.
//! Neither reads, writes or waits. [`Channel`] drives them over a [`Transport`] that blocks.

mod byte_stream;
mod connection;

use talaria_wire::channel::message::{Event, Request};
use talaria_wire::channel::noise::{Drawn, Initiating};
use talaria_wire::channel::{ChannelError, HANDSHAKE_BYTES};

pub use byte_stream::ByteStream;
pub use connection::{Connection, ConnectionError, Stream, Taken};

use crate::verify::Verified;

/// A handshake of which the first message was made.
pub struct Handshake(Initiating);

impl Handshake {
    /// Makes the first message, for the payload that was verified.
    pub fn begin(verified: &Verified) -> Result<(Self, [u8; HANDSHAKE_BYTES]), ConnectionError> {
        let mut ephemeral = Drawn::default();
        getrandom::fill(&mut *ephemeral).map_err(|_| ConnectionError::Entropy)?;
        let key = &verified.claims().channel_public_key;
        let (state, message) = Initiating::begin(key, ephemeral)?;
        Ok((Self(state), message))
    }

    /// Takes the payload's answer.
    ///
    /// # Errors
    /// It was not made by the payload that was verified.
    pub fn finish(self, answer: &[u8]) -> Result<Connection, ConnectionError> {
        Ok(Connection::new(self.0.finish(answer)?))
    }
}

/// What carries frames between client and payload, whole and in order. Whoever it is need not be trusted.
pub trait Transport {
    /// Why a frame was not carried.
    type Error;

    /// Sends a frame.
    fn send(&mut self, frame: &[u8]) -> Result<(), Self::Error>;

    /// Waits for the next frame. `None`: none will come any more.
    fn receive(&mut self) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// Why a reply does not come, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
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
pub struct Channel<T> {
    transport: T,
    connection: Connection,
}

impl<T: Transport> Channel<T> {
    /// Does the handshake with the payload that was verified, and with no other.
    pub fn connect(verified: &Verified, mut transport: T) -> Result<Self, Error<T::Error>> {
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
    pub fn request(&mut self, request: Request) -> Result<Stream, Error<T::Error>> {
        let (stream, frames) = self.connection.request(request)?;
        self.send(&frames)?;
        Ok(stream)
    }

    /// Waits for the next event of a stream. `None` after the one that ended it, and never before: a reply
    /// that was cut off is an error. What comes for other streams meanwhile is kept for them.
    pub fn next(&mut self, stream: &mut Stream) -> Result<Option<Event>, Error<T::Error>> {
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
    pub fn cancel(&mut self, stream: Stream) -> Result<(), Error<T::Error>> {
        let frames = self.connection.cancel(stream)?;
        self.send(&frames)
    }

    fn send(&mut self, frames: &[Vec<u8>]) -> Result<(), Error<T::Error>> {
        let mut frames = frames.iter();
        frames.try_for_each(|frame| self.transport.send(frame).map_err(Error::Transport))
    }
}

impl From<ChannelError> for ConnectionError {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Handshake => Self::Handshake,
            ChannelError::TooLong => Self::TooLong,
            error => Self::Broken(error),
        }
    }
}

#[cfg(test)]
mod tests;
