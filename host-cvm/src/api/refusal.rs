//! Why a request is not served, as HTTP. Fixed texts.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "no such path: /v1/channel, /v1/evidence, /v1/configuration and /health are there, /metrics where --metrics-listen says"
    )]
    NotFound,
    #[error("the query needs `nonce`, 64 hexadecimal digits drawn for this request")]
    Nonce,
    #[error(
        "too many connections or requests from this address: close some, or try again in a minute"
    )]
    TooMany,
    #[error("the CVM is setting up: try again later")]
    SettingUp,
    #[error("the CVM is shutting down")]
    Stopping,
    #[error("a GPU host is away: replies wait for it")]
    HostAway,
    #[error("a GPU host lied: the CVM is quarantined until its operator restarts it")]
    Quarantined,
    #[error("no payload instance serves: try again later")]
    NoEngine,
    #[error("the hardware gave no evidence: the operator's log says why")]
    NoEvidence,
}

impl Refusal {
    /// For metrics and logs.
    pub(super) fn cause(self) -> &'static str {
        match self {
            Self::NotFound => "path",
            Self::Nonce => "nonce",
            Self::TooMany => "limits",
            Self::SettingUp => "setting-up",
            Self::Stopping => "stopping",
            Self::HostAway => "host-away",
            Self::Quarantined => "quarantined",
            Self::NoEngine => "no-engine",
            Self::NoEvidence => "no-evidence",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Nonce => StatusCode::BAD_REQUEST,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::SettingUp
            | Self::Stopping
            | Self::HostAway
            | Self::Quarantined
            | Self::NoEngine => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoEvidence => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": { "message": self.to_string() } });
        let kind = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status(), kind, body.to_string()).into_response();
        if matches!(self, Self::SettingUp | Self::HostAway | Self::NoEngine) {
            let seconds = HeaderValue::from_static("5");
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
