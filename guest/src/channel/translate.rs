//! The channel's words for the engine's, and back.

use talaria_wire::{
    channel::message::{self, Event, Failure, Usage},
    receipt::Receipt,
};

use crate::{
    engine::{Message, Prompt, Request, StepError},
    sampling::Sampling,
    session,
};

impl From<message::Request> for Request {
    fn from(request: message::Request) -> Self {
        Self {
            prompt: match request.prompt {
                message::Prompt::Text(text) => Prompt::Text(text),
                message::Prompt::Ids(ids) => Prompt::Ids(ids),
                message::Prompt::Chat(messages) => {
                    Prompt::Chat(messages.into_iter().map(Message::from).collect())
                }
            },
            sampling: request.sampling.into(),
            max_new_tokens: request.max_new_tokens,
            stop: request.stop,
            ignore_eos: request.ignore_eos,
            logits_digest: request.logits_digest,
            top_logprobs: request.top_logprobs,
        }
    }
}

impl From<message::Message> for Message {
    fn from(message: message::Message) -> Self {
        Self {
            role: message.role,
            content: message.content,
        }
    }
}

impl From<message::Sampling> for Sampling {
    fn from(sampling: message::Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repetition_penalty: sampling.repetition_penalty,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            logit_bias: sampling.logit_bias,
            seed: sampling.seed,
        }
    }
}

/// `usage` as it is after the event; `receipt` for the last.
pub fn event(event: session::Event, usage: Usage, receipt: Option<Box<Receipt>>) -> Event {
    match event {
        session::Event::Token { id, text, logprobs } => Event::Token { id, text, logprobs },
        session::Event::Finished {
            reason,
            seed,
            logits_digest,
        } => Event::Finished {
            reason: match reason {
                session::FinishReason::Stop => message::FinishReason::Stop,
                session::FinishReason::Length => message::FinishReason::Length,
            },
            usage,
            seed,
            logits_digest,
            receipt,
        },
    }
}

/// What ends the streams of all sessions when a step failed.
pub fn failed(error: &StepError) -> Event {
    Event::Failed {
        failure: match error {
            StepError::Integrity => Failure::Integrity,
            StepError::Host(_) => Failure::Host,
            StepError::Internal(_) => Failure::Internal,
        },
        message: error.to_string(),
    }
}
