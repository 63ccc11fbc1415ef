//! Sockets, before their client has asked for anything.
//!
//! A socket costs a file descriptor and a task, so nobody gets many, and none is kept that says nothing.

use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Extension};
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::limits::{Clients, Limits};

/// Sockets of all clients on which no connection to the payload was opened yet.
const SOCKETS: usize = 256;

/// As many of one client.
const SOCKETS_PER_CLIENT: usize = 64;

/// Time for a request's headers, and between two requests.
const HEADERS: Duration = Duration::from_secs(10);

/// Time for all requests of a socket, but for one that becomes a connection to the payload.
const LIFE: Duration = Duration::from_secs(60);

/// Serves until `stop` is done and requests under way are answered. Requests carry the client's [`ConnectInfo`].
pub(super) async fn serve(
    mut listener: TcpListener,
    routes: Router,
    stop: impl Future<Output = ()> + Send,
) {
    let clients = Clients::new(Limits {
        connections: SOCKETS,
        connections_per_client: SOCKETS_PER_CLIENT,
        evidence_per_minute: u32::MAX,
        ..Limits::default()
    });
    let mut connections = JoinSet::new();
    let (stopping, _) = watch::channel(());
    let mut stop = std::pin::pin!(stop);
    loop {
        // axum's way to accept: what is wrong with one socket does not end it.
        let (stream, address) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut stop => break,
        };
        // None: closed at once.
        if let Some(admission) = clients.admit(address.ip()) {
            let routes = routes.clone().layer(Extension(ConnectInfo(address)));
            let stopping = stopping.subscribe();
            connections.spawn(async move {
                if let Err(error) = converse(stream, routes, stopping, LIFE).await {
                    tracing::debug!(%error, "a socket failed");
                }
                drop(admission);
            });
        }
    }
    drop(listener);
    stopping.send_replace(());
    while connections.join_next().await.is_some() {}
}

/// Answers requests until one upgrades the connection, the client leaves, or all is stopping.
async fn converse(
    stream: TcpStream,
    routes: Router,
    mut stopping: watch::Receiver<()>,
    life: Duration,
) -> hyper::Result<()> {
    // Frames are small and each is waited for: Nagle's algorithm would hold them back.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        _ = stopping.changed() => {}
        () = sleep(life) => {}
    }
    connection.as_mut().graceful_shutdown();
    // A client that does not read its answers is not waited for.
    timeout(HEADERS, connection).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;

    async fn who(ConnectInfo(address): ConnectInfo<SocketAddr>) -> String {
        address.to_string()
    }

    /// The address, and what stops it and waits for its end.
    async fn start() -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let routes = Router::new().route("/who", get(who));
        let serving = tokio::spawn(serve(listener, routes, async {
            let _ = stopped.await;
        }));
        (address, stop, serving)
    }

    async fn ask(stream: &mut TcpStream) -> String {
        let request = b"GET /who HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn requests_know_their_client() {
        let (address, _stop, _serving) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let client = stream.local_addr().unwrap().to_string();
        let answer = ask(&mut stream).await;
        assert!(
            answer.contains("200 OK") && answer.ends_with(&client),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn sockets_that_say_nothing_or_half_a_request_are_closed() {
        let (address, _stop, _serving) = start().await;
        let mut streams = Vec::new();
        for said in [&b""[..], b"GET /who HTTP/1.1\r\nHo"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said).await.unwrap();
            streams.push(stream);
        }
        for mut stream in streams {
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(3 * HEADERS, stream.read_to_end(&mut rest));
            closed.await.expect("closed").expect("read");
        }
    }

    /// Requests without end, of which no answer is read.
    #[tokio::test]
    async fn a_socket_that_only_asks_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (_stop, stopping) = watch::channel(());
        let body = "x".repeat(1 << 20);
        let routes = Router::new().route("/", get(async move || body.clone()));
        let life = Duration::from_millis(200);
        let served = tokio::spawn(converse(stream, routes, stopping, life));
        let request = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";
        let flood = async { while client.write_all(request).await.is_ok() {} };
        timeout(3 * HEADERS, flood).await.expect("closed");
        let _ = served.await.unwrap();
    }

    #[tokio::test]
    async fn one_client_gets_no_more_than_its_sockets() {
        let (address, _stop, _serving) = start().await;
        let mut held = Vec::new();
        for _ in 0..SOCKETS_PER_CLIENT {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        let mut beyond = TcpStream::connect(address).await.unwrap();
        // Closed unread: the end of the stream, or a reset.
        let mut rest = Vec::new();
        let _ = beyond.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
        assert!(ask(&mut held[0]).await.contains("200 OK"));
    }

    #[tokio::test]
    async fn stopping_does_not_wait_for_sockets_that_say_nothing() {
        let (address, stop, serving) = start().await;
        let _silent = TcpStream::connect(address).await.unwrap();
        let mut asked = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut asked).await.contains("200 OK"));
        stop.send(()).unwrap();
        let ended = tokio::time::timeout(HEADERS, serving).await;
        ended.expect("in time").unwrap();
    }
}
