//! What a CVM offers to clients, over HTTP: evidence, sealed connections, health, metrics.
//!
//! | | |
//! |---|---|
//! | `GET /v1/channel?nonce=HEX` | WebSocket: evidence as text, then handshake and frames as binary messages |
//! | `GET /v1/evidence?nonce=HEX` | evidence alone, for auditors |
//! | `GET /v1/configuration` | what `host_configuration_digest` is the SHA-256 of |
//! | `GET /health` | 200 while clients are served and all GPU hosts answer; 503 else, and during set-up |
//!
//! `GET /metrics` for Prometheus is on a listener of its own, for the operator.
//!
//! Nothing here can read a prompt or a reply: frames are opened in the payload. So TLS would add nothing to what is
//! protected but addresses and sizes; a proxy in front may add it.

mod connection;
mod limits;
mod listener;
mod metrics;
mod refusal;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Query, State, WebSocketUpgrade};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use talaria_evidence::Claims;
use talaria_wire::channel::MAX_FRAME_BYTES;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};

use crate::attestation::Attester;
use crate::cvm::Cvm;
use crate::engine::Reservation;
use crate::payload::Keys;
pub use limits::Limits;
use limits::{Admission, Clients};
use metrics::Metrics;
use refusal::Refusal;

/// A connection that moved nothing for this long is idle, when the CVM stops.
const QUIET: Duration = Duration::from_secs(1);

/// What clients are served with.
pub struct Server {
    cvm: Cvm,
    attester: Attester,
    /// Hardware answers one after the other, and slowly.
    attesting: Mutex<()>,
    configuration: Vec<u8>,
    configuration_digest: [u8; 32],
    limits: Limits,
    clients: Clients,
    metrics: Metrics,
    stopping: AtomicBool,
    stop: watch::Sender<bool>,
}

type Shared = State<Arc<Server>>;

impl Server {
    /// `configuration`: JSON of how this CVM runs, for whoever wants to pin it.
    pub fn new(cvm: Cvm, attester: Attester, configuration: Vec<u8>, limits: Limits) -> Self {
        Self {
            cvm,
            attester,
            attesting: Mutex::new(()),
            configuration_digest: Sha256::digest(&configuration).into(),
            configuration,
            clients: Clients::new(limits),
            limits,
            metrics: Metrics::default(),
            stopping: AtomicBool::new(false),
            stop: watch::channel(false).0,
        }
    }

    /// Serves until `stop` is done; then takes no more clients, lets replies under way end within
    /// [`Limits::grace`], and shuts the CVM down. `metrics`: where the operator's monitoring asks, if it does.
    pub async fn serve(
        self,
        listener: TcpListener,
        metrics: Option<TcpListener>,
        stop: impl Future<Output = ()> + Send,
    ) {
        let server = Arc::new(self);
        let routes = Router::new()
            .route("/v1/channel", get(channel))
            .route("/v1/evidence", get(evidence))
            .route("/v1/configuration", get(configuration))
            .route("/health", get(health))
            .fallback(|| async { Refusal::NotFound })
            .with_state(server.clone());
        let monitoring = Router::new()
            .route("/metrics", get(monitor))
            .fallback(|| async { Refusal::NotFound })
            .with_state(server.clone());
        let mut monitored_until = server.stop.subscribe();
        let monitored = async move {
            let Some(metrics) = metrics else { return };
            let stopped = async move {
                let _ = monitored_until.wait_for(|stop| *stop).await;
            };
            listener::serve(metrics, monitoring, stopped).await;
        };
        let stopping = server.clone();
        let stopped = async move {
            stop.await;
            stopping.stopping.store(true, Ordering::SeqCst);
            stopping.stop.send_replace(true);
        };
        tokio::join!(listener::serve(listener, routes, stopped), monitored);
        server.clients.wait_until_gone(server.limits.grace).await;
        match Arc::try_unwrap(server) {
            Ok(server) => server.cvm.shutdown().await,
            // Connections beyond the grace hold it: dropping it with them stops the threads.
            Err(_) => tracing::warn!("connections were cut off at the end of the grace period"),
        }
    }

    fn admit(&self, address: SocketAddr) -> Result<Admission, Refusal> {
        self.ready()?;
        self.clients.admit(address.ip()).ok_or(Refusal::TooMany)
    }

