//! Requests and what comes back. Nothing here shows its content in debug output.

use std::fmt;

pub use talaria_wire::channel::message::{FinishReason, Message, Prompt, Sampling};
use tokio::sync::mpsc;

use super::Command;
use crate::cvm::CvmError;
use crate::payload::bindings::exports::talaria::payload::engine;

/// One generation.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// What is to be continued.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// At most this many tokens.
    pub max_new_tokens: u32,
    /// The reply ends before the first of these.
    pub stop: Vec<String>,
    /// Go on after tokens that end a reply.
    pub ignore_eos: bool,
    /// Hash the logits of every step.
    pub logits_digest: bool,
}

/// What a session gives.
#[derive(Clone, PartialEq, Eq)]
pub enum Event {
    /// A token was sampled.
    Token {
        /// The token.
        id: u32,
        /// What became final with it, maybe nothing.
        text: String,
    },
    /// The reply is complete; nothing follows.
    Finished {
        /// Why.
        reason: FinishReason,
        /// Of sampling: as asked for, or as drawn.
        seed: u64,
        /// SHA-256 over the f32 bits of every step's logits in order, if asked for.
        logits_digest: Option<[u8; 32]>,
    },
}

/// A reply being generated. Dropping it ends the session.
pub struct Session {
    /// The prompt as token ids.
    pub prompt_ids: Vec<u32>,
    events: mpsc::UnboundedReceiver<Result<Event, CvmError>>,
    /// Tells the engine when this is dropped.
    _open: OpenSession,
}

/// Closes its session when dropped.
pub(crate) struct OpenSession {
    pub id: u32,
    pub engine: mpsc::UnboundedSender<Command>,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        // An engine that is gone has no sessions.
        let _ = self.engine.send(Command::Close(self.id));
    }
}

impl Session {
    pub(crate) fn new(
        prompt_ids: Vec<u32>,
        events: mpsc::UnboundedReceiver<Result<Event, CvmError>>,
        open: OpenSession,
    ) -> Self {
        Self {
            prompt_ids,
            events,
            _open: open,
        }
    }

    /// The next event; none after [`Event::Finished`] or an error.
    pub async fn next(&mut self) -> Option<Result<Event, CvmError>> {
        self.events.recv().await
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} prompt tokens)", self.prompt_ids.len())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("prompt", &self.prompt)
            .field("sampling", &self.sampling)
            .field("max_new_tokens", &self.max_new_tokens)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { text, .. } => write!(f, "Token({} bytes)", text.len()),
            Self::Finished { reason, .. } => write!(f, "Finished({reason:?})"),
        }
    }
}

impl From<Request> for engine::Request {
    fn from(request: Request) -> Self {
        Self {
            prompt: request.prompt.into(),
            sampling: request.sampling.into(),
            max_new_tokens: request.max_new_tokens,
            stop: request.stop,
            ignore_eos: request.ignore_eos,
            logits_digest: request.logits_digest,
        }
    }
}

impl From<Prompt> for engine::Prompt {
    fn from(prompt: Prompt) -> Self {
        let message = |Message { role, content }| engine::Message { role, content };
        match prompt {
            Prompt::Text(text) => Self::Text(text),
            Prompt::Chat(messages) => Self::Chat(messages.into_iter().map(message).collect()),
            Prompt::Ids(ids) => Self::Ids(ids),
        }
    }
}

impl From<Sampling> for engine::Sampling {
    fn from(sampling: Sampling) -> Self {
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

impl From<engine::EventKind> for Event {
    fn from(kind: engine::EventKind) -> Self {
        match kind {
            engine::EventKind::Token(token) => Self::Token {
                id: token.id,
                text: token.text,
            },
            engine::EventKind::Finished(finished) => Self::Finished {
                reason: match finished.reason {
                    engine::FinishReason::Stop => FinishReason::Stop,
                    engine::FinishReason::Length => FinishReason::Length,
                },
                seed: finished.seed,
                logits_digest: finished
                    .logits_digest
                    .and_then(|digest| digest.try_into().ok()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_content() {
        let request = Request {
            prompt: Prompt::Text("sesame".into()),
            sampling: Sampling::default(),
            max_new_tokens: 1,
            stop: vec!["sesame".into()],
            ignore_eos: false,
            logits_digest: false,
        };
        let shown = [
            format!("{request:?}"),
            format!(
                "{:?}",
                Event::Token {
                    id: 4711,
                    text: "sesame".into()
                }
            ),
        ];
        for shown in shown {
            assert!(
                !shown.contains("sesame") && !shown.contains("4711"),
                "{shown}"
            );
        }
    }
}
