//! Requests to a CVM, and what became of them.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use talaria_host_cvm::{
    Cvm, CvmError, Event, FinishReason, Payload, Prompt, Request, Session, embedded_payload,
};
use tokio::task::JoinSet;

use crate::error::LocalError;
use crate::hosts::blocking;

/// Compiles the payload that is part of this program, or takes its code from the cache.
///
/// # Errors
/// If it is no payload, or wasmtime cannot run on this machine.
pub async fn load_payload(cache_dir: Option<PathBuf>) -> Result<Payload, LocalError> {
    let load = move || Payload::load(embedded_payload(), cache_dir.as_deref());
    Ok(blocking("compiling the payload", load).await??)
}

/// A request for the likeliest tokens, up to the model's own end.
pub fn greedy(prompt: Prompt, max_new_tokens: u32) -> Request {
    Request {
        max_new_tokens,
        ..Request::new(prompt)
    }
}

/// A complete reply.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The prompt as token ids.
    pub prompt_ids: Vec<u32>,
    /// The reply as token ids.
    pub token_ids: Vec<u32>,
    /// The reply as text.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// SHA-256 over every step's logits, if the request asked for it.
    pub logits_digest: Option<[u8; 32]>,
    /// Seed of sampling: the same request with it gives the same reply.
    pub seed: u64,
    /// When the request was handed over.
    pub opened: Instant,
    /// When each token arrived.
    pub arrivals: Vec<Instant>,
}

impl Outcome {
    /// From the request to the first token.
    pub fn prefill(&self) -> Duration {
        self.arrivals
            .first()
            .map_or(Duration::ZERO, |first| first.duration_since(self.opened))
    }

    /// From the first token to the last.
    pub fn decode(&self) -> Duration {
        match self.arrivals.as_slice() {
            [first, .., last] => last.duration_since(*first),
            _ => Duration::ZERO,
        }
    }

    /// Tokens per second after the first; none for fewer than two.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.decode().as_secs_f64();
        (seconds > 0.0).then(|| (self.arrivals.len() - 1) as f64 / seconds)
    }
}

/// Answers one request; `on_text` gets each piece of the reply as it becomes final.
///
/// # Errors
/// Those of the CVM, and of `on_text` as [`LocalError::Output`].
pub async fn generate(
    cvm: &Cvm,
    request: Request,
    on_text: impl FnMut(&str) -> io::Result<()>,
) -> Result<Outcome, LocalError> {
    let opened = Instant::now();
    let session = cvm.open(request).await?;
    collect(session, opened, on_text).await
}

/// Answers many requests at once, in sessions of their own; outcomes in the order of the requests.
pub async fn generate_all(
    cvm: &Cvm,
    requests: impl IntoIterator<Item = Request>,
) -> Vec<Result<Outcome, LocalError>> {
    let mut tasks = JoinSet::new();
    let mut outcomes = Vec::new();
    for request in requests {
        let place = outcomes.len();
        outcomes.push(Err(LocalError::Defect("a session")));
        let opened = Instant::now();
        match cvm.open(request).await {
            Ok(session) => drop(
                tasks.spawn(async move { (place, collect(session, opened, |_| Ok(())).await) }),
            ),
            Err(error) => outcomes[place] = Err(error.into()),
        }
    }
    while let Some(joined) = tasks.join_next().await {
        if let Ok((place, outcome)) = joined {
            outcomes[place] = outcome;
        }
    }
    outcomes
}

/// Reads a session to its end.
///
/// # Errors
/// As [`generate`].
pub async fn collect(
    mut session: Session,
    opened: Instant,
    mut on_text: impl FnMut(&str) -> io::Result<()>,
) -> Result<Outcome, LocalError> {
    let (mut token_ids, mut text, mut arrivals) = (Vec::new(), String::new(), Vec::new());
    while let Some(event) = session.next().await {
        match event? {
            Event::Token {
                id, text: piece, ..
            } => {
                arrivals.push(Instant::now());
                token_ids.push(id);
                on_text(&piece).map_err(LocalError::Output)?;
                text.push_str(&piece);
            }
            Event::Finished {
                reason,
                seed,
                logits_digest,
                ..
            } => {
                let prompt_ids = std::mem::take(&mut session.prompt_ids);
                return Ok(Outcome {
                    prompt_ids,
                    token_ids,
                    text,
                    finish_reason: reason,
                    logits_digest,
                    seed,
                    opened,
                    arrivals,
                });
            }
            Event::Failed { message, .. } => return Err(CvmError::Internal(message).into()),
        }
    }
    Err(CvmError::Stopped.into())
}
