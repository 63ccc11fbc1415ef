//! The events of one request.

use std::sync::Arc;

use talaria_wire::channel::message::Event;
use tokio::sync::Notify;

use super::RemoteError;
use super::session::Shared;
use crate::channel::{Stream, Taken};

/// A reply as it comes. Dropping it before its end gives it up: the payload stops making it.
pub struct Reply {
    shared: Arc<Shared>,
    /// Taken out when dropped.
    stream: Option<Stream>,
    arrived: Arc<Notify>,
}

impl Reply {
    pub(super) fn new(shared: Arc<Shared>, stream: Stream, arrived: Arc<Notify>) -> Self {
        Self {
            shared,
            stream: Some(stream),
            arrived,
        }
    }

    /// Waits for the next event. `None` after the one that [ends](Event::ends) the reply, and never before: a
    /// connection that ends is an error. Safe to be dropped while it waits.
    pub async fn next(&mut self) -> Result<Option<Event>, RemoteError> {
        loop {
            if let Some(taken) = self.take()? {
                return Ok(taken);
            }
            self.arrived.notified().await;
        }
    }

    /// Outer `None`: nothing came yet.
    fn take(&mut self) -> Result<Option<Option<Event>>, RemoteError> {
        let Some(stream) = &mut self.stream else {
            return Ok(Some(None));
        };
        let mut state = self.shared.lock();
        match state.connection.take(stream)? {
            Taken::Event(event, frames) => {
                state.send(frames);
                Ok(Some(Some(event)))
            }
            Taken::Ended => Ok(Some(None)),
            // What came before the end of the connection was taken.
            Taken::Nothing => state.still_on().map(|()| None),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else {
            return;
        };
        let mut state = self.shared.lock();
        state.forget(stream.id());
        // On a broken connection there is nobody to tell.
        if let Ok(frames) = state.connection.cancel(stream) {
            state.send(frames);
        }
    }
}
