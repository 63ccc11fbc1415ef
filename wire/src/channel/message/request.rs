//! What is asked for.

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::marker::PhantomData;
use zeroize::{Zeroize, Zeroizing};

use super::{ChannelError, DateTime, decode, encode};

/// Version of all that is said, raised whenever the encoding of a message changes: ends of different versions do not come
/// together, and what was kept of another version is not mistaken for this one's.
pub const VERSION: u32 = 4;

/// Most messages of a conversation.
pub const MAX_CHAT_MESSAGES: usize = 4096;

/// Most calls of tools in a message.
pub const MAX_TOOL_CALLS: usize = 128;

/// Most stop strings of a request.
pub const MAX_STOP_STRINGS: usize = 16;

/// Most tokens of [`Sampling::logit_bias`].
pub const MAX_LOGIT_BIAS: usize = 1024;

/// Most alternatives of [`Request::top_logprobs`].
pub const MAX_TOP_LOGPROBS: u8 = 20;

/// One request, the same on the channel, into an engine and in a kept answer. A field is added here and where it acts;
/// docs/architecture.md lists the files.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Where the reply begins.
    pub prompt: Prompt,
    /// Date and time where the client is, for chat templates that print them (`strftime_now`): the payload has no
    /// clock. None: such a template finds no date.
    pub now: Option<DateTime>,
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

impl Request {
    /// The likeliest tokens up to the end that the model makes, and nothing besides.
    pub fn new(prompt: Prompt) -> Self {
        Self {
            prompt,
            now: None,
            sampling: Sampling::GREEDY,
            max_new_tokens: u32::MAX,
            stop: Vec::new(),
            ignore_eos: false,
            logits_digest: false,
            top_logprobs: None,
            receipt: false,
        }
    }

    /// SHA-256 over `"talaria-request-v1"`, with [`VERSION`] as its number, and the encoding, for receipts.
    pub fn digest(&self) -> [u8; 32] {
        let label = Sha256::new_with_prefix(format!("talaria-request-v{VERSION}"));
        label.chain_update(&*encode(self)).finalize().into()
    }

    /// Whether its lists are as short as readers take them.
    ///
    /// # Errors
    /// The first that is longer.
    pub fn check(&self) -> Result<(), TooMany> {
        let messages = match &self.prompt {
            Prompt::Chat(messages) => &messages[..],
            _ => &[],
        };
        let calls = messages.iter().map(|message| message.tool_calls.len());
        for (what, found, most) in [
            ("messages", messages.len(), MAX_CHAT_MESSAGES),
            (
                "tool calls in a message",
                calls.max().unwrap_or(0),
                MAX_TOOL_CALLS,
            ),
            ("stop strings", self.stop.len(), MAX_STOP_STRINGS),
            (
                "logit biases",
                self.sampling.logit_bias.len(),
                MAX_LOGIT_BIAS,
            ),
        ] {
            if found > most {
                return Err(TooMany { what, found, most });
            }
        }
        Ok(())
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

/// A list of a request that no reader takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} {what}, at most {most} are possible: leave some out")]
pub struct TooMany {
    /// Of what.
    pub what: &'static str,
    /// How many there are.
    pub found: usize,
    /// How many are possible.
    pub most: usize,
}

/// Shows no prompt and no stop string.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("prompt", &self.prompt)
            .field("max_new_tokens", &self.max_new_tokens)
            .finish_non_exhaustive()
    }
}

/// Where a reply begins.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Continued as it is, with the special tokens that the tokenizer adds to a text.
    Text(String),
    /// Rendered with the checkpoint's chat template; at most [`MAX_CHAT_MESSAGES`].
    #[serde(deserialize_with = "at_most::<_, _, MAX_CHAT_MESSAGES>")]
    Chat(Vec<Message>),
    /// Token ids.
    Ids(Vec<u32>),
}

/// A message of a conversation, as chat templates know it. What is none or empty is not there for a template, but for
/// `content`, which is none to it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`, or whatever else the template knows.
    pub role: String,
    /// What was said; none: nothing but calls.
    pub content: Option<String>,
    /// Who said it, or which tool, where the template knows names.
    pub name: Option<String>,
    /// What the assistant called; at most [`MAX_TOOL_CALLS`].
    #[serde(deserialize_with = "at_most::<_, _, MAX_TOOL_CALLS>")]
    pub tool_calls: Vec<ToolCall>,
    /// Of a `tool` message: the call that it answers.
    pub tool_call_id: Option<String>,
}

impl Message {
    /// Something said.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: Some(content.into()),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }

    /// Bytes of all its texts.
    pub fn text_bytes(&self) -> usize {
        let own = [&self.content, &self.name, &self.tool_call_id];
        let calls = self.tool_calls.iter();
        self.role.len()
            + own.into_iter().flatten().map(String::len).sum::<usize>()
            + calls
                .map(|call| call.id.len() + call.name.len() + call.arguments.len())
                .sum::<usize>()
    }
}

/// A call of a tool.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// What a `tool` message names in its `tool_call_id`.
    pub id: String,
    /// The function.
    pub name: String,
    /// A JSON object, if the model wrote one.
    pub arguments: String,
}

/// How tokens are chosen; the payload checks ranges. [`Sampling::default`] is greedy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Logits are divided by it; 0: greedy.
    pub temperature: f32,
    /// Only the k largest logits; 0: off.
    pub top_k: u32,
    /// Only the most likely tokens that hold this probability; 0: the likeliest, 1: off.
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
        write!(f, "Message({} bytes)", self.text_bytes())
    }
}

impl Zeroize for Message {
    fn zeroize(&mut self) {
        self.role.zeroize();
        self.content.zeroize();
        self.name.zeroize();
        self.tool_calls.zeroize();
        self.tool_call_id.zeroize();
    }
}

impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolCall({} bytes of arguments)", self.arguments.len())
    }
}

impl Zeroize for ToolCall {
    fn zeroize(&mut self) {
        self.id.zeroize();
        self.name.zeroize();
        self.arguments.zeroize();
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
