//! Encrypted links: whose key a CVM knows, and how connections become streams under it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use talaria_transport::link::{Callers, LinkKey, Secured, drawn, respond};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

/// Time for a caller's handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way; further callers wait.
const HANDSHAKES: usize = 64;
/// Pause after the operating system gave no socket.
const PAUSE: Duration = Duration::from_millis(100);

/// Whose key a caller must know, and who may be one.
pub struct Door {
    /// The host's.
    pub key: LinkKey,
    /// All who know the key, if there is no list.
    pub callers: Option<Callers>,
}

/// Connections whose callers may have a link, as they come. Nobody waits for another's handshake.
pub fn accept(
    listener: TcpListener,
    door: Arc<Door>,
) -> ReceiverStream<io::Result<Secured<TcpStream>>> {
    let (ready, incoming) = mpsc::channel(1);
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let place = places.clone().acquire_owned().await;
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            let Ok((stream, caller)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (ready, door) = (ready.clone(), Arc::clone(&door));
            tokio::spawn(async move {
                let secured = timeout(HANDSHAKE, secure(stream, &door)).await;
                drop(place);
                match secured.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                    // Not if the server stops.
                    Ok(secured) => drop(ready.send(Ok(secured)).await),
                    Err(error) => tracing::warn!(%caller, %error, "no encrypted link"),
                }
            });
        }
    });
    ReceiverStream::new(incoming)
}

async fn secure(stream: TcpStream, door: &Door) -> io::Result<Secured<TcpStream>> {
    stream.set_nodelay(true)?;
    respond(stream, &door.key, door.callers.as_ref(), drawn()?).await
}
