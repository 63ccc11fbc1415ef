//! The component: generated bindings on one side, [`Engine`], [`Channel`] and [`Ingest`] on the other. The only
//! file that sees the bindings.

#![allow(
    unsafe_code,
    reason = "generated exports cross the canonical ABI; getrandom's custom backend is a C symbol"
)]

use crate::{
    channel::{Channel, Refusal},
    engine::{Engine, StepError},
    mask::{self, Batch, MaskedRows, Shipment},
    ops::Heads,
    rehearsal::{Attention, Part, Rehearsal},
    setup::{Ingest, Options, Ready, Scheme},
    world::{HostFailure, World},
};
use bindings::{
    exports::talaria::payload::{
        channel as channel_export, engine as engine_export, minting, rehearsal as rehearsal_export,
        setup as setup_export,
    },
    talaria::payload::{mask_supply, weighted},
    wasi::random::random,
};
use std::{cell::RefCell, rc::Rc};
use talaria_wire::{
    channel::message::{Event, Request},
    manifest::WeightFormat,
    shape::MatrixShape,
};
use zeroize::{Zeroize, Zeroizing};

#[allow(
    missing_docs,
    reason = "generated; wit/payload.wit documents every item"
)]
mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "payload",
        generate_all,
    });
    export!(Payload with_types_in self);

    pub(super) struct Payload;
}

use bindings::Payload;

/// The imports of this component.
struct Imports;

impl World for Imports {
    fn project(&mut self, rows: &MaskedRows) -> Result<Vec<Vec<u32>>, HostFailure> {
        let shipments: Vec<_> = rows
            .shipments()
            .iter()
            .map(|shipment| match shipment {
                Shipment::Residues(residues) => weighted::Shipment::Residues(residues.clone()),
                Shipment::Seed(seed) => weighted::Shipment::Seed(seed.to_vec()),
            })
            .collect();
        let result = weighted::project(
            rows.projection(),
            rows.rows(),
            rows.planes().are_apart(),
            &shipments,
        );
        for shipment in shipments {
            if let weighted::Shipment::Seed(mut seed) = shipment {
                seed.zeroize();
            }
        }
        result.map_err(|failure| HostFailure {
            host: failure.host + 1,
            message: failure.message,
        })
    }

    fn quarantine(&mut self, projection: u32) {
        weighted::quarantine(projection);
    }

    fn draw(&mut self, projection: u32, rows: u32) -> Result<mask::MintedMasks, String> {
        let minted = mask_supply::draw(projection, rows)?;
        Ok(mask::MintedMasks {
            masks: Zeroizing::new(minted.masks),
            corrections: Zeroizing::new(minted.corrections),
        })
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        let mut drawn = random::get_random_bytes(bytes.len() as u64);
        // A host that returns another length breaks the WASI contract: nothing may go on without entropy.
        bytes.copy_from_slice(&drawn);
        drawn.zeroize();
    }
}

/// Randomness for libraries that ask for some by themselves (hash maps); masks never do.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(
    dest: *mut u8,
    len: usize,
) -> Result<(), getrandom::Error> {
    let drawn = random::get_random_bytes(len as u64);
    if drawn.len() != len {
        return Err(getrandom::Error::UNEXPECTED);
    }
    // SAFETY: getrandom passes a writable buffer of `len` bytes, and `drawn` has as many.
    unsafe { core::ptr::copy_nonoverlapping(drawn.as_ptr(), dest, len) };
    Ok(())
}

/// How far this instance is.
enum State {
    Fresh,
    Ingesting(Box<Ingest>),
    Ready { ready: Rc<Ready>, serving: Serving },
}

/// Who may open sessions. Never both: what a client asks and is answered must not leave as plaintext.
enum Serving {
    Host(Box<Engine>),
    Clients(Box<Channel>),
}

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State::Fresh) };
    /// The batch being minted.
    static BATCH: RefCell<Option<Batch>> = const { RefCell::new(None) };
    static REHEARSAL: RefCell<Option<Rehearsal>> = const { RefCell::new(None) };
    static ATTENTION: RefCell<Option<Attention>> = const { RefCell::new(None) };
}

const NOT_READY: &str = "set-up is not finished";
const NO_CHANNEL: &str = "no channel was begun";
const NOT_BEGUN: &str = "no rehearsal was begun";

const ANOTHER_PAYLOAD: &str =
    "the channel was begun with another payload-sha256, which its receipts name";
const NO_REQUEST: &str = "the request does not parse: use host and payload of one release";
const NO_RECEIPT: &str = "receipts are signed for sealed channels only: ask for none here";
const SEALED: &str = "this instance serves a channel: its sessions are sealed";

