//! One request and what is still to be said about it.

use std::collections::VecDeque;
use talaria_wire::channel::{
    WINDOW,
    message::{Event, Failure},
};
use zeroize::Zeroizing;

use super::notary::{Draft, Notary};
use crate::engine::StepError;

/// A reply under way.
pub(super) struct Stream {
    /// None once it is over.
    session: Option<u32>,
    /// Events that may be sent before the client has taken more.
    credit: u32,
    /// Not sealed yet.
    events: VecDeque<Zeroizing<Event>>,
    /// If the client asked for a receipt.
    draft: Option<Draft>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            session: None,
            credit: WINDOW,
            events: VecDeque::new(),
            draft: None,
        }
    }
}

impl Stream {
    pub(super) fn begin(&mut self, session: u32, draft: Option<Draft>) {
        self.session = Some(session);
        self.draft = draft;
    }

    /// What a step brought; the last event gets its receipt.
    pub(super) fn push(&mut self, mut event: Event, notary: &Notary) {
        match &mut event {
            Event::Token { id, text, .. } => {
                let draft = self.draft.iter_mut();
                draft.for_each(|draft| draft.push(*id, text));
            }
            Event::Finished {
                reason,
                usage,
                seed,
                logits_digest,
                receipt,
            } => {
                self.session = None;
                *receipt = self.draft.take().map(|draft| {
                    Box::new(notary.sign(draft, *usage, *reason, *seed, *logits_digest))
                });
            }
            Event::Failed { .. } => self.session = None,
        }
        self.events.push_back(Zeroizing::new(event));
    }

    /// There is no reply, or no more of it.
    pub(super) fn fail(&mut self, failed: Event) {
        self.session = None;
        self.draft = None;
        self.events.push_back(Zeroizing::new(failed));
    }

    pub(super) fn session(&self) -> Option<u32> {
        self.session
    }

    /// Whether the session has to wait: a client that takes nothing gets at most this far ahead.
    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= WINDOW as usize
    }

    /// `None`: more than the client can have taken.
    pub(super) fn credit(&mut self, events: u32) -> Option<()> {
        let credit = self.credit.checked_add(events);
        self.credit = credit.filter(|credit| *credit <= WINDOW)?;
        Some(())
    }

    pub(super) fn may_send(&self) -> bool {
        self.credit > 0 && !self.events.is_empty()
    }

    /// The next event, if it may be sent.
    pub(super) fn take(&mut self) -> Option<Zeroizing<Event>> {
        self.credit = self.credit.checked_sub(1)?;
        self.events.pop_front()
    }
}

/// What ends the streams of all sessions when a step failed.
pub(super) fn failed(error: &StepError) -> Event {
    Event::Failed {
        failure: match error {
            StepError::Integrity => Failure::Integrity,
            StepError::Host(_) => Failure::Host,
            StepError::Internal(_) => Failure::Internal,
        },
        message: error.to_string(),
    }
}
