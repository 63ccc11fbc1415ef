//! Replies of the payload as one HTTP response. What is dropped here, because the caller hung up, is cancelled at
//! the payload.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{SelectAll, Stream, StreamExt, unfold};
use serde_json::Value;
use talaria_evidence::Evidence;
use talaria_wire::channel::message::{Event, Logprobs, Request, Usage};
use tokio::time::timeout;

use super::Proxy;
use super::error::ApiError;
use super::format::{Choice, Ending, Head};
use super::logprobs;
use crate::answer::{Answer, NoReceipt, SavedToken};
use crate::remote::Reply;

/// A stream says something at least so often, so that no client, and nothing between, takes it for dead.
pub(super) const QUIET: Duration = Duration::from_secs(5);

/// An event of a choice, or what ended it early.
type Item = (usize, Result<Happened, ApiError>);

/// An event, with failures told apart.
enum Happened {
    Token(String, Option<Logprobs>),
    Ended(Ending),
}

/// The replies of all choices, as their events come.
pub(super) struct Replies {
    events: SelectAll<Pin<Box<dyn Stream<Item = Item> + Send>>>,
    first: Option<Item>,
    choices: usize,
    proxy: Arc<Proxy>,
    /// When the request came, until its first token did.
    waiting_since: Option<Instant>,
    /// When the last token of each choice came.
    last_tokens: Vec<Option<Instant>>,
    log: Line,
}

/// What the log says of a request when it is over: sizes and times.
struct Line {
    came: Instant,
    first_token: Option<Duration>,
    prompt_tokens: u32,
    tokens: u32,
    outcome: &'static str,
}

impl Replies {
    pub(super) fn new(replies: Vec<Begun>, proxy: Arc<Proxy>, came: Instant) -> Self {
        let choices = replies.len();
        proxy.metrics.streams(choices as i64);
        let events = replies.into_iter().enumerate();
        Self {
            events: events
                .map(|(index, begun)| events_of(index, begun))
                .collect(),
            first: None,
            choices,
            proxy,
            waiting_since: Some(came),
            last_tokens: vec![None; choices],
            log: Line {
                came,
                first_token: None,
                prompt_tokens: 0,
                tokens: 0,
                outcome: "cancelled",
            },
        }
    }

    /// Waits for the first event; an error if it is one.
    pub(super) async fn wait_for_first(&mut self) -> Result<(), ApiError> {
        match self.next().await {
            Some((_, Err(error))) => Err(error),
            first => {
                self.first = first;
                Ok(())
            }
        }
    }

    async fn next(&mut self) -> Option<Item> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let item = self.events.next().await;
        match &item {
            Some((index, Ok(Happened::Token(..)))) => {
                self.proxy.metrics.token();
                self.log.tokens += 1;
                if let Some(came) = self.waiting_since.take() {
                    self.proxy.metrics.first_token(came.elapsed());
                    self.log.first_token = Some(came.elapsed());
                }
                if let Some(before) = self.last_tokens[*index].replace(Instant::now()) {
                    self.proxy.metrics.next_token(before.elapsed());
                }
            }
            Some((_, Ok(Happened::Ended(ending)))) => {
                self.proxy.metrics.finished(ending.usage.prompt_tokens);
                self.log.prompt_tokens = ending.usage.prompt_tokens;
            }
            Some((_, Err(_))) => self.log.outcome = "failed",
            None if self.log.outcome == "cancelled" => self.log.outcome = "complete",
            None => {}
        }
        item
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.proxy.metrics.streams(-(self.choices as i64));
        let log = &self.log;
        tracing::info!(
            outcome = log.outcome,
            choices = self.choices,
            prompt_tokens = log.prompt_tokens,
            tokens = log.tokens,
            first_token_ms = log.first_token.map(|after| after.as_millis() as u64),
            ms = log.came.elapsed().as_millis() as u64,
            "request"
        );
    }
}

/// A choice under way.
pub(super) struct Begun {
    pub reply: Reply,
    /// If a receipt was asked for.
    pub kept: Option<Kept>,
}

/// What a receipt is about.
pub(super) struct Kept {
    pub request: Request,
    pub tokens: Vec<SavedToken>,
    pub evidence: Arc<Evidence>,
}

fn events_of(index: usize, begun: Begun) -> Pin<Box<dyn Stream<Item = Item> + Send>> {
    Box::pin(unfold(Some(begun), move |begun| async move {
        let mut begun = begun?;
        let happened = match begun.reply.next().await {
            Ok(Some(event)) => happened(event, &mut begun.kept),
            Ok(None) => return None,
            Err(error) => Err(error.into()),
        };
        // After an error nothing of this choice is wanted any more.
        let rest = happened.is_ok().then_some(begun);
        Some(((index, happened), rest))
    }))
}

