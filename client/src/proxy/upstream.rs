//! Connections to payloads, each made anew when it broke.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::Mutex;

use crate::remote::{Address, Opened, RemoteError, Session, Trust};
use crate::time::UnixTime;

/// A service, what is accepted of it, and the connections to it.
pub struct Upstream {
    address: Address,
    trust: Trust,
    /// As of when evidence is verified.
    now: fn() -> UnixTime,
    /// A CVM gives each to the instance of the payload that has the fewest.
    connections: Vec<Mutex<Current>>,
    /// Of the connections, modulo their number.
    turn: AtomicUsize,
}

#[derive(Default)]
struct Current {
    session: Option<Session>,
    /// When the last attempt failed, and why.
    failed: Option<(Instant, RemoteError)>,
}

impl Upstream {
    /// So many connections, at least one, each made when it is first needed.
    pub fn new(
        address: Address,
        trust: Trust,
        now: fn() -> UnixTime,
        connections: NonZeroUsize,
    ) -> Self {
        Self {
            address,
            trust,
            now,
            connections: (0..connections.get()).map(|_| Mutex::default()).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The connection whose turn it is.
    pub async fn session(&self) -> Result<Session, RemoteError> {
        self.session_for(self.turn.fetch_add(1, Ordering::Relaxed) as u64)
            .await
    }

    /// The same connection for the same number; a broken one is replaced by one that was verified anew. One attempt at a time
    /// for each: who waits for it shares its outcome, so that many callers do not wait for one attempt each.
    pub async fn session_for(&self, affinity: u64) -> Result<Session, RemoteError> {
        let asked = Instant::now();
        let turn = (affinity % self.connections.len() as u64) as usize;
        let mut current = self.connections[turn].lock().await;
        if let Some(session) = current.session.as_ref().filter(|session| session.is_on()) {
            return Ok(session.clone());
        }
        if let Some((at, error)) = &current.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        let connected = self.connect().await;
        match &connected {
            Ok(session) => current.session = Some(session.clone()),
            Err(error) => current.failed = Some((Instant::now(), error.clone())),
        }
        connected
    }

    async fn connect(&self) -> Result<Session, RemoteError> {
        let opened = Opened::open(&self.address).await?;
        opened.enter(&self.trust, (self.now)()).await
    }

    /// The clock.
    pub fn now(&self) -> UnixTime {
        (self.now)()
    }
}
