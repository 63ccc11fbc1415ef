//! The routes of the OpenAI API.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use talaria_wire::channel::message::Prompt;

use super::error::ApiError;
use super::format::Head;
use super::request::{Asked, Endpoint};
use super::respond::{Begun, Kept, QUIET, Replies, stream, whole};
use super::{MAX_BODY_BYTES, Proxy};
use tokio::time::timeout;

/// `POST /v1/chat/completions`.
pub(super) async fn chat(proxy: State<Arc<Proxy>>, body: Body) -> Result<Response, ApiError> {
    complete(Endpoint::Chat, proxy, body).await
}

/// `POST /v1/completions`.
pub(super) async fn completions(
    proxy: State<Arc<Proxy>>,
    body: Body,
) -> Result<Response, ApiError> {
    complete(Endpoint::Completions, proxy, body).await
}

async fn complete(
    endpoint: Endpoint,
    State(proxy): State<Arc<Proxy>>,
    body: Body,
) -> Result<Response, ApiError> {
    let came = Instant::now();
    proxy.metrics.requested(endpoint);
    let answered = answer(endpoint, &proxy, body, came).await;
    answered.inspect_err(|_| proxy.metrics.failed())
}

async fn answer(
    endpoint: Endpoint,
    proxy: &Arc<Proxy>,
    body: Body,
    came: Instant,
) -> Result<Response, ApiError> {
    let asked = {
        let body = to_bytes(body, MAX_BODY_BYTES).await;
        let body = body.map_err(|_| ApiError::too_large(MAX_BODY_BYTES))?;
        Asked::parse(endpoint, &body)?
    };
    let key = asked.cache_key.as_deref().map(|key| proxy.caches.key(key));
    let session = proxy.upstream.session_for(affinity(&asked)).await?;
    let head = Head::new(&asked, proxy, &session)?;
    let mut replies = Vec::with_capacity(asked.requests.len());
    for request in asked.requests {
        let kept = asked.receipt.then(|| Kept {
            request: request.clone(),
            tokens: Vec::new(),
            evidence: session.evidence().clone(),
        });
        let reply = session.request_under(key, request).await?;
        replies.push(Begun { reply, kept });
    }
    let mut replies = Replies::new(replies, proxy.clone(), came);
    if asked.stream {
        // The status is sent with the first event, so that a refusal has its own, unless that takes long.
        if let Ok(first) = timeout(QUIET, replies.wait_for_first()).await {
            first?;
        }
        return Ok(stream(head, replies));
    }
    let reply = whole(head, replies).await?;
    Ok(json_response(&reply))
}

/// The same for all turns of a conversation, and of all that is asked under one key: what was computed for a reply is kept
/// where it was computed.
fn affinity(asked: &Asked) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Some(key) = &asked.cache_key {
        key.hash(&mut hasher);
        return hasher.finish();
    }
    match asked.requests.first().map(|request| &request.prompt) {
        Some(Prompt::Chat(messages)) => {
            // Up to what the user said first: no later turn changes that.
            let begins = messages.iter().position(|message| message.role == "user");
            for message in &messages[..begins.map_or(messages.len(), |user| user + 1)] {
                (&message.role, &message.content).hash(&mut hasher);
            }
        }
        Some(Prompt::Text(text)) => text
            .bytes()
            .take(BEGINNING)
            .for_each(|b| b.hash(&mut hasher)),
        Some(Prompt::Ids(ids)) => ids
            .iter()
            .take(BEGINNING)
            .for_each(|id| id.hash(&mut hasher)),
        None => {}
    }
    hasher.finish()
}

/// Bytes or tokens of a prompt that say whether it goes on from another.
const BEGINNING: usize = 64;

fn json_response(value: &Value) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::OK, json, value.to_string()).into_response()
}

/// `GET /v1/models`.
pub(super) async fn models(State(proxy): State<Arc<Proxy>>) -> Response {
    json_response(&json!({ "object": "list", "data": [listed(&proxy).await] }))
}

/// `GET /v1/models/{id}`.
pub(super) async fn model(
    State(proxy): State<Arc<Proxy>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    if id == proxy.model {
        return Ok(json_response(&listed(&proxy).await));
    }
    let message = format!(
        "the model {id:?} does not exist: there is {:?}",
        proxy.model
    );
    let error = ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message);
    Err(error.code("model_not_found"))
}

/// `max_model_len` as vLLM names it; null while the service cannot be reached.
async fn listed(proxy: &Proxy) -> Value {
    let session = proxy.upstream.session().await.ok();
    json!({
        "id": proxy.model,
        "object": "model",
        "created": proxy.started.0,
        "owned_by": "talaria",
        "max_model_len": session.map(|session| session.context()),
    })
}
