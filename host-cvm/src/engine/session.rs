//! A reply as its caller sees it. What is asked and what comes are [`Request`](talaria_wire::channel::message::Request)
//! and [`Event`], as on the channel.

use std::fmt;

use talaria_wire::channel::message::Event;
use tokio::sync::mpsc;

use super::Command;
use crate::cvm::CvmError;

/// A reply being generated. Dropping it ends the session.
pub struct Session {
    /// The prompt as token ids.
    pub prompt_ids: Vec<u32>,
    events: mpsc::UnboundedReceiver<Result<Event, CvmError>>,
    /// Tells the engine when this is dropped.
    _open: OpenSession,
}

/// Closes its session when dropped.
pub(crate) struct OpenSession {
    pub id: u32,
    pub engine: mpsc::UnboundedSender<Command>,
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        // An engine that is gone has no sessions.
        let _ = self.engine.send(Command::Close(self.id));
    }
}

impl Session {
    pub(crate) fn new(
        prompt_ids: Vec<u32>,
        events: mpsc::UnboundedReceiver<Result<Event, CvmError>>,
        open: OpenSession,
    ) -> Self {
        Self {
            prompt_ids,
            events,
            _open: open,
        }
    }

    /// The next event: tokens, then [`Event::Finished`]. None after that, or after an error.
    pub async fn next(&mut self) -> Option<Result<Event, CvmError>> {
        self.events.recv().await
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({} prompt tokens)", self.prompt_ids.len())
    }
}
