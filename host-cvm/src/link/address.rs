//! Where a host is, and how a connection to it is made.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::error::{LinkError, LinkFailure, reason, root_cause};

/// Credit of HTTP/2 for what a host may send before it is read: a product of an LM head of 150,000
/// outputs for 16 rows fits.
const WINDOW_BYTES: u32 = 32 << 20;
/// Largest HTTP/2 frame: fewer of them for large rows.
const FRAME_BYTES: u32 = 1 << 20;
/// Pause after the first failed attempt; doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// One GPU host.
#[derive(Clone, Debug)]
pub(crate) struct HostAddress {
    /// From 0.
    pub index: usize,
    /// As configured.
    pub url: Arc<str>,
    endpoint: Endpoint,
}

impl HostAddress {
    /// Parses `http://host:port` or `unix:/path`; otherwise says what is expected.
    pub fn parse(index: usize, url: &str) -> Result<Self, String> {
        let advice = || format!("GPU host `{url}`: expected http://HOST:PORT or unix:/PATH");
        let complete = match url.split_once(':') {
            Some(("http", rest)) => rest.starts_with("//") && rest.len() > 2,
            Some(("unix", path)) => path.starts_with('/'),
            _ => false,
        };
        if !complete {
            return Err(advice());
        }
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| advice())?;
        let uri = endpoint.uri();
        if url.starts_with("http:") && (uri.port().is_none() || uri.path() != "/") {
            return Err(advice());
        }
        let endpoint = endpoint
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES);
        Ok(Self {
            index,
            url: url.into(),
            endpoint,
        })
    }

    /// Connects, trying again with growing pauses until `until`.
    pub async fn connect(&self, until: Instant) -> Result<Channel, LinkError> {
        let mut pause = FIRST_PAUSE;
        let mut reason = "no answer".to_owned();
        loop {
            match timeout_at(until, self.endpoint.connect()).await {
                Ok(Ok(channel)) => return Ok(channel),
                Ok(Err(error)) => reason = root_cause(&error),
                Err(_) => return Err(self.unreachable(&reason)),
            }
            let next = Instant::now() + pause;
            if next >= until {
                return Err(self.unreachable(&reason));
            }
            sleep_until(next).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    pub fn unreachable(&self, reason: &str) -> LinkError {
        let message = format!(
            "{} cannot be reached ({reason}): is `talaria-gpu serve` running there?",
            self.url
        );
        self.error(LinkFailure::Unreachable, message)
    }

    pub fn timeout(&self, what: &str, after: Duration) -> LinkError {
        let message = format!(
            "{} did not answer {what} within {:.1} s: is it overloaded, or its device stuck?",
            self.url,
            after.as_secs_f32()
        );
        self.error(LinkFailure::Timeout, message)
    }

    pub fn malformed(&self, reason: &str) -> LinkError {
        let message = format!(
            "{} answered with something that is no answer ({reason}): is it a talaria-gpu of this release?",
            self.url
        );
        self.error(LinkFailure::Malformed, message)
    }

    pub fn refused(&self, reason: &str) -> LinkError {
        self.error(
            LinkFailure::Refused,
            format!("{} refused: {reason}", self.url),
        )
    }

    /// What a status of gRPC means.
    pub fn failed(&self, status: &Status) -> LinkError {
        let reason = reason(status);
        match status.code() {
            _ if status.source().is_some() => self.unreachable(&reason),
            Code::Unavailable | Code::Cancelled | Code::Unknown => self.unreachable(&reason),
            Code::Internal | Code::OutOfRange | Code::DataLoss => self.malformed(&reason),
            Code::Unimplemented => self.malformed("it has no such service"),
            _ => self.refused(&reason),
        }
    }

    fn error(&self, failure: LinkFailure, message: String) -> LinkError {
        LinkError {
            host: self.index,
            failure,
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in [
            "http://127.0.0.1:7000",
            "http://[::1]:7000",
            "http://gpu:1",
            "unix:/run/gpu",
        ] {
            HostAddress::parse(0, good).unwrap_or_else(|e| panic!("{e}"));
        }
        let bad = [
            "",
            "gpu:7000",
            "http://",
            "http://gpu",
            "https://gpu:1",
            "unix:",
            "unix:run",
            "http://g:1/x",
        ];
        for bad in bad {
            let error = HostAddress::parse(0, bad).unwrap_err();
            assert!(error.contains("expected http://"), "{bad}: {error}");
        }
    }
}
