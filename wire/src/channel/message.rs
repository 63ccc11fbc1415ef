//! What client and payload say to each other, in postcard encoding.
//!
//! A stream is one request and its reply. The client begins it with [`ToPayload::Request`] and may follow with
//! [`ToPayload::Credit`] or [`ToPayload::Cancel`]; the payload answers with [`Event`]s, of which the last, and
//! no other, [ends](Event::ends) the stream.
//!
//! Requests have no `Debug`: they must not get into a log.

use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::marker::PhantomData;
use zeroize::{Zeroize, Zeroizing};

use super::ChannelError;

/// Most messages of a conversation.
pub const MAX_CHAT_MESSAGES: usize = 4096;

/// Most stop strings of a request.
pub const MAX_STOP_STRINGS: usize = 16;

/// From client to payload.
#[derive(PartialEq, Serialize, Deserialize)]
pub enum ToPayload {
    /// Begins a stream. Its number is higher than that of every stream before it in the connection.
    Request(Request),
    /// The client took so many events of the stream: as many more may be sent.
    Credit(u32),
    /// The client wants no more of this stream.
    Cancel,
}

/// What is asked for.
#[derive(PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Where the reply begins.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens of the reply, at least 1.
    pub max_new_tokens: u32,
    /// The reply ends before the first of these; at most [`MAX_STOP_STRINGS`].
    #[serde(deserialize_with = "at_most::<_, _, MAX_STOP_STRINGS>")]
    pub stop: Vec<String>,
    /// Go on after tokens that end a reply.
    pub ignore_eos: bool,
    /// Hash the logits of every step.
    pub logits_digest: bool,
}

/// Where a reply begins.
#[derive(PartialEq, Serialize, Deserialize)]
pub enum Prompt {
    /// Continued as it is.
    Text(String),
    /// Rendered with the checkpoint's chat template; at most [`MAX_CHAT_MESSAGES`].
    #[serde(deserialize_with = "at_most::<_, _, MAX_CHAT_MESSAGES>")]
    Chat(Vec<Message>),
    /// Token ids.
    Ids(Vec<u32>),
}

/// A message of a conversation.
#[derive(PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`, or whatever else the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// How tokens are chosen; the payload checks ranges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0: greedy.
    pub temperature: f32,
    /// 0: off.
    pub top_k: u32,
    /// 1: off.
    pub top_p: f32,
    /// 0: off.
    pub min_p: f32,
    /// 1: off.
    pub repetition_penalty: f32,
    /// 0: off.
    pub presence_penalty: f32,
    /// 0: off.
    pub frequency_penalty: f32,
    /// Same seed, same tokens; none: fresh from the CVM's entropy.
    pub seed: Option<u64>,
}

impl Sampling {
    /// The likeliest token each time.
    pub const GREEDY: Self = Self {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed: None,
    };
}

/// From payload to client, about one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A token was sampled.
    Token {
        /// Its id.
        id: u32,
        /// The text that became final with it, maybe nothing.
        text: String,
    },
    /// The reply is complete.
    Finished {
        /// Why.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
        /// SHA-256 over the f32 bits of every step's logits in order, if asked for.
        logits_digest: Option<[u8; 32]>,
    },
    /// There is no reply, or no more of it.
    Failed {
        /// Whose fault it is.
        failure: Failure,
        /// For people: what happened and what to do. May quote the request.
        message: String,
    },
}

/// Why a reply is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishReason {
    /// A stop token or stop string.
    Stop,
    /// As many tokens as asked for, or the context is full.
    Length,
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// The request is not possible: change it.
    Refused,
    /// No room for it now: try again later.
    Busy,
    /// A GPU host failed.
    Host,
    /// A GPU host lied. This instance answers nothing any more.
    Integrity,
    /// Something else in the payload.
    Internal,
}

/// Tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: u32,
    /// Of the reply.
    pub completion_tokens: u32,
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

impl Event {
    /// Whether nothing follows on this stream. A reply without such an event was cut off.
    pub fn ends(&self) -> bool {
        !matches!(self, Event::Token { .. })
    }

    /// Encodes.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        encode(self)
    }

    /// Decodes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChannelError> {
        decode(bytes)
    }
}

impl Zeroize for Event {
    fn zeroize(&mut self) {
        match self {
            Event::Token { id, text } => {
                id.zeroize();
                text.zeroize();
            }
            Event::Failed { message, .. } => message.zeroize(),
            Event::Finished { logits_digest, .. } => logits_digest.zeroize(),
        }
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

/// A list of at most `MOST` items: a short encoding must not become a large value.
fn at_most<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "at most {MOST} items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                if items.len() == MOST {
                    return Err(serde::de::Error::invalid_length(MOST + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(List::<T, MOST>(PhantomData))
}
