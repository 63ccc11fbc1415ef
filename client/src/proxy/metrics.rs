//! What the proxy counts, in the text format of Prometheus. Numbers only: nothing of any request.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use super::request::Endpoint;

/// Counters since the start.
#[derive(Default)]
pub struct Metrics {
    chats: AtomicU64,
    completions: AtomicU64,
    errors: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    active_streams: AtomicI64,
}

impl Metrics {
    /// A request came.
    pub fn requested(&self, endpoint: Endpoint) {
        match endpoint {
            Endpoint::Chat => self.chats.fetch_add(1, Relaxed),
            Endpoint::Completions => self.completions.fetch_add(1, Relaxed),
        };
    }

    /// A request was not answered, or not in full.
    pub fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// A reply is complete.
    pub fn finished(&self, prompt_tokens: u32) {
        self.prompt_tokens.fetch_add(prompt_tokens.into(), Relaxed);
    }

    /// A token came.
    pub fn token(&self) {
        self.completion_tokens.fetch_add(1, Relaxed);
    }

    /// So many streams more or less.
    pub fn streams(&self, change: i64) {
        self.active_streams.fetch_add(change, Relaxed);
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, i64)]| {
            writeln!(f, "# HELP talaria_proxy_{name} {help}")?;
            writeln!(f, "# TYPE talaria_proxy_{name} {kind}")?;
            values
                .iter()
                .try_for_each(|(labels, value)| writeln!(f, "talaria_proxy_{name}{labels} {value}"))
        };
        let get = |counter: &AtomicU64| counter.load(Relaxed) as i64;
        let requests = [
            ("{endpoint=\"chat\"}", get(&self.chats)),
            ("{endpoint=\"completions\"}", get(&self.completions)),
        ];
        metric(
            "requests_total",
            "counter",
            "Requests that came.",
            &requests,
        )?;
        let errors = "Requests without a complete reply.";
        metric(
            "errors_total",
            "counter",
            errors,
            &[("", get(&self.errors))],
        )?;
        let prompt = "Tokens of prompts of complete replies.";
        metric(
            "prompt_tokens_total",
            "counter",
            prompt,
            &[("", get(&self.prompt_tokens))],
        )?;
        let completion = "Tokens of replies.";
        let tokens = [("", get(&self.completion_tokens))];
        metric("completion_tokens_total", "counter", completion, &tokens)?;
        let active = [("", self.active_streams.load(Relaxed))];
        metric("active_streams", "gauge", "Replies under way.", &active)
    }
}
