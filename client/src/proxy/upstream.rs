//! The connection to the payload, made anew when it broke.

use std::time::Instant;

use tokio::sync::Mutex;

use crate::remote::{Address, Opened, RemoteError, Session, Trust};
use crate::time::UnixTime;

/// A service, what is accepted of it, and the connection to it.
pub struct Upstream {
    address: Address,
    trust: Trust,
    /// As of when evidence is verified.
    now: fn() -> UnixTime,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    session: Option<Session>,
    /// When the last attempt failed, and why.
    failed: Option<(Instant, RemoteError)>,
}

impl Upstream {
    /// Connects when it is first needed.
    pub fn new(address: Address, trust: Trust, now: fn() -> UnixTime) -> Self {
        Self {
            address,
            trust,
            now,
            current: Mutex::default(),
        }
    }

    /// The connection; a broken one is replaced by one that was verified anew. One attempt at a time: who waits for
    /// it shares its outcome, so that many callers do not wait for one attempt each.
    pub async fn session(&self) -> Result<Session, RemoteError> {
        let asked = Instant::now();
        let mut current = self.current.lock().await;
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
