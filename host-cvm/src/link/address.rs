//! Where a host is, and how a connection to it is made.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use talaria_transport::link::{LinkKey, Secured, drawn, initiate};
use talaria_transport::weighted::IdentityRequest;
use talaria_transport::weighted::weighted_host_client::WeightedHostClient;
use talaria_wire::channel::KEY_BYTES;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::service_fn;

use super::Deadlines;
use super::error::{LinkError, LinkFailure, reason, root_cause};
use super::roster::{Met, Roster};

/// Credit of HTTP/2 for what a host may send before it is read: a product of an LM head of 150,000
/// outputs for 16 rows fits.
const WINDOW_BYTES: u32 = 32 << 20;
/// Largest HTTP/2 frame: fewer of them for large rows.
const FRAME_BYTES: u32 = 1 << 20;
/// Pause after the first failed attempt; doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Address of one GPU host.
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

    /// SHA-256 of the address as it was given.
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.url.as_bytes()).into()
    }

    /// Public key of an encrypted link.
    pub(crate) fn key(&self) -> Option<&[u8; KEY_BYTES]> {
        self.key.as_ref()
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

    async fn connect_once(&self) -> Result<Connection, tonic::transport::Error> {
        let peer = Arc::new(OnceLock::new());
        let channel = match (self.key, self.url.starts_with("unix:")) {
            (_, true) => self.endpoint.connect().await,
            (None, _) => {
                let note = peer.clone();
                let plain = service_fn(move |at: Uri| {
                    let note = note.clone();
                    async move { dial(&at, &note).await.map(TokioIo::new) }
                });
                self.endpoint.connect_with_connector(plain).await
            }
            (Some(key), _) => {
                let note = peer.clone();
                let own = self.own.clone();
                let secured = service_fn(move |at: Uri| {
                    let (note, own) = (note.clone(), own.clone());
                    async move {
                        let stream = dial(&at, &note).await?;
                        secure(stream, &key, own.as_deref()).await.map(TokioIo::new)
                    }
                });
                self.endpoint.connect_with_connector(secured).await
            }
        }?;
        Ok(Connection {
            channel,
            peer: peer.get().copied(),
        })
    }

    /// Connects to a host that says who it is and is no other of the roster, trying again with growing pauses for
    /// [`Deadlines::connect`].
    pub(crate) async fn connect(
        &self,
        roster: &Roster,
        deadlines: Deadlines,
    ) -> Result<Connection, LinkError> {
        let until = Instant::now() + deadlines.connect;
        let mut pause = FIRST_PAUSE;
        let mut reason = "no answer".to_owned();
        loop {
            match timeout_at(until, self.connect_once()).await {
                Ok(Ok(connection)) => match connection.meet(self, roster, deadlines).await {
                    // It was going away: another may take its place.
                    Err(error) if error.failure == LinkFailure::Unreachable => {
                        reason = "it closed the connection".into();
                    }
                    met => return met.map(|()| connection),
                },
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

    pub(super) fn error(&self, failure: LinkFailure, message: String) -> LinkError {
        LinkError {
            host: self.index,
            failure,
            message,
        }
    }
}

/// A connection to a host, and where it leads, unless to a Unix socket.
pub(crate) struct Connection {
    pub channel: Channel,
    peer: Option<SocketAddr>,
}

impl Connection {
    /// Asks who answers, and whether that is no other host of the roster.
    pub(crate) async fn meet(
        &self,
        host: &HostAddress,
        roster: &Roster,
        deadlines: Deadlines,
    ) -> Result<(), LinkError> {
        let mut client = WeightedHostClient::new(self.channel.clone());
        let silence = deadlines.silence();
        let said = timeout(silence, client.identity(IdentityRequest {})).await;
        let said = said
            .map_err(|_| host.timeout("who it is", silence))?
            .map_err(|status| host.failed(&status))?
            .into_inner();
        let identity = said.process.as_ref().try_into();
        let identity = identity.map_err(|_| host.malformed("no identity of a process"))?;
        if said.link_key != host.key.as_ref().map_or(&[][..], |key| key) {
            let reason =
                "the link key that it says it has is not the one of this link: something relays";
            return Err(host.malformed(reason));
        }
        let met = Met {
            identity,
            peer: self.peer,
            key: host.key,
        };
        roster.meet(host, met)
    }
}

/// `//KEY@HOST:PORT`.
fn keyed(rest: &str) -> Option<([u8; KEY_BYTES], &str)> {
    let (digits, host) = rest.strip_prefix("//")?.split_once('@')?;
    let mut key = [0; KEY_BYTES];
    hex::decode_to_slice(digits, &mut key).ok()?;
    (!host.is_empty()).then_some((key, host))
}

/// Connects, and notes where that leads.
async fn dial(at: &Uri, peer: &OnceLock<SocketAddr>) -> io::Result<TcpStream> {
    // An IPv6 address stands in brackets in a URL, and nowhere else.
    let host = at.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, at.port_u16().unwrap_or_default())).await?;
    stream.set_nodelay(true)?;
    let _ = peer.set(canonical(stream.peer_addr()?));
    Ok(stream)
}

/// An IPv4 address that is written as an IPv6 one is the same.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Encrypts a connection to the host, which has to have the secret of the key.
async fn secure(
    stream: TcpStream,
    key: &[u8; KEY_BYTES],
    own: Option<&LinkKey>,
) -> io::Result<Secured<TcpStream>> {
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
