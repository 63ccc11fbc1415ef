//! What is answered.

use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

use super::{ChannelError, decode, encode};
use crate::receipt::Receipt;

/// From payload to client, about one stream.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, PartialEq, Serialize, Deserialize)]
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
    /// Of the prompt, of which nothing had to be computed: they began an earlier one.
    pub cached_tokens: u32,
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

/// Shows no token, no text, no number of theirs.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { text, .. } => write!(f, "Token({} bytes)", text.len()),
            Self::Finished { reason, usage, .. } => write!(f, "Finished({reason:?}, {usage:?})"),
            Self::Failed { failure, .. } => write!(f, "Failed({failure:?})"),
        }
    }
}

impl fmt::Debug for TokenLogprob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenLogprob({} bytes)", self.bytes.len())
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
