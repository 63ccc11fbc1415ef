//! The OpenAI API on this machine, answered by a payload that was verified.
//!
//! Programs that speak to OpenAI need another base URL and nothing else. Between them and the proxy everything is in
//! clear: so it listens on this machine, and refuses what a web page in a browser here could send.

mod api;
mod caches;
mod error;
mod fields;
mod format;
mod guard;
mod logprobs;
mod metrics;
mod parameters;
mod prompt;
mod request;
mod respond;
mod upstream;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

pub use error::ApiError;
pub use guard::{Guard, Open};
pub use request::{Asked, Endpoint};
pub use upstream::Upstream;

use crate::time::UnixTime;
use caches::Caches;
use metrics::Metrics;

/// Longest body of a request, in bytes: the longest request of the channel, as token ids in JSON.
const MAX_BODY_BYTES: usize = 16 << 20;

/// A proxy; [`Proxy::router`] makes it a service.
pub struct Proxy {
    upstream: Upstream,
    /// What `/v1/models` lists.
    model: String,
    started: UnixTime,
    metrics: Metrics,
    guard: Guard,
    caches: Caches,
}

impl Proxy {
    /// Answers by `upstream` for the model that is listed under this name.
    pub fn new(upstream: Upstream, model: String, guard: Guard) -> Self {
        Self {
            started: upstream.now(),
            upstream,
            model,
            metrics: Metrics::default(),
            guard,
            caches: Caches::default(),
        }
    }

    /// All routes.
    pub fn router(self) -> Router {
        let proxy = Arc::new(self);
        Router::new()
            .route("/v1/chat/completions", post(api::chat))
            .route("/v1/completions", post(api::completions))
            .route("/v1/models", get(api::models))
            .route("/v1/models/{*id}", get(api::model))
            .route("/metrics", get(metrics))
            .route("/health", get(health))
            .fallback(|| async { ApiError::no_such_route() })
            .method_not_allowed_fallback(|| async { ApiError::no_such_method() })
            .layer(from_fn_with_state(proxy.clone(), guard::guard))
            .with_state(proxy)
    }
}

async fn metrics(State(proxy): State<Arc<Proxy>>) -> impl IntoResponse {
    let content_type = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)];
    (content_type, proxy.metrics.text())
}

async fn health(State(proxy): State<Arc<Proxy>>) -> Response {
    match proxy.upstream.session().await {
        Ok(_) => (StatusCode::OK, "{\"status\":\"ok\"}\n").into_response(),
        Err(error) => ApiError::from(error).into_response(),
    }
}
