//! A request in JSON. Types of their own, so that the file format stays as it is when the channel changes.

use serde::{Deserialize, Serialize};
use talaria_wire::channel::message::{Message, Prompt, Request, Sampling};

/// What was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedRequest {
    /// Where the reply begins.
    pub prompt: SavedPrompt,
    /// How tokens are chosen.
    pub sampling: SavedSampling,
    /// Most tokens of the reply.
    pub max_new_tokens: u32,
    /// The reply ends before the first of these.
    pub stop: Vec<String>,
    /// Go on after tokens that end a reply.
    pub ignore_eos: bool,
    /// The logits of every step were hashed.
    pub logits_digest: bool,
    /// How many of the likeliest tokens were told.
    pub top_logprobs: Option<u8>,
    /// A receipt was asked for.
    pub receipt: bool,
}

/// Where a reply begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedPrompt {
    /// Continued as it is.
    Text(String),
    /// Rendered with the checkpoint's chat template.
    Chat(Vec<SavedMessage>),
    /// Token ids.
    Ids(Vec<u32>),
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedMessage {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// How tokens are chosen; see [`Sampling`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "as in Sampling, which documents every field")]
pub struct SavedSampling {
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub min_p: f32,
    pub repetition_penalty: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub logit_bias: Vec<(u32, f32)>,
    pub seed: Option<u64>,
}

impl From<&Request> for SavedRequest {
    fn from(request: &Request) -> Self {
        Self {
            prompt: (&request.prompt).into(),
            sampling: (&request.sampling).into(),
            max_new_tokens: request.max_new_tokens,
            stop: request.stop.clone(),
            ignore_eos: request.ignore_eos,
            logits_digest: request.logits_digest,
            top_logprobs: request.top_logprobs,
            receipt: request.receipt,
        }
    }
}

impl SavedRequest {
    /// As it was sent.
    pub fn to_request(&self) -> Request {
        Request {
            prompt: self.prompt.to_prompt(),
            sampling: self.sampling.to_sampling(),
            max_new_tokens: self.max_new_tokens,
            stop: self.stop.clone(),
            ignore_eos: self.ignore_eos,
            logits_digest: self.logits_digest,
            top_logprobs: self.top_logprobs,
            receipt: self.receipt,
        }
    }
}

impl From<&Prompt> for SavedPrompt {
    fn from(prompt: &Prompt) -> Self {
        let saved = |message: &Message| SavedMessage {
            role: message.role.clone(),
            content: message.content.clone(),
        };
        match prompt {
            Prompt::Text(text) => Self::Text(text.clone()),
            Prompt::Chat(messages) => Self::Chat(messages.iter().map(saved).collect()),
            Prompt::Ids(ids) => Self::Ids(ids.clone()),
        }
    }
}

impl SavedPrompt {
    fn to_prompt(&self) -> Prompt {
        let said = |message: &SavedMessage| Message {
            role: message.role.clone(),
            content: message.content.clone(),
        };
        match self {
            Self::Text(text) => Prompt::Text(text.clone()),
            Self::Chat(messages) => Prompt::Chat(messages.iter().map(said).collect()),
            Self::Ids(ids) => Prompt::Ids(ids.clone()),
        }
    }
}

impl From<&Sampling> for SavedSampling {
    fn from(sampling: &Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repetition_penalty: sampling.repetition_penalty,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            logit_bias: sampling.logit_bias.clone(),
            seed: sampling.seed,
        }
    }
}

impl SavedSampling {
    fn to_sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: self.logit_bias.clone(),
            seed: self.seed,
        }
    }
}
