//! The channel's words for the engine's, and back.

use talaria_wire::{
    channel::message::{self, Event, Failure, Usage},
    receipt::Receipt,
};

use crate::{
    engine::{Request, StepError},
    session,
};

impl From<message::Request> for Request {
    fn from(request: message::Request) -> Self {
        Self {
            prompt: request.prompt,
            sampling: request.sampling,
            max_new_tokens: request.max_new_tokens,
            stop: request.stop,
            ignore_eos: request.ignore_eos,
            logits_digest: request.logits_digest,
            top_logprobs: request.top_logprobs,
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
            reason,
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
