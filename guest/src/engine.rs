//! Continuous batching: every step is one forward pass over rows of all active sessions.
//!
//! A session in decoding has one row in each step; what is left of the row budget goes to prompts, in
//! chunks ([`plan`]). No row's result depends on the others in its pass, so a session's tokens and logits are the same
//! alone and among many, and whether or not its positions were computed twice or for an earlier reply ([`prefixes`]).
//!
//! Nothing is reserved: keys and values are allocated as positions come, within [`Options::kv_memory`]. A request is
//! refused only if it could never be served.

mod plan;
mod prefixes;

use crate::{
    chat_template::ChatTemplate,
    counters::Counters,
    glimpse::GlimpseSlot,
    mask::{ModuleLwe, PublicRowsError},
    models::{Decoder, Input, State},
    ops::KvMemory,
    projection::{ProjectError, Projection, Projector},
    sampling::Sampler,
    session::{Session, Tokens},
    setup::Ready,
    stop::StopStrings,
    tokenizer::{Tokenizer, TokenizerError},
    world::{World, fresh_number},
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, rc::Rc};
use talaria_wire::channel::message::{
    DateTime, Event, Failure, MAX_TOP_LOGPROBS, Prompt, Request, Usage,
};
use talaria_wire::manifest::Place;
use zeroize::Zeroizing;