/// For sessions of the host.
fn with_engine<T>(run: impl FnOnce(&mut Engine) -> Result<T, String>) -> Result<T, String> {
    STATE.with_borrow_mut(|state| match state {
        State::Ready { serving, .. } => match serving {
            Serving::Host(engine) => run(engine),
            Serving::Clients(_) => Err(SEALED.into()),
        },
        _ => Err(NOT_READY.into()),
    })
}

/// For what concerns no session.
fn with_any_engine<T>(run: impl FnOnce(&Engine) -> Result<T, String>) -> Result<T, String> {
    STATE.with_borrow(|state| match state {
        State::Ready { serving, .. } => match serving {
            Serving::Host(engine) => run(engine),
            Serving::Clients(channel) => run(channel.engine()),
        },
        _ => Err(NOT_READY.into()),
    })
}

/// For clients.
fn with_channel<T>(run: impl FnOnce(&mut Channel) -> T) -> Option<T> {
    STATE.with_borrow_mut(|state| match state {
        State::Ready {
            serving: Serving::Clients(channel),
            ..
        } => Some(run(channel)),
        _ => None,
    })
}

fn become_ready(ready: Ready) -> Result<setup_export::Summary, String> {
    let ready = Rc::new(ready);
    let engine = Box::new(Engine::new(ready.clone())?);
    let summary = setup_export::Summary {
        model_digest: ready.digest.0.to_vec(),
        row_bits: ready.projections.iter().map(|p| p.row_bits).collect(),
        hosts: ready.masking.hosts() as u32,
        masking: ready.masking.name(),
        leaks: ready.masking.leaks(),
        context: engine.context(),
    };
    let serving = Serving::Host(engine);
    STATE.set(State::Ready { ready, serving });
    Ok(summary)
}

impl setup_export::Guest for Payload {
    fn begin(manifest: Vec<u8>, options: setup_export::Options) -> Result<(), String> {
        let expected_digest = options
            .expected_digest
            .map(|digest| <[u8; 32]>::try_from(digest).map_err(|_| "a digest has 32 bytes"))
            .transpose()?;
        let options = Options {
            scheme: options.masking.into(),
            remo_rank: options.remo_rank,
            parameters: options.parameters,
            public_seed: <[u8; 32]>::try_from(options.public_seed)
                .map_err(|_| "a public seed has 32 bytes")?,
            expected_digest,
            max_batch_rows: options.max_batch_rows,
            kv_memory: options.kv_memory,
            prefix_cache: options.prefix_cache,
        };
        let ingest = Ingest::begin(manifest, options, &mut Imports).map_err(|e| e.to_string())?;
        STATE.set(State::Ingesting(Box::new(ingest)));
        Ok(())
    }

    fn ingest(planes: Vec<u8>) -> Result<(), String> {
        STATE.with_borrow_mut(|state| match state {
            State::Ingesting(ingest) => ingest.ingest(&planes).map_err(|e| e.to_string()),
            _ => Err("set-up has not begun".into()),
        })
    }

    fn finish() -> Result<setup_export::Summary, String> {
        match STATE.replace(State::Fresh) {
            State::Ingesting(ingest) => {
                become_ready(ingest.finish(&mut Imports).map_err(|e| e.to_string())?)
            }
            _ => Err("set-up has not begun".into()),
        }
    }

    fn fetch_public_rows(projection: u32, first: u32, rows: u32) -> Result<Vec<u32>, String> {
        with_any_engine(|engine| engine.fetch_public_rows(projection, first, rows, &mut Imports))
    }

    fn check_public_rows(projection: u32, first: u32, kept: Vec<u32>) -> Result<bool, String> {
        with_any_engine(|engine| engine.check_public_rows(projection, first, kept))
    }

    fn snapshot() -> Result<Vec<u8>, String> {
        STATE.with_borrow(|state| match state {
            State::Ready { ready, .. } => Ok(ready.snapshot()),
            _ => Err(NOT_READY.into()),
        })
    }

    fn restore(snapshot: Vec<u8>) -> Result<setup_export::Summary, String> {
        become_ready(Ready::restore(snapshot, &mut Imports).map_err(|e| e.to_string())?)
    }
}

impl engine_export::Guest for Payload {
    fn open(request: Vec<u8>) -> Result<engine_export::Opened, String> {
        let request = Request::from_bytes(&Zeroizing::new(request)).map_err(|_| NO_REQUEST)?;
        if request.receipt {
            return Err(NO_RECEIPT.into());
        }
        with_engine(|engine| {
            let (session, mut prompt_ids) = engine
                .open(request, &mut Imports)
                .map_err(|e| e.to_string())?;
            Ok(engine_export::Opened {
                session,
                prompt_ids: core::mem::take(&mut *prompt_ids),
            })
        })
    }

