//! Continuous batching: every step is one forward pass over rows of all active sessions.
//!
//! A session in decoding has one row in each step; what is left of the row budget goes to prompts, in
//! chunks, whoever waits longest first. No row's result depends on the others in its pass, so a
//! session's tokens and logits are the same alone and among many.

use crate::{
    chat_template::ChatTemplate,
    counters::Counters,
    glimpse::GlimpseSlot,
    mask::{ModuleLwe, PublicRowsError},
    models::{Decoder, Input},
    projection::{ProjectError, Projection, Projector},
    sampling::Sampler,
    session::Session,
    setup::Ready,
    stop::StopStrings,
    tokenizer::Tokenizer,
    world::{World, fresh_number},
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, rc::Rc};
use talaria_wire::channel::message::{
    DateTime, Event, Failure, MAX_TOP_LOGPROBS, Prompt, Request, Usage,
};
use talaria_wire::manifest::Place;
use zeroize::Zeroizing;

/// Bytes of keys and values of all sessions of an instance; an instance has 4 GiB for everything.
pub const CACHE_BUDGET: u64 = 3 << 29;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing to continue.
    #[error("the prompt is empty: give at least one token")]
    Empty,
    /// An id that the model does not know.
    #[error("token id {id} at position {position} is outside the vocabulary of {vocab}")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Its place in the prompt.
        position: usize,
        /// Tokens in the vocabulary.
        vocab: u32,
    },
    /// No room for a reply.
    #[error(
        "the prompt has {tokens} tokens, the context of this model {context}, at least one of them for the reply: shorten the prompt"
    )]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// max_position_embeddings.
        context: u32,
    },
    /// max_new_tokens = 0.
    #[error("max-new-tokens is 0: ask for at least 1")]
    NothingAsked,
    /// More alternatives than are told.
    #[error("top_logprobs is {0}, at most {MAX_TOP_LOGPROBS} are possible: ask for fewer")]
    TooManyLogprobs(u8),
    /// The model came without tokenizer.json.
    #[error(
        "this checkpoint has no tokenizer.json: add it to the model directory of the GPU hosts, or give the prompt as token ids without stop strings"
    )]
    NoTokenizer,
    /// The model came without a chat template.
    #[error(
        "this checkpoint has no chat template (chat_template.jinja, or chat_template in tokenizer_config.json): give the prompt as text"
    )]
    NoTemplate,
    /// Too many sessions. Says nothing of the others.
    #[error(
        "no memory for another session now: its cache may come to {needed} of {most} MB; try again later, or with fewer tokens"
    )]
    Memory {
        /// Megabytes it may need.
        needed: u64,
        /// Megabytes of all sessions.
        most: u64,
    },
    /// Tokenizer, template, sampling or stop strings.
    #[error("{0}")]
    Invalid(String),
}

/// Why a step brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A host lied: all sessions are over, and this instance answers nothing any more.
    #[error("{}", crate::check::Tampered)]
    Integrity,
    /// A host failed. All sessions are where they were before the step, which can be repeated.
    #[error("{0}")]
    Host(String),
    /// Something else went wrong; all sessions are over.
    #[error("{0}")]
    Internal(String),
}

/// Rows of each session in a pass.
type Plan = BTreeMap<u32, usize>;

/// Decodes for any number of sessions.
pub struct Engine {
    ready: Rc<Ready>,
    decoder: Decoder,
    tokenizer: Option<Rc<Tokenizer>>,
    template: Option<ChatTemplate>,
    sessions: BTreeMap<u32, Session>,
    next_id: u32,
    /// The session at which the row budget of a pass ran out: the next pass begins after it.
    turn: u32,
    counters: Counters,
    glimpse: GlimpseSlot,
    tampered: bool,
}

impl Engine {
    /// Reads the text files of the manifest.
    ///
    /// Errors: a tokenizer or template that is there but broken.
    pub fn new(ready: Rc<Ready>) -> Result<Self, String> {
        let files = &ready.manifest.text_files;
        let tokenizer = match files.contains_key("tokenizer.json") {
            true => Some(Rc::new(
                Tokenizer::from_files(files).map_err(|e| e.to_string())?,
            )),
            false => None,
        };
        Ok(Self {
            decoder: Decoder::new(&ready.manifest),
            template: ChatTemplate::from_files(files).map_err(|e| e.to_string())?,
            tokenizer,
            sessions: BTreeMap::new(),
            next_id: 0,
            turn: 0,
            counters: Counters::default(),
            glimpse: GlimpseSlot::default(),
            tampered: false,
            ready,
        })
    }

