//! One conversation turn: what was asked for, how far it is, what comes out.

use crate::{
    engine::Scope,
    logprobs::logprobs,
    models::State,
    sampling::{Sampler, SamplingError},
    stop::StopStrings,
    tokenizer::{TextStream, Tokenizer},
};
use sha2::{Digest, Sha256};
use std::{ops::Deref, rc::Rc};
use talaria_wire::channel::message::{Event, FinishReason, Usage};
use zeroize::Zeroizing;

/// Token ids. It grows without leaving a copy behind, and nothing is booked for tokens that may never come.
pub struct Tokens(Zeroizing<Vec<u32>>);

/// Tokens for which there is room in the beginning.
const ROOM: usize = 256;

impl Tokens {
    /// Of a prompt.
    pub fn new(prompt: &[u32]) -> Self {
        let mut tokens = Vec::with_capacity(prompt.len() + ROOM);
        tokens.extend_from_slice(prompt);
        Self(Zeroizing::new(tokens))
    }

    /// One more.
    pub fn push(&mut self, id: u32) {
        if self.0.len() == self.0.capacity() {
            let mut longer = Vec::with_capacity(2 * self.0.len());
            longer.extend_from_slice(&self.0);
            // What was is zeroized as it is dropped.
            self.0 = Zeroizing::new(longer);
        }
        self.0.push(id);
    }
}

impl Deref for Tokens {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.0
    }
}

/// A session between two steps.
pub struct Session {
    /// Of all positions processed.
    pub state: State,
    /// Positions processed.
    pub position: usize,
    /// The prompt, then the reply.
    pub tokens: Tokens,
    /// Whose it is.
    pub connection: u64,
    /// Who may go on from it, if anybody.
    pub scope: Option<Scope>,
    pub(crate) sampler: Sampler,
    /// None if the model came without a tokenizer.
    pub(crate) text: Option<(Rc<Tokenizer>, TextStream)>,
    pub(crate) stops: StopStrings,
    /// Tokens that end the reply.
    pub(crate) stop_tokens: Vec<u32>,
    /// Tokens still to sample.
    pub(crate) remaining: u32,
    /// Passed over: nobody takes what it would bring.
    pub(crate) held: bool,
    pub(crate) logits_digest: Option<Sha256>,
    /// Alternatives to tell for each token; none: no logprobs either.
    pub(crate) top_logprobs: Option<u8>,
    pub(crate) usage: Usage,
}

impl Session {
    /// Tokens to process next: what is left of the prompt, or the token sampled last.
    pub fn pending(&self) -> &[u32] {
        self.tokens.get(self.position..).unwrap_or_default()
    }

    /// Samples from the logits (vocab,) of the last pending token and says what became of it; after a
    /// `Finished` the session is over.
    pub fn advance(&mut self, logits: &mut [f32]) -> Result<(Event, Option<Event>), SamplingError> {
        if let Some(digest) = &mut self.logits_digest {
            logits
                .iter()
                .for_each(|logit| digest.update(logit.to_le_bytes()));
        }
        // Sampling changes the logits in place.
        let raw = self
            .top_logprobs
            .map(|_| Zeroizing::new(logits.to_vec()))
            .unwrap_or_default();
        let id = self.sampler.sample(logits)?;
        let logprobs = self.top_logprobs.map(|top| {
            let tokenizer = self.text.as_ref().map(|(tokenizer, _)| tokenizer);
            let bytes = |id| tokenizer.map_or(Vec::new(), |t| t.token_bytes(id));
            logprobs(&raw, id, top, bytes)
        });
        self.remaining -= 1;
        self.usage.completion_tokens += 1;
        self.tokens.push(id);
        let (text, reason) = self.take(id);
        let token = Event::Token { id, text, logprobs };
        Ok((token, reason.map(|reason| self.finished(reason))))
    }

    /// The text that became final with a token, and why the reply ends with it, if it does.
    fn take(&mut self, id: u32) -> (String, Option<FinishReason>) {
        let stopped = self.stop_tokens.contains(&id);
        let mut piece = Zeroizing::new(match &mut self.text {
            Some((tokenizer, text)) if !stopped => text.push(tokenizer, id),
            _ => String::new(),
        });
        let over = stopped || self.remaining == 0;
        if over && let Some((_, text)) = &mut self.text {
            piece.push_str(&Zeroizing::new(text.finish()));
        }
        let passed = self.stops.push(&piece);
        let mut text = passed.text;
        if over && !passed.hit {
            text.push_str(&Zeroizing::new(self.stops.finish()));
        }
        let reason = match (stopped || passed.hit, over) {
            (true, _) => Some(FinishReason::Stop),
            (false, true) => Some(FinishReason::Length),
            (false, false) => None,
        };
        (text, reason)
    }

    fn finished(&mut self, reason: FinishReason) -> Event {
        let digest = self.logits_digest.take();
        Event::Finished {
            reason,
            usage: self.usage,
            seed: self.sampler.seed(),
            logits_digest: digest.map(|digest| digest.finalize().into()),
            // Signed by the channel, which has the key.
            receipt: None,
        }
    }
}