    fn ready(&self) -> Result<(), Refusal> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(Refusal::Stopping);
        }
        match self.cvm.is_quarantined() {
            true => Err(Refusal::Quarantined),
            false => Ok(()),
        }
    }

    fn reserve(&self) -> Result<Reservation, Refusal> {
        self.cvm.reserve().ok_or(Refusal::NoEngine)
    }

    /// Evidence for the instance with these keys, as JSON.
    async fn evidence(self: &Arc<Self>, keys: Keys, nonce: [u8; 32]) -> Result<Vec<u8>, Refusal> {
        let summary = self.cvm.summary();
        let claims = Claims {
            nonce,
            channel_public_key: keys.channel,
            payload_sha256: summary.payload_sha256,
            model_digest: summary.model_digest,
            masking: summary.masking.clone(),
            host_configuration_digest: self.configuration_digest,
            receipt_public_key: keys.receipt,
        };
        let _turn = self.attesting.lock().await;
        let server = self.clone();
        let attested = tokio::task::spawn_blocking(move || server.attester.evidence(claims)).await;
        let evidence = attested
            .map_err(|_| Refusal::NoEvidence)?
            .map_err(|error| {
                tracing::error!(%error, "no evidence");
                Refusal::NoEvidence
            })?;
        self.metrics.evidence.inc();
        Ok(evidence.to_json())
    }
}

#[derive(Deserialize)]
struct Nonce {
    nonce: Option<String>,
}

impl Nonce {
    fn parse(&self) -> Result<[u8; 32], Refusal> {
        let mut nonce = [0; 32];
        let text = self.nonce.as_deref().ok_or(Refusal::Nonce)?;
        hex::decode_to_slice(text, &mut nonce).map_err(|_| Refusal::Nonce)?;
        Ok(nonce)
    }
}

async fn channel(
    State(server): Shared,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Query(nonce): Query<Nonce>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let begun = async {
        let nonce = nonce.parse()?;
        let admission = server.admit(address)?.evictable();
        let reservation = server.reserve()?;
        let evidence = server.evidence(reservation.keys(), nonce).await?;
        Ok((admission, reservation, evidence))
    };
    let (admission, reservation, evidence) = begun.await.inspect_err(|refusal: &Refusal| {
        server.metrics.refuse(refusal.cause());
        tracing::info!(client = %address.ip(), cause = refusal.cause(), "refused");
    })?;
    let upgrade = upgrade
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        server.metrics.connections.inc();
        tracing::info!(client = %address.ip(), "connected");
        connection::serve(&server, socket, evidence, reservation, &admission).await;
        drop(admission);
    }))
}

async fn evidence(
    State(server): Shared,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Query(nonce): Query<Nonce>,
) -> Result<Response, Refusal> {
    let nonce = nonce.parse()?;
    let _admission = server.admit(address)?;
    let keys = server.reserve()?.keys();
    Ok(json(server.evidence(keys, nonce).await?))
}

async fn configuration(State(server): Shared) -> Response {
    json(server.configuration.clone())
}

async fn health(State(server): Shared) -> Result<&'static str, Refusal> {
    server.ready()?;
    server.reserve()?;
    match server.cvm.hosts().contains(&false) {
        true => Err(Refusal::HostAway),
        false => Ok("serving\n"),
    }
}

async fn monitor(State(server): Shared) -> Response {
    let connected = server.clients.connected();
    let text = server.metrics.text(&server.cvm, connected);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

/// Does `work`, which takes long, and tells whoever asks meanwhile that it is not done.
///
/// # Errors
/// The operating system's.
pub async fn while_setting_up<T>(
    listener: &std::net::TcpListener,
    work: impl Future<Output = T>,
) -> std::io::Result<T> {
    let listener = TcpListener::from_std(listener.try_clone()?)?;
    let routes = Router::new().fallback(|| async { Refusal::SettingUp });
    let (done, stopped) = tokio::sync::oneshot::channel::<()>();
    let told = listener::serve(listener, routes, async {
        let _ = stopped.await;
    });
    let worked = async {
        let result = work.await;
        drop(done);
        result
    };
    Ok(tokio::join!(told, worked).1)
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
