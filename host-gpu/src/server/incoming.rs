//! Connections as they come: let in or closed, and opened, each by itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use talaria_transport::link::{Callers, LinkKey, Secured, drawn, respond};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::bounds::{Bounds, HANDSHAKES, HANDSHAKES_OF_ONE};
use super::connection::{Connection, Held};
use super::places::{Origin, Place, Places};

/// Pause after the operating system gave no socket.
const PAUSE: Duration = Duration::from_millis(100);
/// Time between two warnings of callers that were not let in.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

/// Whose key a caller must know, and who may be one.
pub struct Door {
    /// The host's.
    pub key: LinkKey,
    /// All who know the key, if there is no list.
    pub callers: Option<Callers>,
}

impl Door {
    /// A link to a caller who may have one.
    pub(super) async fn open(self: Arc<Self>, stream: TcpStream) -> io::Result<Secured<TcpStream>> {
        respond(plain(stream)?, &self.key, self.callers.as_ref(), drawn()?).await
    }
}

/// A caller of TCP as it is.
pub(super) fn plain(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Where callers come from.
pub(super) trait Source: Send + Sync + 'static {
    type Stream: Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Origin)>> + Send;
}

impl Source for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Origin)> {
        let (stream, caller) = self.accept().await?;
        Ok((stream, caller.ip().into()))
    }
}

#[cfg(unix)]
impl Source for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Origin)> {
        Ok((self.accept().await?.0, Origin::Unix))
    }
}

/// Connections that are open, as they come. Nobody waits for another's handshake, and whoever is one too many is closed at
/// once.
pub(super) fn accept<L, S, F>(
    listener: L,
    bounds: Bounds,
    open: impl Fn(L::Stream) -> F + Send + 'static,
) -> ReceiverStream<io::Result<Held<S>>>
where
    L: Source,
    S: Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let (ready, incoming) = mpsc::channel(1);
    tokio::spawn(async move {
        let reception = Reception::new(bounds);
        loop {
            let accepted = tokio::select! {
                accepted = listener.next() => accepted,
                () = ready.closed() => return,
            };
            let Ok((stream, origin)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let Some((place, handshake)) = reception.admit(origin) else {
                reception.warn(&format_args!(
                    "{origin:?} has its connections, or all are taken"
                ));
                continue;
            };
            let (ready, opening) = (ready.clone(), open(stream));
            let reception = Arc::clone(&reception);
            tokio::spawn(async move {
                let opened = timeout(bounds.handshake, opening).await;
                drop(handshake);
                match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                    Ok(stream) => {
                        let connection = Connection::new(origin, bounds, place);
                        // Not if the server stops.
                        drop(ready.send(Ok(Held::new(stream, connection))).await);
                    }
                    Err(error) => {
                        reception.warn(&format_args!("{origin:?} gets no encrypted link: {error}"));
                    }
                }
            });
        }
    });
    ReceiverStream::new(incoming)
}

/// Who is let in.
struct Reception {
    connections: Arc<Places>,
    handshakes: Arc<Places>,
    begun: Instant,
    /// Milliseconds since then; 0: never.
    warned: AtomicU64,
}

impl Reception {
    fn new(bounds: Bounds) -> Arc<Self> {
        let most = bounds.connections as u64;
        Arc::new(Self {
            connections: Places::new(most, most.div_ceil(2)),
            handshakes: Places::new(HANDSHAKES, HANDSHAKES_OF_ONE),
            begun: Instant::now(),
            warned: AtomicU64::new(0),
        })
    }

    /// A place for a connection, and one for its handshake.
    fn admit(&self, origin: Origin) -> Option<(Place, Place)> {
        let connection = self.connections.take(origin, 1)?;
        Some((connection, self.handshakes.take(origin, 1)?))
    }

    /// Now and then: whoever is kept out must not fill the log.
    fn warn(&self, what: &std::fmt::Arguments<'_>) {
        let now = self.begun.elapsed().as_millis() as u64 + 1;
        let last = self.warned.load(Ordering::Relaxed);
        if last == 0 || now - last > BETWEEN_WARNINGS.as_millis() as u64 {
            self.warned.store(now, Ordering::Relaxed);
            tracing::warn!("a caller is not served: {what}; more of this is not told for a while");
        }
    }
}
