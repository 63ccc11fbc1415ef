//! A WebSocket to the service.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use talaria_evidence::{Evidence, MAX_EVIDENCE_BYTES};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::error::printable;
use super::{Address, CONNECT_TIMEOUT, EVIDENCE_TIMEOUT, RemoteError};

/// A connection on which messages come whole.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Connects and asks for evidence with this nonce.
pub(super) async fn open(address: &Address, nonce: &[u8; 32]) -> Result<Socket, RemoteError> {
    let connecting = TcpStream::connect(address.host_and_port());
    let stream = within(CONNECT_TIMEOUT, "a connection", connecting).await?;
    let stream = stream.map_err(|error| unreachable(address, &error))?;
    // A frame is a token: it must not wait for another to share a packet with.
    let _ = stream.set_nodelay(true);
    // Evidence is the longest message; frames are checked for their lengths when they are opened.
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_EVIDENCE_BYTES))
        .max_frame_size(Some(MAX_EVIDENCE_BYTES));
    let url = address.channel(nonce);
    let upgrading = upgrade(&url, stream, config);
    match within(EVIDENCE_TIMEOUT, "an answer", upgrading).await? {
        Ok(socket) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => Err(RemoteError::http(
            address.to_string(),
            answer.status().as_u16(),
            answer.body().as_deref().unwrap_or_default(),
        )),
        Err(error) => Err(unreachable(address, &error)),
    }
}

/// TLS if the URL says so. Whom it certifies does not matter: what is trusted is the evidence.
#[cfg(feature = "tls")]
async fn upgrade(
    url: &str,
    stream: TcpStream,
    config: WebSocketConfig,
) -> Result<Socket, tungstenite::Error> {
    // An error says that there is a provider already, which will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let upgrading =
        tokio_tungstenite::client_async_tls_with_config(url, stream, Some(config), None);
    upgrading.await.map(|(socket, _)| socket)
}

/// Without TLS: [`Address`] has no `https` then.
#[cfg(not(feature = "tls"))]
async fn upgrade(
    url: &str,
    stream: TcpStream,
    config: WebSocketConfig,
) -> Result<Socket, tungstenite::Error> {
    let stream = MaybeTlsStream::Plain(stream);
    let upgrading = tokio_tungstenite::client_async_with_config(url, stream, Some(config));
    upgrading.await.map(|(socket, _)| socket)
}

fn unreachable(address: &Address, reason: &impl ToString) -> RemoteError {
    RemoteError::Unreachable {
        address: address.to_string(),
        reason: printable(&reason.to_string()),
    }
}

/// The first message.
pub(super) async fn evidence(socket: &mut Socket) -> Result<Evidence, RemoteError> {
    match within(EVIDENCE_TIMEOUT, "evidence", next(socket)).await?? {
        Message::Text(text) => Evidence::from_json(text.as_bytes())
            .map_err(|error| RemoteError::Evidence(Arc::new(error))),
        _ => Err(RemoteError::Protocol("its first message is no evidence")),
    }
}

/// The next binary message.
pub(super) async fn frame(
    socket: &mut (impl StreamExt<Item = Result<Message, tungstenite::Error>> + Unpin),
) -> Result<Vec<u8>, RemoteError> {
    match next(socket).await? {
        Message::Binary(frame) => Ok(frame.into()),
        _ => Err(RemoteError::Protocol("a message is no frame")),
    }
}

/// The next message that is not about the WebSocket itself.
async fn next(
    socket: &mut (impl StreamExt<Item = Result<Message, tungstenite::Error>> + Unpin),
) -> Result<Message, RemoteError> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(close))) => return Err(closed(close)),
            Some(Ok(message)) => return Ok(message),
            Some(Err(error)) => return Err(RemoteError::CutOff(printable(&error.to_string()))),
            None => return Err(closed(None)),
        }
    }
}

fn closed(close: Option<CloseFrame>) -> RemoteError {
    let Some(close) = close else {
        return RemoteError::CutOff("closed without a reason".into());
    };
    let why = match u16::from(close.code) {
        1000 => "closed",
        1001 => "the service shuts down",
        1008 => "a frame was refused",
        1013 => "the service is busy",
        _ => "closed",
    };
    let reason = printable(&close.reason);
    let code = u16::from(close.code);
    RemoteError::CutOff(match reason.is_empty() {
        true => format!("{why}, code {code}"),
        false => format!("{why}, code {code}: {reason}"),
    })
}

/// Waits so long and no longer.
pub(super) async fn within<T>(
    after: Duration,
    what: &'static str,
    future: impl Future<Output = T>,
) -> Result<T, RemoteError> {
    let waited = tokio::time::timeout(after, future).await;
    waited.map_err(|_| RemoteError::Timeout { what, after })
}
