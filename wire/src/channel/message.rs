//! What client and payload say to each other, in postcard encoding.
//!
//! A stream is one request and its reply. The client begins it with [`ToPayload::Request`] and may follow with
//! [`ToPayload::Credit`] or [`ToPayload::Cancel`]; the payload answers with [`Event`]s, of which the last, and
//! no other, [ends](Event::ends) the stream.
//!
//! Debug output shows nothing of what is asked: it must not get into a log.

use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::marker::PhantomData;
use zeroize::{Zeroize, Zeroizing};

use super::ChannelError;
use crate::receipt::Receipt;

/// Most messages of a conversation.
pub const MAX_CHAT_MESSAGES: usize = 4096;

/// Most stop strings of a request.
pub const MAX_STOP_STRINGS: usize = 16;

/// Most tokens of [`Sampling::logit_bias`].
pub const MAX_LOGIT_BIAS: usize = 1024;

/// Most alternatives of [`Request::top_logprobs`].
pub const MAX_TOP_LOGPROBS: u8 = 20;

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
    /// Say how likely each token was, and as many of the likeliest tokens in its place, at most
    /// [`MAX_TOP_LOGPROBS`].
    pub top_logprobs: Option<u8>,
    /// Sign what was asked and answered ([`crate::receipt`]).
    pub receipt: bool,
}

/// Where a reply begins.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Prompt {
    /// Continued as it is, with the special tokens that the tokenizer adds to a text.
    Text(String),
    /// Rendered with the checkpoint's chat template; at most [`MAX_CHAT_MESSAGES`].
    #[serde(deserialize_with = "at_most::<_, _, MAX_CHAT_MESSAGES>")]
    Chat(Vec<Message>),
    /// Token ids.
    Ids(Vec<u32>),
}

/// A message of a conversation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`, or whatever else the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// How tokens are chosen; the payload checks ranges. [`Sampling::default`] is greedy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Logits are divided by it; 0: greedy.
    pub temperature: f32,
    /// Only the k largest logits; 0: off.
    pub top_k: u32,
    /// Only the most likely tokens that hold this probability; 1: off.
    pub top_p: f32,
    /// Only tokens at least this likely, relative to the likeliest; 0: off.
    pub min_p: f32,
    /// Over prompt and reply; 1: off.
    pub repetition_penalty: f32,
    /// Subtracted once from every token of the reply; 0: off.
    pub presence_penalty: f32,
    /// Subtracted for each time a token is in the reply; 0: off.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens before anything else; at most [`MAX_LOGIT_BIAS`], each once.
    #[serde(deserialize_with = "at_most::<_, _, MAX_LOGIT_BIAS>")]
    pub logit_bias: Vec<(u32, f32)>,
    /// Same seed, same tokens; none: the payload draws one and tells it.
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
        logit_bias: Vec::new(),
        seed: None,
    };
}

impl Default for Sampling {
    fn default() -> Self {
        Self::GREEDY
    }
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
        /// If asked for.
        logprobs: Option<Logprobs>,
    },
    /// The reply is complete.
    Finished {
        /// Why.
        reason: FinishReason,
        /// What it took.
        usage: Usage,
        /// Of sampling: as asked for, or as drawn.
        seed: u64,
        /// SHA-256 over the f32 bits of every step's logits in order, if asked for.
        logits_digest: Option<[u8; 32]>,
        /// If asked for.
        receipt: Option<Box<Receipt>>,
    },
    /// There is no reply, or no more of it.
    Failed {
        /// Whose fault it is.
        failure: Failure,
        /// For people: what happened and what to do. May quote the request.
        message: String,
    },
}

/// How likely a token was, by the logits as the model made them: before bias, penalties and temperature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logprobs {
    /// The token that was sampled.
    pub chosen: TokenLogprob,
    /// The likeliest tokens, likeliest first.
    pub top: Vec<TokenLogprob>,
}

/// A token and how likely it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// Its id.
    pub id: u32,
    /// What it stands for in the middle of a text, maybe part of a character, and a special token's name; empty
    /// without a tokenizer.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability; finite, at the least [`f32::MIN`].
    pub logprob: f32,
}

/// Why a reply is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// A stop token or stop string.
    Stop,
    /// As many tokens as asked for, or the context is full.
    Length,
}

impl FinishReason {
    /// `stop` or `length`: OpenAI's words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
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

impl fmt::Debug for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Chat(messages) => write!(f, "Chat({} messages)", messages.len()),
            Self::Ids(ids) => write!(f, "Ids({} tokens)", ids.len()),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.content.len())
    }
}

impl Request {
    /// SHA-256 over `"talaria-request-v1"` and the encoding, for receipts.
    pub fn digest(&self) -> [u8; 32] {
        let label = Sha256::new_with_prefix(b"talaria-request-v1");
        label.chain_update(&*encode(self)).finalize().into()
    }
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

impl Zeroize for Message {
    fn zeroize(&mut self) {
        self.role.zeroize();
        self.content.zeroize();
    }
}

impl Zeroize for Event {
    fn zeroize(&mut self) {
        match self {
            Event::Token { id, text, logprobs } => {
                id.zeroize();
                text.zeroize();
                if let Some(Logprobs { chosen, top }) = logprobs {
                    chosen.zeroize();
                    top.iter_mut().for_each(Zeroize::zeroize);
                }
            }
            Event::Failed { message, .. } => message.zeroize(),
            Event::Finished {
                logits_digest,
                seed,
                receipt,
                ..
            } => {
                logits_digest.zeroize();
                seed.zeroize();
                receipt.iter_mut().for_each(|r| r.zeroize());
            }
        }
    }
}

impl Zeroize for TokenLogprob {
    fn zeroize(&mut self) {
        self.id.zeroize();
        self.bytes.zeroize();
        self.logprob.zeroize();
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