fn happened(event: Event, kept: &mut Option<Kept>) -> Result<Happened, ApiError> {
    match event {
        Event::Token { id, text, logprobs } => {
            if let Some(kept) = kept {
                let text = text.clone();
                kept.tokens.push(SavedToken { id, text });
            }
            Ok(Happened::Token(text, logprobs))
        }
        Event::Failed { failure, message } => Err(ApiError::failed(failure, &message)),
        Event::Finished {
            reason,
            usage,
            seed,
            ..
        } => Ok(Happened::Ended(Ending {
            reason,
            usage,
            seed,
            answer: kept.take().map(|kept| kept.answer(&event)).transpose()?,
        })),
    }
}

impl Kept {
    fn answer(self, finished: &Event) -> Result<Box<Answer>, ApiError> {
        let evidence = Arc::unwrap_or_clone(self.evidence);
        let answer = Answer::new(self.request, self.tokens, finished, evidence);
        let none = |none: NoReceipt| {
            ApiError::new(StatusCode::BAD_GATEWAY, "server_error", none.to_string())
        };
        answer.map(Box::new).map_err(none)
    }
}

/// Waits for all of all choices.
pub(super) async fn whole(head: Head, mut replies: Replies) -> Result<Value, ApiError> {
    let mut choices: Vec<Choice> = Vec::new();
    choices.resize_with(replies.choices, Choice::default);
    while let Some((index, happened)) = replies.next().await {
        match happened? {
            Happened::Token(text, logprobs) => choices[index].push(&text, logprobs.as_ref()),
            Happened::Ended(ending) => choices[index].ending = Some(ending),
        }
    }
    Ok(head.whole(&choices))
}

impl Choice {
    fn push(&mut self, text: &str, logprobs: Option<&Logprobs>) {
        if let Some(logprobs) = logprobs {
            self.has_logprobs = true;
            self.logprobs.push(logprobs::chat(logprobs));
            self.lists.push(logprobs, self.characters);
        }
        self.characters += text.chars().count();
        self.text += text;
    }
}

/// Server-sent events, one for each token.
pub(super) fn stream(head: Head, replies: Replies) -> Response {
    let chunks = Chunks {
        waiting: (0..replies.choices).filter_map(|i| head.role(i)).collect(),
        characters: vec![0; replies.choices],
        usages: vec![None; replies.choices],
        done: false,
        head,
        replies,
    };
    let events = unfold(chunks, |mut chunks| async move {
        let event = chunks.next().await?;
        Some((Ok::<_, Infallible>(event), chunks))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

/// The chunks of a response.
struct Chunks {
    head: Head,
    replies: Replies,
    waiting: VecDeque<Value>,
    /// So far, of each choice.
    characters: Vec<usize>,
    /// Of the choices that ended.
    usages: Vec<Option<Usage>>,
    done: bool,
}

impl Chunks {
    /// The next server-sent event.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(chunk) = self.waiting.pop_front() {
                return Some(format!("data: {chunk}\n\n"));
            }
            if self.done {
                return None;
            }
            // A comment, which readers of events pass over: the reply may wait for a GPU host, or its prompt be long.
            let Ok(next) = timeout(QUIET, self.replies.next()).await else {
                return Some(": the reply is under way\n\n".into());
            };
            match next {
                Some((index, Ok(happened))) => self.take(index, happened),
                // A stream that ends so has no `[DONE]`: what came is not all.
                Some((_, Err(error))) => {
                    self.replies.proxy.metrics.failed();
                    self.waiting.push_back(error.body());
                    self.done = true;
                }
                None => {
                    self.done = true;
                    return Some(self.last());
                }
            }
        }
    }

    fn take(&mut self, index: usize, happened: Happened) {
        match happened {
            // No text became final with it.
            Happened::Token(text, None) if text.is_empty() => {}
            Happened::Token(text, logprobs) => {
                let offset = self.characters[index];
                self.characters[index] += text.chars().count();
                let chunk = self.head.token(index, &text, logprobs.as_ref(), offset);
                self.waiting.push_back(chunk);
            }
            Happened::Ended(ending) => {
                self.waiting.push_back(self.head.finish(index, &ending));
                self.usages[index] = Some(ending.usage);
            }
        }
    }

    fn last(&self) -> String {
        let usages: Vec<_> = self.usages.iter().copied().flatten().collect();
        let usage = self.head.include_usage.then(|| self.head.usage(&usages));
        let usage = usage.map_or(String::new(), |usage| format!("data: {usage}\n\n"));
        format!("{usage}data: [DONE]\n\n")
    }
}