    /// Begins a session; returns its id and the prompt as token ids. Whether a receipt was asked for is the caller's
    /// matter: an engine has no key.
    pub fn open(
        &mut self,
        request: Request,
        world: &mut dyn World,
    ) -> Result<(u32, Zeroizing<Vec<u32>>), OpenError> {
        let opened = self.begin(request, world);
        match &opened {
            Ok((_, ids)) => {
                self.counters.sessions += 1;
                self.counters.prompt_tokens += ids.len() as u64;
            }
            Err(_) => self.counters.refused += 1,
        }
        opened
    }

    fn begin(
        &mut self,
        request: Request,
        world: &mut dyn World,
    ) -> Result<(u32, Zeroizing<Vec<u32>>), OpenError> {
        let stop = Zeroizing::new(request.stop);
        let invalid = |e: &dyn core::fmt::Display| OpenError::Invalid(e.to_string());
        if request.max_new_tokens == 0 {
            return Err(OpenError::NothingAsked);
        }
        if let Some(found) = request.top_logprobs.filter(|top| *top > MAX_TOP_LOGPROBS) {
            return Err(OpenError::TooManyLogprobs(found));
        }
        let needs_text = !stop.is_empty();
        if needs_text && self.tokenizer.is_none() {
            return Err(OpenError::NoTokenizer);
        }
        let ids = self.encode(request.prompt, request.now)?;
        let context = self.ready.manifest.decoder.max_position_embeddings;
        let room = u64::from(context).saturating_sub(ids.len() as u64);
        let remaining = room.min(u64::from(request.max_new_tokens)) as u32;
        if remaining == 0 {
            return Err(OpenError::TooLong {
                tokens: ids.len(),
                context,
            });
        }
        let state_bytes = self.reserve(ids.len() + remaining as usize)?;
        let vocab = self.ready.manifest.decoder.vocab_size;
        let sampler = Sampler::new(request.sampling, fresh_number(world), &ids, vocab)
            .map_err(|e| invalid(&e))?;
        let stops = StopStrings::new(&stop).map_err(|e| invalid(&e))?;
        let eos = &self.ready.manifest.generation.eos_token_ids;
        let mut tokens = Zeroizing::new(Vec::with_capacity(ids.len() + remaining as usize));
        tokens.extend_from_slice(&ids);
        let session = Session {
            state: self.decoder.state(),
            position: 0,
            tokens,
            state_bytes,
            sampler,
            text: self.tokenizer.clone().map(|tokenizer| {
                let stream = tokenizer.stream(true);
                (tokenizer, stream)
            }),
            stops,
            stop_tokens: if request.ignore_eos {
                Vec::new()
            } else {
                eos.clone()
            },
            remaining,
            held: false,
            logits_digest: request.logits_digest.then(Sha256::new),
            top_logprobs: request.top_logprobs,
            usage: Usage {
                prompt_tokens: ids.len() as u32,
                completion_tokens: 0,
            },
        };
        let id = self.next_id;
        self.next_id += 1;
        self.sessions.insert(id, session);
        Ok((id, ids))
    }

    fn encode(
        &self,
        prompt: Prompt,
        now: Option<DateTime>,
    ) -> Result<Zeroizing<Vec<u32>>, OpenError> {
        let encode = |text: &str, add_special_tokens| {
            let tokenizer = self.tokenizer.as_ref().ok_or(OpenError::NoTokenizer)?;
            let ids = tokenizer.encode(text, add_special_tokens);
            ids.map(Zeroizing::new)
                .map_err(|e| OpenError::Invalid(e.to_string()))
        };
        let ids = match prompt {
            Prompt::Ids(ids) => Zeroizing::new(ids),
            Prompt::Text(text) => encode(&Zeroizing::new(text), true)?,
            Prompt::Chat(messages) => {
                let messages = Zeroizing::new(messages);
                if self.tokenizer.is_none() {
                    return Err(OpenError::NoTokenizer);
                }
                let template = self.template.as_ref().ok_or(OpenError::NoTemplate)?;
                let text = template.render(&messages, true, now);
                encode(
                    &Zeroizing::new(text.map_err(|e| OpenError::Invalid(e.to_string()))?),
                    false,
                )?
            }
        };
        let vocab = self.ready.manifest.decoder.vocab_size;
        if let Some((position, id)) = ids.iter().enumerate().find(|(_, id)| **id >= vocab) {
            return Err(OpenError::TokenOutOfRange {
                id: *id,
                position,
                vocab,
            });
        }
        if ids.is_empty() {
            Err(OpenError::Empty)
        } else {
            Ok(ids)
        }
    }

