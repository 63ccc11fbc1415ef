//! A host served by a runtime of its own, for programs and tests that hold several parties in one process.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::{Address, Bounds, GpuHost, ServeError, bind, serve};

/// Threads of a server's runtime: they only move bytes; products run on threads of the backend.
const THREADS: usize = 2;

/// A server that runs until it is stopped, killed or dropped.
pub struct RunningServer {
    address: Address,
    /// Dropped before `stop`, so that a kill is no stop: with it go all sockets.
    _runtime: OwnRuntime,
    stop: Option<oneshot::Sender<()>>,
    done: mpsc::Receiver<Result<(), ServeError>>,
}

impl RunningServer {
    /// Serves callers of this process on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The operating system's.
    pub fn on_loopback(host: Arc<GpuHost>) -> Result<Self, ServeError> {
        let address = Address::Tcp("127.0.0.1:0".into());
        Self::start_within(host, &address, Bounds::of_own_callers())
    }

    /// Serves on an address. Not to be called from async code: it waits for the socket.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub fn start(host: Arc<GpuHost>, address: &Address) -> Result<Self, ServeError> {
        Self::start_within(host, address, Bounds::default())
    }

    /// Serves within other bounds than the default ones. Not to be called from async code: it waits for the socket.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub fn start_within(
        host: Arc<GpuHost>,
        address: &Address,
        bounds: Bounds,
    ) -> Result<Self, ServeError> {
        let runtime = OwnRuntime::new()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (finished, done) = mpsc::channel();
        let (bound, ready) = mpsc::channel();
        let address = address.clone();
        runtime.spawn(async move {
            let listener = match bind(&address).await {
                Ok(listener) => listener,
                Err(error) => return drop(bound.send(Err(error))),
            };
            let _ = bound.send(listener.address().map_err(ServeError::System));
            let shutdown = async {
                // Stopped, or the handle is gone.
                let _ = stopped.await;
            };
            let _ = finished.send(serve(host, listener, bounds, shutdown).await);
        });
        let address = ready
            .recv()
            .map_err(|_| ServeError::System(std::io::Error::other("the server ended at once")))??;
        Ok(Self {
            address,
            _runtime: runtime,
            stop: Some(stop),
            done,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where it listens, as a client is told.
    pub fn url(&self) -> String {
        self.address.url()
    }

    /// Answers what was accepted, then ends. Blocks up to ten seconds.
    ///
    /// # Errors
    /// Those of the HTTP/2 server.
    pub fn stop(mut self) -> Result<(), ServeError> {
        self.stop = None;
        // An error means that the server was gone already.
        self.done.recv().unwrap_or(Ok(()))
    }

    /// Closes every socket at once, as if the process had died.
    pub fn kill(self) {
        drop(self);
    }
}

/// How long tasks that end with their runtime are waited for.
const ENDING: Duration = Duration::from_secs(2);

/// A runtime that may be dropped anywhere, in async code too. Its tasks end at once, and with them what they
/// hold of the host.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn new() -> std::io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("gpu-host");
        Ok(Self(Some(builder.enable_all().build()?)))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(task);
        }
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A thread of its own may wait; one of another runtime may not.
            let ending = std::thread::spawn(move || runtime.shutdown_timeout(ENDING));
            let _ = ending.join();
        }
    }
}