use plan::Plan;
use prefixes::Prefixes;
pub use prefixes::Scope;

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
    /// Likewise; it was not read to its end.
    #[error(
        "the prompt has more than {context} tokens, which is the context of this model, at least one of them for the reply: shorten the prompt"
    )]
    LongText {
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

/// The connection of sessions that come by none.
const NOBODY: u64 = u64::MAX;

/// The last session of each kind for which there were rows, in a pass that had not enough for all.
#[derive(Default)]
struct Turns {
    reply: u32,
    prompt: u32,
}

/// Decodes for any number of sessions.
pub struct Engine {
    ready: Rc<Ready>,
    decoder: Decoder,
    tokenizer: Option<Rc<Tokenizer>>,
    template: Option<ChatTemplate>,
    sessions: BTreeMap<u32, Session>,
    next_id: u32,
    turns: Turns,
    /// Of keys and values, all of them.
    memory: KvMemory,
    prefixes: Prefixes,
    /// Most rows of prompts in a pass that has replies.
    prompt_rows: usize,
    /// Most tokens of a prompt and its reply.
    context: u32,
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
        let decoder = Decoder::new(&ready.manifest);
        Ok(Self {
            context: context(&ready, &decoder)?,
            decoder,
            template: ChatTemplate::from_files(files).map_err(|e| e.to_string())?,
            tokenizer,
            sessions: BTreeMap::new(),
            next_id: 0,
            turns: Turns::default(),
            memory: KvMemory::default(),
            prefixes: Prefixes::default(),
            prompt_rows: usize::MAX,
            counters: Counters::default(),
            glimpse: GlimpseSlot::default(),
            tampered: false,
            ready,
        })
    }

    /// Begins a session of nobody in particular; see [`open_for`](Self::open_for).
    pub fn open(
        &mut self,
        request: Request,
        world: &mut dyn World,
    ) -> Result<(u32, Zeroizing<Vec<u32>>), OpenError> {
        self.open_for(NOBODY, None, request, world)
    }

    /// Begins a session of a connection; returns its id and the prompt as token ids. Whether a receipt was asked for is
    /// the caller's matter: an engine has no key. `scope`: whose replies it may go on from, and who may go on from it.
    pub fn open_for(
        &mut self,
        connection: u64,
        scope: Option<Scope>,
        request: Request,
        world: &mut dyn World,
    ) -> Result<(u32, Zeroizing<Vec<u32>>), OpenError> {
        let opened = self.begin(connection, scope, request, world);
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
        connection: u64,
        scope: Option<Scope>,
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
        let context = self.context;
        let room = u64::from(context).saturating_sub(ids.len() as u64);
        let remaining = room.min(u64::from(request.max_new_tokens)) as u32;
        if remaining == 0 {
            return Err(OpenError::TooLong {
                tokens: ids.len(),
                context,
            });
        }
        let vocab = self.ready.manifest.decoder.vocab_size;
        let sampler = Sampler::new(request.sampling, fresh_number(world), &ids, vocab)
            .map_err(|e| invalid(&e))?;
        let stops = StopStrings::new(&stop).map_err(|e| invalid(&e))?;
        let (position, state) = self.begun(scope.as_ref(), &ids);
        let eos = &self.ready.manifest.generation.eos_token_ids;
        let session = Session {
            state,
            position,
            tokens: Tokens::new(&ids),
            connection,
            scope,
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
                cached_tokens: position as u32,
            },
        };
        self.counters.cached_tokens += position as u64;
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
        let context = self.context;
        let encode = |text: &str, add_special_tokens| {
            let tokenizer = self.tokenizer.as_ref().ok_or(OpenError::NoTokenizer)?;
            // Others wait meanwhile: no further than it can be of use.
            let ids = tokenizer.encode_at_most(text, add_special_tokens, context as usize);
            ids.map(Zeroizing::new).map_err(|error| match error {
                TokenizerError::TooManyTokens { .. } => OpenError::LongText { context },
                error => OpenError::Invalid(error.to_string()),
            })
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

    /// Where a prompt begins that may begin where another reply ended: positions, and their state.
    fn begun(&mut self, scope: Option<&Scope>, prompt: &[u32]) -> (usize, State) {
        let serves = |tokens: usize| {
            let (less, more) = (tokens.min(prompt.len()), tokens.max(prompt.len()));
            !self.decoder.outgrows(less, more)
        };
        let found = scope.and_then(|scope| self.prefixes.find(scope, prompt, serves));
        found.unwrap_or_else(|| (0, self.decoder.state(&self.memory)))
    }

    /// Most tokens of a prompt and its reply: the model's context, or as many as there is memory for.
    pub fn context(&self) -> u32 {
        self.context
    }

    /// Bytes of keys and values that there are now, those that are kept for later replies included.
    pub fn kv_bytes(&self) -> u64 {
        self.memory.used()
    }

    /// Sessions now.
    pub fn active(&self) -> usize {
        self.sessions.len()
    }

    /// Ends a session early. Unknown ids are none.
    pub fn close(&mut self, session: u32) {
        if let Some(session) = self.sessions.remove(&session) {
            self.keep(session);
        }
    }

    /// A connection is over: only it could find what was computed for it.
    pub fn forget(&mut self, connection: u64) {
        self.prefixes.close(connection);
    }

    /// What a session that is over leaves to the next turn of its conversation.
    fn keep(&mut self, session: Session) {
        if let Some(scope) = session.scope
            && self.ready.options.prefix_cache
        {
            let computed = &session.tokens[..session.position];
            self.prefixes.keep(scope, computed, session.state);
        }
    }

    /// Passes a session over until it is no longer held. Unknown ids are none.
    pub fn hold(&mut self, session: u32, held: bool) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.held = held;
        }
    }

    /// From now on a pass has at most so many rows of prompts beside replies under way, at least one: whoever has a clock
    /// knows how many make it how much longer.
    pub fn pace(&mut self, prompt_rows: u32) {
        self.prompt_rows = prompt_rows as usize;
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
                self.prefixes.clear();
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
            if session.pending().len() > 1 {
                self.counters.prompt_rows += rows as u64;
            }
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
            let outgrown = self
                .decoder
                .outgrows(session.position, session.tokens.len());
            if let Some(finished) = finished {
                events.push((id, finished));
                self.close(id);
            } else if outgrown {
                self.restart(id);
            }
        }
        events
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

/// Most tokens that a session can come to with all memory for itself.
fn context(ready: &Ready, decoder: &Decoder) -> Result<u32, String> {
    let (memory, batch) = (
        ready.options.kv_memory,
        ready.options.max_batch_rows as usize,
    );
    let context = ready.manifest.decoder.max_position_embeddings;
    let fits = |tokens: u32| decoder.state_bytes(tokens as usize, batch) <= memory;
    // The most that fits, by halves: what fits only grows less.
    let (mut most, mut too_many) = (0, context.saturating_add(1));
    while too_many - most > 1 {
        let middle = most + (too_many - most) / 2;
        match fits(middle) {
            true => most = middle,
            false => too_many = middle,
        }
    }
    match most {
        0 | 1 => Err(format!(
            "{} MB of memory for keys and values (--kv-memory) are not enough for two tokens of this model, {} MB",
            memory >> 20,
            (decoder.state_bytes(2, batch) >> 20) + 1
        )),
        most => Ok(most),
    }
}

#[cfg(test)]
mod tests;
