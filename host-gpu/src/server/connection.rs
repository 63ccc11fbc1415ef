//! One connection: whose it is, how many calls it has, and when it is closed.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::transport::server::Connected;

use super::bounds::Bounds;
use super::places::{Origin, Place};

/// What the calls of a connection and its socket share.
pub(super) struct Connection {
    origin: Origin,
    bounds: Bounds,
    state: Mutex<State>,
    _place: Place,
}

struct State {
    /// Calls, each with the time since when the network has not taken what it was given.
    calls: HashMap<u64, Option<Instant>>,
    last_call: u64,
    /// When it is closed if there is no call.
    idle_until: Instant,
    closed: Option<&'static str>,
    /// Of the task that has the socket.
    waker: Option<Waker>,
}

/// What happens to a connection next.
enum Next {
    Close(&'static str),
    LookAgain(Instant),
}

impl Connection {
    pub(super) fn new(origin: Origin, bounds: Bounds, place: Place) -> Arc<Self> {
        Arc::new(Self {
            origin,
            bounds,
            state: Mutex::new(State {
                calls: HashMap::new(),
                last_call: 0,
                idle_until: Instant::now() + bounds.first_call,
                closed: None,
                waker: None,
            }),
            _place: place,
        })
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Closes it, and with it all its calls.
    pub(super) fn close(&self, why: &'static str) {
        let mut state = self.state();
        state.closed.get_or_insert(why);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// A call begins.
    pub(super) fn call(self: &Arc<Self>) -> Call {
        let mut state = self.state();
        state.last_call += 1;
        let number = state.last_call;
        state.calls.insert(number, None);
        Call {
            connection: Arc::clone(self),
            number,
        }
    }

    fn next(&self, now: Instant, context: &Context<'_>) -> Next {
        let mut state = self.state();
        if let Some(why) = state.closed {
            return Next::Close(why);
        }
        let known = state.waker.as_ref();
        if !known.is_some_and(|waker| waker.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        let oldest = state.calls.values().flatten().min();
        let (until, why) = match (oldest, state.calls.is_empty()) {
            (Some(given), _) => (*given + self.bounds.stall, "answers are not taken"),
            (None, true) => (state.idle_until, "no calls"),
            // The next answer may be given right after this look.
            (None, false) => return Next::LookAgain(now + self.bounds.stall.min(self.bounds.idle)),
        };
        match until <= now {
            true => Next::Close(why),
            false => Next::LookAgain(until),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call of a connection; ended once dropped.
pub(super) struct Call {
    connection: Arc<Connection>,
    number: u64,
}

impl Call {
    /// The network has something of its answer that it has not taken yet, or has taken all of it.
    pub(super) fn given(&self, given: bool) {
        let mut state = self.connection.state();
        if let Some(since) = state.calls.get_mut(&self.number) {
            *since = given.then(Instant::now);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.connection.state();
        state.calls.remove(&self.number);
        state.idle_until = Instant::now() + self.connection.bounds.idle;
    }
}

/// A socket that ends when its connection is closed.
pub(super) struct Held<S> {
    stream: S,
    connection: Arc<Connection>,
    look: Pin<Box<Sleep>>,
}

impl<S> Held<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>) -> Self {
        Self {
            stream,
            connection,
            look: Box::pin(sleep_until(Instant::now())),
        }
    }

    /// An error once it is closed; else it is looked at again in time.
    fn open(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut now = Instant::now();
        loop {
            match self.connection.next(now, context) {
                Next::Close(why) => {
                    let origin = self.connection.origin;
                    tracing::debug!(?origin, "connection closed: {why}");
                    return Err(io::Error::new(ErrorKind::TimedOut, why));
                }
                Next::LookAgain(at) => self.look.as_mut().reset(at),
            }
            if self.look.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            now = Instant::now();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.open(context)?;
        Pin::new(&mut self.stream).poll_read(context, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.open(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.open(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Connected for Held<S> {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }
}
