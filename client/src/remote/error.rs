//! Why a service does not answer: always with what can be done.

use std::sync::Arc;
use std::time::Duration;

use talaria_evidence::EvidenceError;

use crate::channel::ConnectionError;
use crate::verify::Appraisal;

/// What keeps a request from its reply. Texts of the other end are cut short and without control characters.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// No connection.
    #[error("cannot reach {address}: {reason}. Check the address, and that the service runs")]
    Unreachable {
        /// Where.
        address: String,
        /// Of the operating system.
        reason: String,
    },
    /// An answer other than the beginning of a channel.
    #[error("{address} answered {status}{message}: {advice}")]
    Http {
        /// Where.
        address: String,
        /// HTTP status.
        status: u16,
        /// What it said, after a colon; or nothing.
        message: String,
        /// What to do.
        advice: &'static str,
    },
    /// Nothing came in time.
    #[error("{what} did not come within {} seconds: the service is down or busy, try again later", .after.as_secs())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// What came first was no evidence.
    #[error("what the service sent as evidence is none: {0}. Check the address and the release")]
    Evidence(Arc<EvidenceError>),
    /// What came first was no text.
    #[error("the service speaks another protocol: {0}. Check the address and the release")]
    Protocol(&'static str),
    /// The evidence does not pass: nothing was sent.
    #[error("the evidence is refused, and nothing was sent: {}. `talaria verify` shows every step", .0.reasons())]
    Refused(Refused),
    /// Of the channel.
    #[error(transparent)]
    Channel(#[from] ConnectionError),
    /// The connection ended before what was asked for was there in full.
    #[error("the connection was cut off ({0}): what came of a reply is not all. Try again")]
    CutOff(String),
}

/// An appraisal that did not pass.
#[derive(Clone, Debug)]
pub struct Refused(pub Arc<Appraisal>);

impl Refused {
    fn reasons(&self) -> String {
        let reasons: Vec<_> = self.0.refusals().map(ToString::to_string).collect();
        printable(&reasons.join("; "))
    }
}

impl RemoteError {
    /// Whether the same request may do better later or on another connection, without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::CutOff(_) => true,
            Self::Http { status, .. } => matches!(status, 429 | 503),
            Self::Channel(error) => matches!(
                error,
                ConnectionError::Broken(_) | ConnectionError::TooManyStreams
            ),
            _ => false,
        }
    }

    /// An HTTP answer in place of a channel.
    pub(super) fn http(address: String, status: u16, body: &[u8]) -> Self {
        let advice = match status {
            429 | 503 => "the service is busy or starting, try again later",
            404 => "no Talaria service is there, check the address",
            _ => "check the address and the release",
        };
        let message = said(body).map_or(String::new(), |said| format!(" ({said})"));
        Self::Http {
            address,
            status,
            message,
            advice,
        }
    }
}

/// `error.message` of a body in JSON.
fn said(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(printable(body.get("error")?.get("message")?.as_str()?))
}

/// Longest text of the other end that is shown.
const MOST_SHOWN: usize = 2000;

/// The other end may be hostile: what it says must not command the terminal, nor fill it.
pub fn printable(text: &str) -> String {
    let printable = |c: char| if c.is_control() { '?' } else { c };
    text.chars().take(MOST_SHOWN).map(printable).collect()
}
