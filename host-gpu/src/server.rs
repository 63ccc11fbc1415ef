//! The GPU host on a socket: gRPC over HTTP/2, on TCP, encrypted TCP or a Unix socket.
//!
//! ```text
//! stream of requests --parse, observe, admit--> scheduler --dispatch--> device
//!          answers, as they finish <--------------------------------------'
//! ```
//!
//! Rows are masked and products are checked by the caller, so nothing here needs to be secret or trusted. What
//! two hosts of `shares` get must not be read by one party, though, a network for example: [`Listener::secured`]. Callers are
//! not trusted either: what they may hold, and for how long, is in [`Bounds`].

mod bounds;
mod calls;
mod connection;
pub mod fault;
pub mod host;
mod incoming;
pub mod listen;
mod places;
mod running;
mod service;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use talaria_transport::weighted::weighted_host_server::WeightedHostServer;
use tokio::sync::watch;
use tonic::transport::server::Router;

pub use bounds::Bounds;
use bounds::{CONNECTION_WINDOW, FRAME_BYTES, HEADER_BYTES, STREAMS};
use calls::{Metered, Room};
pub use host::GpuHost;
pub use incoming::Door;
pub use listen::{Address, Listener};
pub use running::RunningServer;
use service::Service;

/// A connection that answers no ping is dropped after both.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for callers to take their answers when the host stops.
const GRACE: Duration = Duration::from_secs(10);

/// Why a host does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Bind {
        /// The address.
        address: Address,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system gives no threads or sockets.
    #[error("cannot serve: {0}")]
    System(#[from] std::io::Error),
    /// The HTTP/2 server failed.
    #[error("the server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves within `bounds` until `shutdown`, then answers what was accepted and returns, after ten seconds at the latest.
///
/// # Errors
/// Those of the HTTP/2 server.
pub async fn serve(
    host: Arc<GpuHost>,
    listener: Listener,
    bounds: Bounds,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (stop, stopped) = watch::channel(false);
    let router = router(host, stopped.clone(), listener.link_key()).await;
    let served = accept(router, listener, bounds, until(stopped.clone()));
    let stopping = async {
        shutdown.await;
        stop.send_replace(true);
        tokio::time::sleep(GRACE).await;
        tracing::warn!("callers hold connections open: closing them");
    };
    tokio::select! {
        result = served => result,
        () = stopping => Ok(()),
    }
}

/// Binds an address.
///
/// # Errors
/// [`ServeError::Bind`].
pub async fn bind(address: &Address) -> Result<Listener, ServeError> {
    Listener::bind(address)
        .await
        .map_err(|source| ServeError::Bind {
            address: address.clone(),
            source,
        })
}

async fn router(host: Arc<GpuHost>, stopped: watch::Receiver<bool>, link_key: Bytes) -> Router {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<WeightedHostServer<Service>>().await;
    let stopping = until(stopped.clone());
    tokio::spawn(async move {
        stopping.await;
        reporter
            .set_not_serving::<WeightedHostServer<Service>>()
            .await;
    });
    let max_request_bytes = host.max_request_bytes();
    let service = WeightedHostServer::new(Service::new(host, stopped, link_key))
        .max_decoding_message_size(max_request_bytes);
    let room = Room::for_messages_of(max_request_bytes);
    tonic::transport::Server::builder()
        .initial_stream_window_size(CONNECTION_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(Metered::new(health, room.clone()))
        .add_service(Metered::new(service, room))
}

async fn accept(
    router: Router,
    listener: Listener,
    bounds: Bounds,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    match listener {
        Listener::Tcp(listener) => {
            let open = |stream| std::future::ready(incoming::plain(stream));
            let incoming = incoming::accept(listener, bounds, open);
            router.serve_with_incoming_shutdown(incoming, stop).await?;
        }
        Listener::Secured(listener, door) => {
            let open = move |stream| Arc::clone(&door).open(stream);
            let incoming = incoming::accept(listener, bounds, open);
            router.serve_with_incoming_shutdown(incoming, stop).await?;
        }
        #[cfg(unix)]
        Listener::Unix(listener, _file) => {
            let incoming =
                incoming::accept(listener, bounds, |stream| std::future::ready(Ok(stream)));
            router.serve_with_incoming_shutdown(incoming, stop).await?;
        }
    }
    Ok(())
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the server.
    let _ = stopped.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests;
