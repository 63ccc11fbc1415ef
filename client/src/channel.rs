//! The channel to a payload: the client's end (docs/channel.md).
//!
//! [`Handshake`] begins with a [`Verified`] and so only with a key that hardware vouches for and the policy
//! allows; only a finished handshake yields a [`Connection`], and only a connection can seal a request.
//! Neither reads, writes or waits: [`crate::remote`] drives them over a network.

#[cfg(test)]
mod blocking;
mod connection;

use talaria_wire::channel::noise::{Drawn, Initiating};
use talaria_wire::channel::{ChannelError, HANDSHAKE_BYTES};

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
        let (sealed, context) = self.0.finish(answer)?;
        Ok(Connection::new(sealed, context))
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
