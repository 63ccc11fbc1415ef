//! The payload's `channel`: what sealed connections need of an instance.

use super::Instance;
use crate::cvm::CvmError;
use crate::payload::bindings::exports::talaria::payload::channel;

/// Public keys of an engine's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// X25519: to it clients connect.
    pub channel: [u8; 32],
    /// Ed25519: with it receipts are signed.
    pub receipt: [u8; 32],
}

/// Why a client is not served. Fixed texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many connections.
    #[error("the CVM has too many connections: try again later")]
    Busy,
    /// The first message is none of this version to this key.
    #[error("the handshake was refused: verify the evidence anew")]
    Handshake,
    /// A frame is not the next one of its connection.
    #[error("a frame was refused")]
    Frame,
    /// The payload ended the connection, or ended itself.
    #[error("the connection was ended by the payload")]
    Gone,
}

impl Instance {
    pub(crate) fn begin_channel(&mut self, payload_sha256: &[u8; 32]) -> Result<Keys, CvmError> {
        let begun = self.call("channel.begin", 1, |exports, store| {
            let channel = exports.talaria_payload_channel();
            channel.call_begin(store, payload_sha256)
        });
        let keys = begun?.map_err(CvmError::Internal)?;
        let key = |bytes: Vec<u8>| {
            let length = bytes.len();
            let wrong = move |_| CvmError::Internal(format!("a public key of {length} bytes"));
            bytes.try_into().map_err(wrong)
        };
        Ok(Keys {
            channel: key(keys.channel)?,
            receipt: key(keys.receipt)?,
        })
    }

    pub(crate) fn open_connection(&mut self, handshake: &[u8]) -> Result<channel::Opened, Refused> {
        let opened = self.call("channel.open", 1, |exports, store| {
            exports
                .talaria_payload_channel()
                .call_open(store, handshake)
        });
        Ok(opened.map_err(|_| Refused::Gone)??)
    }

    pub(crate) fn deliver(&mut self, connection: u64, frame: &[u8]) -> Result<bool, Refused> {
        let delivered = self.call("channel.deliver", 1, |exports, store| {
            let channel = exports.talaria_payload_channel();
            channel.call_deliver(store, connection, frame)
        });
        Ok(delivered.map_err(|_| Refused::Gone)??)
    }

    pub(crate) fn step_channel(&mut self) -> Result<(), CvmError> {
        let stepped = self.call("channel.step", 1, |exports, store| {
            exports.talaria_payload_channel().call_step(store)
        });
        Ok(stepped??)
    }

    pub(crate) fn give_up(&mut self) -> Result<(), CvmError> {
        self.call("channel.give-up", 1, |exports, store| {
            exports.talaria_payload_channel().call_give_up(store)
        })
    }

    pub(crate) fn progress(&mut self) -> Result<channel::Work, CvmError> {
        self.call("channel.progress", 1, |exports, store| {
            exports.talaria_payload_channel().call_progress(store)
        })
    }

    pub(crate) fn poll(&mut self, connection: u64, most: usize) -> Result<Vec<Vec<u8>>, Refused> {
        let polled = self.call("channel.poll", 1, |exports, store| {
            let channel = exports.talaria_payload_channel();
            channel.call_poll(store, connection, most as u32)
        });
        Ok(polled.map_err(|_| Refused::Gone)??)
    }

    pub(crate) fn close_connection(&mut self, connection: u64) -> Result<(), CvmError> {
        self.call("channel.close", 1, |exports, store| {
            exports
                .talaria_payload_channel()
                .call_close(store, connection)
        })
    }
}

impl From<channel::Refusal> for Refused {
    fn from(refusal: channel::Refusal) -> Self {
        match refusal {
            channel::Refusal::Busy => Self::Busy,
            channel::Refusal::Handshake => Self::Handshake,
            channel::Refusal::Frame => Self::Frame,
            channel::Refusal::Unknown | channel::Refusal::NotBegun => Self::Gone,
        }
    }
}