    fn close(session: u32) {
        let _ = with_engine(|engine| {
            engine.close(session);
            Ok(())
        });
    }

    fn step() -> Result<Vec<engine_export::Event>, engine_export::StepError> {
        let stepped = with_engine(|engine| Ok(engine.step(&mut Imports)));
        let stepped = stepped.map_err(engine_export::StepError::Internal)?;
        let events = stepped.map_err(engine_export::StepError::from)?;
        let event = |(session, event): (u32, Event)| engine_export::Event {
            session,
            event: core::mem::take(&mut *event.to_bytes()),
        };
        Ok(events.into_iter().map(event).collect())
    }

    fn count() -> engine_export::Counters {
        let now = |engine: &Engine| (engine.counters(), engine.active(), engine.kv_bytes());
        let counted = with_any_engine(|engine| Ok(now(engine)));
        let (counters, active, kv_bytes) = counted.unwrap_or_default();
        engine_export::Counters {
            projections: counters.projections,
            rows: counters.rows,
            checks: counters.checks,
            sessions: counters.sessions,
            refused: counters.refused,
            prompt_tokens: counters.prompt_tokens,
            tokens: counters.tokens,
            prompt_rows: counters.prompt_rows,
            cached_tokens: counters.cached_tokens,
            restarts: counters.restarts,
            active: active as u32,
            kv_bytes,
        }
    }

    fn pace(prompt_rows: u32) {
        let _ = with_engine(|engine| {
            engine.pace(prompt_rows);
            Ok(())
        });
        let _ = with_channel(|channel| channel.pace(prompt_rows));
    }

    fn arm_glimpse(elements: u32) {
        let _ = with_engine(|engine| {
            engine.glimpse().arm(elements);
            Ok(())
        });
    }

    fn take_glimpse() -> Option<engine_export::Glimpse> {
        let glimpse = with_engine(|engine| Ok(engine.glimpse().take())).ok()??;
        Some(engine_export::Glimpse {
            projection: glimpse.projection,
            plain: glimpse.plain,
            hosts: glimpse.hosts,
        })
    }
}

impl channel_export::Guest for Payload {
    fn begin(payload_sha256: Vec<u8>) -> Result<channel_export::Keys, String> {
        let payload_sha256 =
            <[u8; 32]>::try_from(payload_sha256).map_err(|_| "payload-sha256 has 32 bytes")?;
        STATE.with_borrow_mut(|state| match core::mem::replace(state, State::Fresh) {
            State::Ready { ready, serving } => {
                let (serving, begun) = begin_channel(serving, payload_sha256);
                *state = State::Ready { ready, serving };
                begun
            }
            other => {
                *state = other;
                Err(NOT_READY.into())
            }
        })
    }

    fn open(handshake: Vec<u8>) -> Result<channel_export::Opened, channel_export::Refusal> {
        let opened = with_channel(|channel| channel.open(&handshake, &mut Imports));
        let (connection, answer) = opened.ok_or(channel_export::Refusal::NotBegun)??;
        Ok(channel_export::Opened {
            connection,
            answer: answer.to_vec(),
        })
    }

    fn deliver(connection: u64, frame: Vec<u8>) -> Result<bool, channel_export::Refusal> {
        let taken = with_channel(|channel| channel.deliver(connection, &frame, &mut Imports));
        Ok(taken.ok_or(channel_export::Refusal::NotBegun)??)
    }

    fn step() -> Result<(), channel_export::StepError> {
        match with_channel(|channel| channel.step(&mut Imports)) {
            Some(stepped) => stepped.map_err(channel_export::StepError::from),
            None => Err(channel_export::StepError::Internal(NO_CHANNEL.into())),
        }
    }

    fn give_up() {
        let _ = with_channel(Channel::give_up);
    }

    fn progress() -> channel_export::Work {
        let progress = with_channel(|channel| (channel.is_busy(), channel.pending()));
        let (busy, pending) = progress.unwrap_or_default();
        channel_export::Work { busy, pending }
    }

    fn poll(connection: u64, most: u32) -> Result<Vec<Vec<u8>>, channel_export::Refusal> {
        let sealed = with_channel(|channel| channel.poll(connection, most as usize));
        Ok(sealed.ok_or(channel_export::Refusal::NotBegun)??)
    }

    fn close(connection: u64) {
        let _ = with_channel(|channel| channel.close(connection));
    }
}

