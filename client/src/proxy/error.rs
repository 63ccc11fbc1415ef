//! Errors as OpenAI writes them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use talaria_wire::channel::message::Failure;

use crate::channel::ConnectionError;
use crate::cli::service::failure;
use crate::remote::{RemoteError, printable};

/// An error for the caller.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    /// The same request may be answered later.
    is_temporary: bool,
}

/// What callers are told to wait where trying again may help.
const RETRY_AFTER_SECONDS: &str = "10";

impl ApiError {
    /// An error of a kind.
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            param: None,
            code: None,
            is_temporary: matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
            ),
        }
    }

    /// The request cannot be answered as it is, because of this parameter.
    pub fn param(param: &str, message: impl Into<String>) -> Self {
        let mut error = Self::invalid(message);
        error.param = Some(param.into());
        error
    }

    /// The request cannot be answered as it is.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// For programs.
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// A body over the limit.
    pub fn too_large(most: usize) -> Self {
        let message = format!("the request has more than {most} bytes: shorten it");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request_error",
            message,
        )
    }

    /// An unknown path.
    pub fn no_such_route() -> Self {
        let message = "no such path: there are /v1/chat/completions, /v1/completions, /v1/models, /health, /metrics";
        Self::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
    }

    /// A known path with another method.
    pub fn no_such_method() -> Self {
        let message = "this path has another method: POST for completions, GET for all else";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request_error",
            message,
        )
    }

    /// The payload's answer in place of a reply.
    pub fn failed(whose: Failure, message: &str) -> Self {
        let (status, kind) = match whose {
            Failure::Refused => (StatusCode::BAD_REQUEST, "invalid_request_error"),
            Failure::Busy => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
            Failure::Host | Failure::Integrity | Failure::Internal => {
                (StatusCode::BAD_GATEWAY, "server_error")
            }
        };
        let message = format!("{}: {}", failure(whose), printable(message));
        let mut error = Self::new(status, kind, message);
        error.is_temporary |= whose == Failure::Host;
        match whose {
            Failure::Integrity => error.code("gpu_host_lied"),
            _ => error,
        }
    }

    /// As it stands in a body or in an event.
    pub fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl From<RemoteError> for ApiError {
    fn from(error: RemoteError) -> Self {
        let (status, kind) = match &error {
            RemoteError::Channel(ConnectionError::TooManyStreams) => {
                (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error")
            }
            RemoteError::Channel(ConnectionError::TooLong) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error")
            }
            RemoteError::Channel(ConnectionError::TooMany(_)) => {
                (StatusCode::BAD_REQUEST, "invalid_request_error")
            }
            error if error.is_temporary() => (StatusCode::SERVICE_UNAVAILABLE, "server_error"),
            _ => (StatusCode::BAD_GATEWAY, "server_error"),
        };
        let api = Self::new(status, kind, error.to_string());
        match error {
            RemoteError::Refused(_) => api.code("evidence_refused"),
            _ => api,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, json, self.body().to_string()).into_response();
        if self.is_temporary {
            let seconds = HeaderValue::from_static(RETRY_AFTER_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