    /// Bytes of a state of so many positions, if there is room.
    fn reserve(&self, positions: usize) -> Result<u64, OpenError> {
        let needed = self.decoder.state_bytes(positions);
        if needed > CACHE_BUDGET.saturating_sub(self.reserved_bytes()) {
            return Err(OpenError::Memory {
                needed: needed >> 20,
                most: CACHE_BUDGET >> 20,
            });
        }
        Ok(needed)
    }

    /// Bytes that the states of all sessions may come to, of [`CACHE_BUDGET`].
    pub fn reserved_bytes(&self) -> u64 {
        let sessions = self.sessions.values();
        sessions.map(|session| session.state_bytes).sum()
    }

    /// Sessions now.
    pub fn active(&self) -> usize {
        self.sessions.len()
    }

    /// Ends a session early. Unknown ids are none.
    pub fn close(&mut self, session: u32) {
        self.sessions.remove(&session);
    }

    /// Passes a session over until it is no longer held. Unknown ids are none.
    pub fn hold(&mut self, session: u32, held: bool) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.held = held;
        }
    }

    /// One forward pass. No events: nothing is active, or only prompts were processed
    /// ([`Engine::is_idle`] tells).
    pub fn step(&mut self, world: &mut dyn World) -> Result<Vec<(u32, Event)>, StepError> {
        if self.tampered {
            return Err(StepError::Integrity);
        }
        let plan = self.plan();
        let error = match self.forward(&plan, world) {
            Ok(logits) => return Ok(self.advance(&plan, logits)),
            Err(error) => error,
        };
        match error {
            ProjectError::Host(failure) => {
                self.rewind(&plan);
                Err(StepError::Host(failure.to_string()))
            }
            ProjectError::NotFinite { place, error } => {
                self.rewind(&plan);
                let session = self.session_of(&plan, place, error.row);
                Ok(session
                    .map(|session| self.fail(session, &error))
                    .into_iter()
                    .collect())
            }
            ProjectError::Tampered(_) => {
                self.tampered = true;
                self.sessions.clear();
                Err(StepError::Integrity)
            }
            ProjectError::NoMasks(error) => {
                self.sessions.clear();
                Err(StepError::Internal(error.to_string()))
            }
        }
    }

    /// Ends all sessions: hosts stay away.
    pub fn give_up(&mut self) {
        self.sessions.clear();
    }

    /// Every session of a pass that failed is where it was before. Masks that were used are not used again.
    fn rewind(&mut self, plan: &Plan) {
        for id in plan.keys() {
            if let Some(session) = self.sessions.get_mut(id) {
                session.state.rewind(session.position);
            }
        }
    }

    /// Whose row it was.
    fn session_of(&self, plan: &Plan, place: Place, row: usize) -> Option<u32> {
        let mut end = 0;
        plan.iter().find_map(|(id, rows)| {
            let session = self.sessions.get(id)?;
            end += match place {
                Place::LM_HEAD => usize::from(*rows == session.pending().len()),
                _ => *rows,
            };
            (row < end).then_some(*id)
        })
    }

    /// Ends one session, whose numbers left their range; others do not depend on it.
    fn fail(&mut self, session: u32, error: &dyn core::fmt::Display) -> (u32, Event) {
        self.sessions.remove(&session);
        let failed = Event::Failed {
            failure: Failure::Internal,
            message: error.to_string(),
        };
        (session, failed)
    }

    /// Whether no session is active.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether a step would bring any session on.
    pub fn is_busy(&self) -> bool {
        self.sessions.values().any(|session| !session.held)
    }

    /// Logits (sessions at their last pending row, vocab).
    fn forward(
        &mut self,
        plan: &Plan,
        world: &mut dyn World,
    ) -> Result<Zeroizing<Vec<f32>>, ProjectError> {
        let ready = self.ready.clone();
        let mut projector = Projector {
            ready: &ready,
            world,
            counters: &mut self.counters,
            glimpse: &mut self.glimpse,
        };
        let inputs = self.sessions.iter_mut().filter_map(|(id, session)| {
            let rows = *plan.get(id)?;
            let pending = session.tokens.get(session.position..)?;
            Some(Input {
                tokens: &pending[..rows],
                position: session.position,
                length: session.tokens.len(),
                state: &mut session.state,
                logits: usize::from(rows == pending.len()),
            })
        });
        let mut inputs: Vec<_> = inputs.collect();
        if inputs.is_empty() {
            return Ok(Zeroizing::default());
        }
        let logits = self.decoder.forward(&mut inputs, &mut projector)?;
        Ok(Zeroizing::new(logits))
    }

    /// What the logits of a pass bring to its sessions.
    fn advance(&mut self, plan: &Plan, mut logits: Zeroizing<Vec<f32>>) -> Vec<(u32, Event)> {
        let vocab = self.ready.manifest.decoder.vocab_size as usize;
        let mut rows_of_logits = logits.chunks_exact_mut(vocab);
        let mut events = Vec::new();
        for (&id, &rows) in plan {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            session.position += rows;
            if !session.pending().is_empty() {
                continue;
            }
            let Some(logits) = rows_of_logits.next() else {
                break;
            };
            let (token, finished) = match session.advance(logits) {
                Ok(advanced) => advanced,
                Err(error) => {
                    events.push(self.fail(id, &error));
                    continue;
                }
            };
            self.counters.tokens += 1;
            events.push((id, token));
            if let Some(finished) = finished {
                events.push((id, finished));
                self.sessions.remove(&id);
            } else if self
                .decoder
                .outgrows(session.position, session.tokens.len())
            {
                session.state = self.decoder.state();
                session.position = 0;
            }
        }
        events
    }

    /// Rows of each session in the next pass, at most `max_batch_rows` in all. Sessions that found no
    /// room come first in the pass after.
    fn plan(&mut self) -> Plan {
        let mut budget = self.ready.options.max_batch_rows as usize;
        let mut plan = BTreeMap::new();
        let (served, waiting) = (..=self.turn, self.turn + 1..);
        let in_turn = self
            .sessions
            .range(waiting)
            .chain(self.sessions.range(served));
        let (decoding, prefilling): (Vec<_>, Vec<_>) = in_turn
            .filter(|(_, session)| !session.held)
            .map(|(id, session)| (*id, session.pending().len()))
            .partition(|(_, pending)| *pending == 1);
        for (id, pending) in decoding.into_iter().chain(prefilling) {
            let rows = pending.min(budget);
            plan.insert(id, rows);
            budget -= rows;
            if budget == 0 {
                self.turn = id;
                break;
            }
        }
        plan
    }

    /// What was done since set-up.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The model and how it was set up.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// For demonstrations: see [`GlimpseSlot`].
    pub fn glimpse(&mut self) -> &mut GlimpseSlot {
        &mut self.glimpse
    }

    /// module-LWE: rows of R_pub of a projection, from its host ([`ModuleLwe`]).
    pub fn fetch_public_rows(
        &self,
        projection: u32,
        first: u32,
        rows: u32,
        world: &mut dyn World,
    ) -> Result<Vec<u32>, String> {
        let projection = self.projection(projection)?;
        let fetched = self
            .module_lwe()?
            .fetch_public_rows(projection, first, rows, world);
        fetched.map_err(|error| {
            if let PublicRowsError::WrongHost(_) = error {
                world.quarantine(projection.index);
            }
            error.to_string()
        })
    }

    /// module-LWE: whether rows of R_pub that were kept elsewhere are right.
    pub fn check_public_rows(
        &self,
        projection: u32,
        first: u32,
        kept: Vec<u32>,
    ) -> Result<bool, String> {
        let projection = self.projection(projection)?;
        let checked = self
            .module_lwe()?
            .check_public_rows(projection, first, kept);
        checked.map_err(|error| error.to_string())
    }

    fn module_lwe(&self) -> Result<&ModuleLwe, String> {
        let masking = self.ready.masking.module_lwe();
        masking.ok_or_else(|| "only module-lwe has public rows outside the payload".into())
    }

    fn projection(&self, index: u32) -> Result<&Projection, String> {
        let projections = &self.ready.projections;
        let projection = projections.get(index as usize);
        projection.ok_or_else(|| format!("projection {index}: there are {}", projections.len()))
    }
}

#[cfg(test)]
mod tests;