/// The engine goes to the channel for good, unless the host has sessions with it.
fn begin_channel(
    serving: Serving,
    payload_sha256: [u8; 32],
) -> (Serving, Result<channel_export::Keys, String>) {
    match serving {
        Serving::Host(engine) if !engine.is_idle() => {
            let active = "sessions of the host are active: close them first";
            (Serving::Host(engine), Err(active.into()))
        }
        Serving::Host(engine) => {
            let channel = Box::new(Channel::new(*engine, payload_sha256, &mut Imports));
            begin_channel(Serving::Clients(channel), payload_sha256)
        }
        Serving::Clients(channel) => {
            let keys = match *channel.payload_sha256() == payload_sha256 {
                true => Ok(channel_export::Keys {
                    channel: channel.public_key().to_vec(),
                    receipt: channel.receipt_public_key().to_vec(),
                }),
                false => Err(ANOTHER_PAYLOAD.into()),
            };
            (Serving::Clients(channel), keys)
        }
    }
}

impl minting::Guest for Payload {
    fn begin(parameters: String, features: u32, outputs: u32) -> Result<(), String> {
        let batch = Batch::begin(&parameters, features, outputs, &mut Imports);
        BATCH.set(Some(batch.map_err(|e| e.to_string())?));
        Ok(())
    }

    fn masks(polynomials: Vec<i32>) -> Result<Vec<u32>, String> {
        with_batch(|batch| batch.masks(&polynomials))
    }

    fn corrections(polynomials: Vec<i32>) -> Result<Vec<u32>, String> {
        with_batch(|batch| batch.corrections(&polynomials))
    }
}

/// The secret goes with the last of its batch, or with the first mistake.
fn with_batch(
    mint: impl FnOnce(&mut Batch) -> Result<Vec<u32>, mask::MintingError>,
) -> Result<Vec<u32>, String> {
    BATCH.with_borrow_mut(|slot| {
        let batch = slot.as_mut().ok_or("no batch was begun")?;
        let minted = mint(batch);
        if minted.is_err() || batch.is_done() {
            *slot = None;
        }
        minted.map_err(|e| e.to_string())
    })
}

impl rehearsal_export::Guest for Payload {
    fn begin(
        masking: setup_export::Masking,
        remo_rank: f32,
        matrix: rehearsal_export::Matrix,
        rows: u32,
    ) -> Result<(), String> {
        let format = WeightFormat::of_planes(matrix.planes);
        let shape = MatrixShape {
            k: matrix.k as usize,
            n: matrix.n as usize,
            format: format.ok_or_else(|| format!("weights of {} planes", matrix.planes))?,
        };
        let rehearsal = Rehearsal::new(masking.into(), remo_rank, shape, rows, &mut Imports)?;
        REHEARSAL.set(Some(rehearsal));
        Ok(())
    }

    fn run(part: rehearsal_export::Part) -> Result<(), String> {
        let part = match part {
            rehearsal_export::Part::Mask => Part::Mask,
            rehearsal_export::Part::Check => Part::Check,
            rehearsal_export::Part::Unmask => Part::Unmask,
        };
        REHEARSAL.with_borrow(|rehearsal| match rehearsal {
            Some(rehearsal) => rehearsal.run(part, &mut Imports),
            None => Err(NOT_BEGUN.into()),
        })
    }

    fn begin_attention(
        heads: rehearsal_export::Heads,
        context: u32,
        rows: u32,
    ) -> Result<(), String> {
        let heads = Heads {
            num_attention_heads: heads.query as usize,
            num_key_value_heads: heads.key_value as usize,
            head_dim: heads.dimension as usize,
        };
        ATTENTION.set(Some(Attention::new(heads, context, rows)?));
        Ok(())
    }

    fn attend() -> Result<u64, String> {
        ATTENTION.with_borrow(|attention| match attention {
            Some(attention) => Ok(attention.attend()),
            None => Err(NOT_BEGUN.into()),
        })
    }
}

impl From<setup_export::Masking> for Scheme {
    fn from(masking: setup_export::Masking) -> Self {
        match masking {
            setup_export::Masking::Shares => Scheme::Shares,
            setup_export::Masking::ModuleLwe => Scheme::ModuleLwe,
            setup_export::Masking::Remo => Scheme::Remo,
            setup_export::Masking::DangerousPlaintext => Scheme::DangerousPlaintext,
        }
    }
}

impl From<StepError> for engine_export::StepError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Integrity => Self::Integrity,
            StepError::Host(message) => Self::Host(message),
            StepError::Internal(message) => Self::Internal(message),
        }
    }
}

impl From<Refusal> for channel_export::Refusal {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy => Self::Busy,
            Refusal::Handshake => Self::Handshake,
            Refusal::Frame => Self::Frame,
            Refusal::Unknown => Self::Unknown,
        }
    }
}
