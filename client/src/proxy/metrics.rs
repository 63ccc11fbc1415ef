//! What the proxy counts, for Prometheus. Numbers only: nothing of any request.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::request::Endpoint;

/// Of [`Metrics::text`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets for the time between tokens, in seconds.
const BETWEEN_TOKENS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Upper bounds of the buckets for the time to the first token, in seconds.
const FIRST_TOKEN: [f64; 10] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

type Labels = [(&'static str, &'static str); 1];

/// Counters since the start.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Labels, Counter>,
    errors: Counter,
    prompt_tokens: Counter,
    completion_tokens: Counter,
    active_streams: Gauge,
    first_token: Histogram,
    between_tokens: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("talaria_proxy");
        let all = &mut registry;
        let requests = Family::default();
        let first_token = Histogram::new(FIRST_TOKEN);
        let between_tokens = Histogram::new(BETWEEN_TOKENS);
        let metrics = Self {
            requests: add(all, "requests", "Requests that came", requests),
            errors: add(
                all,
                "errors",
                "Requests without a complete reply",
                Counter::default(),
            ),
            prompt_tokens: add(
                all,
                "prompt_tokens",
                "Tokens of prompts of complete replies",
                Counter::default(),
            ),
            completion_tokens: add(
                all,
                "completion_tokens",
                "Tokens of replies",
                Counter::default(),
            ),
            active_streams: add(all, "active_streams", "Replies under way", Gauge::default()),
            first_token: add(
                all,
                "time_to_first_token_seconds",
                "Time from a request to its first token",
                first_token,
            ),
            between_tokens: add(
                all,
                "time_between_tokens_seconds",
                "Time from a token of a reply to its next",
                between_tokens,
            ),
            registry,
        };
        // Shown before the first request of each.
        for endpoint in [Endpoint::Chat, Endpoint::Completions] {
            drop(metrics.requests.get_or_create(&labels(endpoint)));
        }
        metrics
    }
}

fn add<M: Metric + Clone>(all: &mut Registry, name: &str, help: &str, metric: M) -> M {
    all.register(name, help, metric.clone());
    metric
}

fn labels(endpoint: Endpoint) -> Labels {
    let name = match endpoint {
        Endpoint::Chat => "chat",
        Endpoint::Completions => "completions",
    };
    [("endpoint", name)]
}

impl Metrics {
    /// A request came.
    pub(super) fn requested(&self, endpoint: Endpoint) {
        self.requests.get_or_create(&labels(endpoint)).inc();
    }

    /// A request was not answered, or not in full.
    pub(super) fn failed(&self) {
        self.errors.inc();
    }

    /// A reply is complete.
    pub(super) fn finished(&self, prompt_tokens: u32) {
        self.prompt_tokens.inc_by(prompt_tokens.into());
    }

    /// A token came.
    pub(super) fn token(&self) {
        self.completion_tokens.inc();
    }

    /// It is the first of its request.
    pub(super) fn first_token(&self, after: Duration) {
        self.first_token.observe(after.as_secs_f64());
    }

    /// It came so long after the one before it.
    pub(super) fn next_token(&self, after: Duration) {
        self.between_tokens.observe(after.as_secs_f64());
    }

    /// So many streams more or less.
    pub(super) fn streams(&self, change: i64) {
        self.active_streams.inc_by(change);
    }

    /// All of it, in the text format of OpenMetrics.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a string takes all");
        text
    }
}
