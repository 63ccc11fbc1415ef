//! What a host fails at, for people.

use std::error::Error;
use std::fmt;

/// Longest text of a host that is shown.
const MAX_SHOWN_CHARS: usize = 300;

/// Why a call brought no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFailure {
    /// No connection, or it broke and could not be made again in time.
    Unreachable,
    /// The host did not answer in time.
    Timeout,
    /// The host answered with something that is no answer.
    Malformed,
    /// The host, or this side, refused the request.
    Refused,
    /// It is another of the hosts, where they must be two.
    SameHost,
}

/// A GPU host did not do its part. Says nothing of the rows. For the operator: it names the host by its address, and
/// quotes it; [`for_clients`](Self::for_clients) does neither.
#[derive(Clone, Debug)]
pub struct LinkError {
    /// Index of the host, from 0.
    pub host: usize,
    /// What kind of failure.
    pub failure: LinkFailure,
    /// What happened and what to do; names the host by its URL.
    pub message: String,
}

impl LinkError {
    /// This side will not send.
    pub(crate) fn own(reason: &str) -> Self {
        Self {
            host: 0,
            failure: LinkFailure::Refused,
            message: format!("nothing was sent: {reason}"),
        }
    }

    pub(crate) fn stopped() -> Self {
        Self::own("the CVM is shutting down")
    }

    /// A fixed text for whoever only uses the CVM: no address, no key, and no word of a host, which would have come
    /// through the sealed channel.
    pub(crate) fn for_clients(&self) -> &'static str {
        match self.failure {
            LinkFailure::Unreachable => "it cannot be reached; try again later",
            LinkFailure::Timeout => "it did not answer in time; try again later",
            LinkFailure::Malformed => "it answered with something that is no answer",
            LinkFailure::Refused => "it did not take the request; try again later",
            LinkFailure::SameHost => "it is another of the hosts, where they must be two",
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GPU host {}: {}", self.host + 1, self.message)
    }
}

impl Error for LinkError {}

/// The innermost cause: the outer ones say "transport error".
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    printable(&cause.to_string())
}

/// What a status says: of a broken connection its cause, otherwise what the host wrote.
pub(super) fn reason(status: &tonic::Status) -> String {
    match status.source() {
        Some(source) => root_cause(source),
        None => printable(status.message()),
    }
}

/// Text of an untrusted host, short and without control characters.
pub(super) fn printable(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MAX_SHOWN_CHARS).collect()
}
