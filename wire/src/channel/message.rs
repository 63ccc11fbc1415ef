//! What client and payload say to each other, in postcard encoding.
//!
//! A stream is one request and its reply. The client begins it with [`ToPayload::Request`] and may follow with
//! [`ToPayload::Credit`] or [`ToPayload::Cancel`]; the payload answers with [`Event`]s, of which the last, and
//! no other, [ends](Event::ends) the stream. A CVM host that serves itself (`engine` in wit/payload.wit) says the same
//! [`Request`] and hears the same [`Event`]s: there is one definition of each.
//!
//! Debug output shows nothing of what is asked or answered: it must not get into a log.

mod date_time;
mod event;
mod request;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ChannelError;

pub use date_time::{DateTime, NoDateTime};
pub use event::{Event, Failure, FinishReason, Logprobs, TokenLogprob, Usage};
pub use request::{
    MAX_CHAT_MESSAGES, MAX_LOGIT_BIAS, MAX_STOP_STRINGS, MAX_TOOL_CALLS, MAX_TOP_LOGPROBS, Message,
    Prompt, Request, Sampling, TooMany, ToolCall, VERSION,
};

/// From client to payload.
#[derive(PartialEq, Serialize, Deserialize)]
pub enum ToPayload {
    /// Begins a stream. Its number is higher than that of every stream before it in the connection.
    Request(Request),
    /// The client took so many events of the stream: as many more may be sent.
    Credit(u32),
    /// The client wants no more of this stream.
    Cancel,
    /// Comes before the request of its stream: the reply may go on from what was computed for replies under the same key,
    /// on this connection or another. Without it only this connection's replies are gone on from. Whoever knows the key
    /// can tell by times whether a prompt was asked under it: it is a secret of whom the prompts belong to.
    Key([u8; 32]),
    /// Says nothing but that the client completed the handshake, so that its connection is not taken for one of those
    /// that never do. Of no stream: its number is 0.
    Ready,
}

impl ToPayload {
    /// Encodes.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        encode(self)
    }

    /// Decodes what an authenticated but maybe hostile client sent.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChannelError> {
        decode(bytes)
    }
}

/// Measured first, so that the encoding is never moved and no copy is left behind.
fn encode(message: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let size = postcard::experimental::serialized_size(message).expect("plain data");
    let mut bytes = Zeroizing::new(vec![0; size]);
    postcard::to_slice(message, &mut bytes).expect("as measured");
    bytes
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ChannelError> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(ChannelError::Protocol),
    }
}
