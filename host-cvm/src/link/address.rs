//! Where a host is, and how a connection to it is made.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use talaria_transport::link::{LinkKey, Secured, drawn, initiate};
use talaria_wire::channel::KEY_BYTES;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::service_fn;

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
    /// The host's, if the link is encrypted.
    key: Option<[u8; KEY_BYTES]>,
    /// This CVM's, if it is to show one on encrypted links.
    own: Option<Arc<LinkKey>>,
}

impl HostAddress {
    /// Parses `http://host:port`, `noise://key@host:port` or `unix:/path`; otherwise says what is expected.
    pub(crate) fn parse(index: usize, url: &str) -> Result<Self, String> {
        let advice = || {
            format!(
                "GPU host `{url}`: expected http://HOST:PORT, unix:/PATH, or noise://KEY@HOST:PORT as \
                 `talaria-gpu serve --link-key` prints it"
            )
        };
        let (place, key) = match url.split_once(':') {
            Some(("http", rest)) if rest.starts_with("//") && rest.len() > 2 => (url.into(), None),
            Some(("unix", path)) if path.starts_with('/') => (url.into(), None),
            Some(("noise", rest)) => {
                let (key, host) = keyed(rest).ok_or_else(advice)?;
                (format!("http://{host}"), Some(key))
            }
            _ => return Err(advice()),
        };
        let is_tcp = place.starts_with("http:");
        let endpoint = Endpoint::from_shared(place).map_err(|_| advice())?;
        let uri = endpoint.uri();
        let named_user = uri.authority().is_some_and(|a| a.as_str().contains('@'));
        if is_tcp && (uri.port().is_none() || uri.path() != "/" || named_user) {
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
            key,
            own: None,
        })
    }

    /// Shows the host this key: it may serve those only whom it knows.
    pub(crate) fn shown(self, own: Option<Arc<LinkKey>>) -> Self {
        Self { own, ..self }
    }

    /// Whether a network could read what is sent: not if it is encrypted, and not within this machine.
    pub(crate) fn is_exposed(&self) -> bool {
        let host = self.endpoint.uri().host().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        self.key.is_none() && self.url.starts_with("http:") && !is_local
    }

    async fn connect_once(&self) -> Result<Channel, tonic::transport::Error> {
        let Some(key) = self.key else {
            return self.endpoint.connect().await;
        };
        let own = self.own.clone();
        let secured = service_fn(move |at: Uri| {
            let own = own.clone();
            async move { secure(&at, &key, own.as_deref()).await.map(TokioIo::new) }
        });
        self.endpoint.connect_with_connector(secured).await
    }

    /// Connects, trying again with growing pauses until `until`.
    pub(crate) async fn connect(&self, until: Instant) -> Result<Channel, LinkError> {
        let mut pause = FIRST_PAUSE;
        let mut reason = "no answer".to_owned();
        loop {
            match timeout_at(until, self.connect_once()).await {
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

    pub(crate) fn unreachable(&self, reason: &str) -> LinkError {
        let message = format!(
            "{} cannot be reached ({reason}): is `talaria-gpu serve` running there?",
            self.url
        );
        self.error(LinkFailure::Unreachable, message)
    }

    pub(crate) fn timeout(&self, what: &str, after: Duration) -> LinkError {
        let message = format!(
            "{} did not answer {what} within {:.1} s: is it overloaded, or its device stuck?",
            self.url,
            after.as_secs_f32()
        );
        self.error(LinkFailure::Timeout, message)
    }

    pub(crate) fn too_slow(&self, least_rate: u64) -> LinkError {
        let message = format!(
            "{} sends what set-up needs at less than {least_rate} bytes a second: is it overloaded, or the network \
             to it?",
            self.url
        );
        self.error(LinkFailure::Timeout, message)
    }

    pub(crate) fn malformed(&self, reason: &str) -> LinkError {
        let message = format!(
            "{} answered with something that is no answer ({reason}): is it a talaria-gpu of this release?",
            self.url
        );
        self.error(LinkFailure::Malformed, message)
    }

    pub(crate) fn refused(&self, reason: &str) -> LinkError {
        self.error(
            LinkFailure::Refused,
            format!("{} refused: {reason}", self.url),
        )
    }

    /// What a status of gRPC means.
    pub(crate) fn failed(&self, status: &Status) -> LinkError {
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

/// `//KEY@HOST:PORT`.
fn keyed(rest: &str) -> Option<([u8; KEY_BYTES], &str)> {
    let (digits, host) = rest.strip_prefix("//")?.split_once('@')?;
    let mut key = [0; KEY_BYTES];
    hex::decode_to_slice(digits, &mut key).ok()?;
    (!host.is_empty()).then_some((key, host))
}

/// Connects to the host, which has to have the secret of the key.
async fn secure(
    at: &Uri,
    key: &[u8; KEY_BYTES],
    own: Option<&LinkKey>,
) -> io::Result<Secured<TcpStream>> {
    // An IPv6 address stands in brackets in a URL, and nowhere else.
    let host = at.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, at.port_u16().unwrap_or_default())).await?;
    stream.set_nodelay(true)?;
    initiate(stream, key, own, drawn()?).await.map_err(|error| {
        let listed = match own {
            None => "has it --callers, which need a --caller-key here",
            Some(_) => "has it --callers without this --caller-key",
        };
        let what = format!(
            "no encrypted link, {error}: is KEY what `talaria-gpu serve --link-key` printed, and {listed}?"
        );
        io::Error::new(error.kind(), what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "1111111111111111111111111111111111111111111111111111111111111111";

    #[test]
    fn what_a_network_can_read_is_known() {
        let exposed = |url: &str| HostAddress::parse(0, url).unwrap().is_exposed();
        for url in [
            "http://gpu:1",
            "http://10.0.0.1:1",
            "http://[2001:db8::1]:1",
        ] {
            assert!(exposed(url), "{url}");
        }
        let encrypted = format!("noise://{KEY}@gpu:1");
        for url in [
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost:1",
            "unix:/a",
            &encrypted,
        ] {
            assert!(!exposed(url), "{url}");
        }
    }

    #[test]
    fn addresses() {
        for good in [
            "http://127.0.0.1:7000",
            "http://[::1]:7000",
            "http://gpu:1",
            "unix:/run/gpu",
            &format!("noise://{KEY}@gpu:7000"),
            &format!("noise://{KEY}@[::1]:7000"),
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
            "http://user@g:1",
            "noise://gpu:7000",
            "noise://00@gpu:7000",
            &format!("noise:{KEY}@gpu:7000"),
            &format!("noise://{KEY}@"),
            &format!("noise://{KEY}@gpu"),
            &format!("noise://{KEY}@gpu:1/x"),
            &format!("noise://{KEY}@user@gpu:1"),
        ];
        for bad in bad {
            let error = HostAddress::parse(0, bad).unwrap_err();
            assert!(error.contains("expected http://"), "{bad}: {error}");
        }
    }
}
