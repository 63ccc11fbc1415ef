//! The connection to the payload, made anew when it broke.

use tokio::sync::Mutex;

use crate::remote::{Address, Opened, RemoteError, Session, Trust};
use crate::time::UnixTime;

/// A service, what is accepted of it, and the connection to it.
pub struct Upstream {
    address: Address,
    trust: Trust,
    /// As of when evidence is verified.
    now: fn() -> UnixTime,
    session: Mutex<Option<Session>>,
}

impl Upstream {
    /// Connects when it is first needed.
    pub fn new(address: Address, trust: Trust, now: fn() -> UnixTime) -> Self {
        Self {
            address,
            trust,
            now,
            session: Mutex::default(),
        }
    }

    /// The connection; a broken one is replaced by one that was verified anew. One attempt at a time: others wait
    /// for it, and try themselves if it failed.
    pub async fn session(&self) -> Result<Session, RemoteError> {
        let mut current = self.session.lock().await;
        if let Some(session) = current.as_ref().filter(|session| session.is_on()) {
            return Ok(session.clone());
        }
        let opened = Opened::open(&self.address).await?;
        let session = opened.enter(&self.trust, (self.now)()).await?;
        Ok(current.insert(session).clone())
    }

    /// The clock.
    pub fn now(&self) -> UnixTime {
        (self.now)()
    }
}
