//! One instance of the payload: its exports as methods, with limits, and errors instead of traps.

mod sealed;

use std::sync::Arc;
use std::time::Duration;

use talaria_wire::channel::message::{Event, Request};
use talaria_wire::shape::MatrixShape;
use wasmtime::{Store, Trap};
use zeroize::Zeroizing;

use super::bindings::exports::talaria::payload::{engine, rehearsal, setup};
use super::store::{CallClock, GuestState, MemoryLimit};
use super::{InstanceCounters, Payload, bindings};
use crate::cvm::CvmError;
use crate::link::{LinkPlan, Links, SETUP_FACTOR};
use crate::masks::{Lanes, Pools, corrections};
pub use sealed::{Keys, Refused};

/// What every instance of one CVM is made with.
#[derive(Clone)]
pub(crate) struct Blueprint {
    pub payload: Payload,
    pub links: LinkPlan,
    pub pools: Arc<Pools>,
    pub memory_limit: u64,
}

/// One instance, used by one thread.
pub(crate) struct Instance {
    store: Store<GuestState>,
    exports: bindings::Payload,
    step_cpu: Duration,
    trapped: bool,
}

impl Instance {
    pub(crate) fn new(
        blueprint: &Blueprint,
        counters: Arc<InstanceCounters>,
    ) -> Result<Self, CvmError> {
        let links = Links::new(blueprint.links.clone(), &counters);
        let state = GuestState {
            links: links.map_err(|e| CvmError::Internal(format!("no runtime: {e}")))?,
            pools: blueprint.pools.clone(),
            patience: blueprint.links.deadlines.project,
            counters,
            clock: CallClock::new(),
            memory: MemoryLimit::new(blueprint.memory_limit),
            stop: blueprint.links.stop.clone(),
        };
        let pre = blueprint.payload.pre();
        let mut store = state.into_store(pre.engine());
        store.set_epoch_deadline(1);
        let exports = pre.instantiate(&mut store);
        let exports = exports.map_err(|e| explain(&store, "instantiation", &e))?;
        Ok(Self {
            store,
            exports,
            step_cpu: blueprint.links.deadlines.step_cpu,
            trapped: false,
        })
    }

    /// Whether a call trapped: nothing can be called any more.
    pub(crate) fn trapped(&self) -> bool {
        self.trapped
    }

    /// Time that the last call computed.
    pub(crate) fn computed(&self) -> Duration {
        self.store.data().clock.computed()
    }

    /// A host lied: sends nothing any more, from any instance.
    pub(crate) fn quarantine(&self) {
        self.store.data().links.quarantine();
    }

    /// Waits while the sockets are looked after.
    pub(crate) fn idle<F: Future>(&self, future: F) -> F::Output {
        self.store.data().links.idle(future)
    }

    pub(crate) fn begin(
        &mut self,
        manifest: &[u8],
        options: &setup::Options,
    ) -> Result<(), CvmError> {
        self.call_setup("setup.begin", |exports, store| {
            exports
                .talaria_payload_setup()
                .call_begin(store, manifest, options)
        })
    }

    pub(crate) fn ingest(&mut self, planes: &[u8]) -> Result<(), CvmError> {
        self.call_setup("setup.ingest", |exports, store| {
            exports.talaria_payload_setup().call_ingest(store, planes)
        })
    }

    pub(crate) fn finish(&mut self) -> Result<setup::Summary, CvmError> {
        self.call_setup("setup.finish", |exports, store| {
            exports.talaria_payload_setup().call_finish(store)
        })
    }

    pub(crate) fn snapshot(&mut self) -> Result<Zeroizing<Vec<u8>>, CvmError> {
        let snapshot = self.call_setup("setup.snapshot", |exports, store| {
            exports.talaria_payload_setup().call_snapshot(store)
        });
        snapshot.map(Zeroizing::new)
    }

    pub(crate) fn restore(&mut self, snapshot: &[u8]) -> Result<setup::Summary, CvmError> {
        self.call_setup("setup.restore", |exports, store| {
            exports
                .talaria_payload_setup()
                .call_restore(store, snapshot)
        })
    }

    pub(crate) fn open(&mut self, request: &Request) -> Result<engine::Opened, CvmError> {
        let checked = request.check();
        checked.map_err(|e| CvmError::Request(e.to_string()))?;
        let bytes = request.to_bytes();
        let opened = self.call("engine.open", 1, |exports, store| {
            exports.talaria_payload_engine().call_open(store, &bytes)
        });
        opened?.map_err(CvmError::Request)
    }

    pub(crate) fn close(&mut self, session: u32) -> Result<(), CvmError> {
        self.call("engine.close", 1, |exports, store| {
            exports.talaria_payload_engine().call_close(store, session)
        })
    }

    /// One step; its events, each with its session.
    pub(crate) fn step(&mut self) -> Result<Vec<(u32, Event)>, CvmError> {
        let stepped = self.call("engine.step", 1, |exports, store| {
            exports.talaria_payload_engine().call_step(store)
        });
        let events = stepped??.into_iter();
        let read = |said: engine::Event| {
            let event = Event::from_bytes(&Zeroizing::new(said.event));
            let event = event.map_err(|_| CvmError::Internal("an event does not parse".into()))?;
            Ok((said.session, event))
        };
        events.map(read).collect()
    }

    /// What the payload counted.
    pub(crate) fn count(&mut self) -> Result<engine::Counters, CvmError> {
        self.call("engine.count", 1, |exports, store| {
            exports.talaria_payload_engine().call_count(store)
        })
    }

    /// Steps have at most so many rows of prompts beside replies under way.
    pub(crate) fn pace(&mut self, prompt_rows: u32) -> Result<(), CvmError> {
        self.call("engine.pace", 1, |exports, store| {
            let engine = exports.talaria_payload_engine();
            engine.call_pace(store, prompt_rows)
        })
    }

    pub(crate) fn begin_rehearsal(
        &mut self,
        masking: setup::Masking,
        remo_rank: f32,
        matrix: rehearsal::Matrix,
        rows: u32,
    ) -> Result<(), CvmError> {
        let begun = self.call("rehearsal.begin", SETUP_FACTOR, |exports, store| {
            let rehearsal = exports.talaria_payload_rehearsal();
            rehearsal.call_begin(store, masking, remo_rank, matrix, rows)
        });
        begun?.map_err(CvmError::Request)
    }

    /// How long the part took.
    pub(crate) fn rehearse(&mut self, part: rehearsal::Part) -> Result<Duration, CvmError> {
        let rehearsed = self.call("rehearsal.run", 1, |exports, store| {
            exports.talaria_payload_rehearsal().call_run(store, part)
        });
        rehearsed?.map_err(CvmError::Request)?;
        Ok(self.computed())
    }

    pub(crate) fn begin_attention(
        &mut self,
        heads: rehearsal::Heads,
        context: u32,
        rows: u32,
    ) -> Result<(), CvmError> {
        let begun = self.call(
            "rehearsal.begin-attention",
            SETUP_FACTOR,
            |exports, store| {
                let rehearsal = exports.talaria_payload_rehearsal();
                rehearsal.call_begin_attention(store, heads, context, rows)
            },
        );
        begun?.map_err(CvmError::Request)
    }

    /// How long it took, and the digest of the result.
    pub(crate) fn attend(&mut self) -> Result<(Duration, u64), CvmError> {
        let attended = self.call("rehearsal.attend", 1, |exports, store| {
            exports.talaria_payload_rehearsal().call_attend(store)
        });
        let digest = attended?.map_err(CvmError::Request)?;
        Ok((self.computed(), digest))
    }

    pub(crate) fn arm_glimpse(&mut self, elements: u32) -> Result<(), CvmError> {
        self.call("engine.arm-glimpse", 1, |exports, store| {
            exports
                .talaria_payload_engine()
                .call_arm_glimpse(store, elements)
        })
    }

    pub(crate) fn take_glimpse(&mut self) -> Result<Option<engine::Glimpse>, CvmError> {
        self.call("engine.take-glimpse", 1, |exports, store| {
            exports.talaria_payload_engine().call_take_glimpse(store)
        })
    }

    pub(crate) fn fetch_public_rows(
        &mut self,
        projection: usize,
        first: usize,
        rows: usize,
    ) -> Result<Vec<u32>, CvmError> {
        self.call_setup("setup.fetch-public-rows", |exports, store| {
            exports.talaria_payload_setup().call_fetch_public_rows(
                store,
                projection as u32,
                first as u32,
                rows as u32,
            )
        })
    }

    pub(crate) fn check_public_rows(
        &mut self,
        projection: usize,
        first: usize,
        kept: &[u32],
    ) -> Result<bool, CvmError> {
        self.call_setup("setup.check-public-rows", |exports, store| {
            let setup = exports.talaria_payload_setup();
            setup.call_check_public_rows(store, projection as u32, first as u32, kept)
        })
    }

    pub(crate) fn begin_batch(
        &mut self,
        parameters: &str,
        shape: MatrixShape,
    ) -> Result<(), CvmError> {
        let begun = self.call("minting.begin", 1, |exports, store| {
            exports.talaria_payload_minting().call_begin(
                store,
                parameters,
                shape.k as u32,
                corrections(shape) as u32,
            )
        });
        begun?.map_err(CvmError::Internal)
    }

    pub(crate) fn mint_masks(&mut self, block: &[i32]) -> Result<Lanes, CvmError> {
        let minted = self.call("minting.masks", 1, |exports, store| {
            exports.talaria_payload_minting().call_masks(store, block)
        });
        minted?.map(Lanes::new).map_err(CvmError::Internal)
    }

    pub(crate) fn mint_corrections(&mut self, block: &[i32]) -> Result<Lanes, CvmError> {
        let minted = self.call("minting.corrections", 1, |exports, store| {
            exports
                .talaria_payload_minting()
                .call_corrections(store, block)
        });
        minted?.map(Lanes::new).map_err(CvmError::Internal)
    }

    fn call_setup<R>(
        &mut self,
        name: &'static str,
        export: impl FnOnce(&bindings::Payload, &mut Store<GuestState>) -> Called<Result<R, String>>,
    ) -> Result<R, CvmError> {
        self.call(name, SETUP_FACTOR, export)?
            .map_err(CvmError::Setup)
    }

    /// One call with `factor` times the computation of a step.
    fn call<R>(
        &mut self,
        name: &'static str,
        factor: u32,
        export: impl FnOnce(&bindings::Payload, &mut Store<GuestState>) -> Called<R>,
    ) -> Result<R, CvmError> {
        let limit = self.step_cpu.saturating_mul(factor);
        self.store.data_mut().clock.start(limit);
        self.store.set_epoch_deadline(1);
        let result = export(&self.exports, &mut self.store);
        self.trapped |= result.is_err();
        result.map_err(|error| explain(&self.store, name, &error))
    }
}

impl From<engine::StepError> for CvmError {
    fn from(error: engine::StepError) -> Self {
        match error {
            engine::StepError::Integrity => Self::Integrity,
            engine::StepError::Host(message) => Self::Host(message),
            engine::StepError::Internal(message) => Self::Internal(message),
        }
    }
}

type Called<R> = wasmtime::Result<R>;

/// Which limit a trap was.
fn explain(store: &Store<GuestState>, call: &'static str, error: &wasmtime::Error) -> CvmError {
    let state = store.data();
    if *state.stop.borrow() {
        return CvmError::Stopped;
    }
    if state.clock.was_over() {
        let seconds = state.clock.limit().as_secs_f32();
        return CvmError::Deadline { call, seconds };
    }
    if state.memory.was_refused() {
        let limit_mib = state.memory.mebibytes();
        return CvmError::Memory { call, limit_mib };
    }
    let trap = error.downcast_ref::<Trap>().map(Trap::to_string);
    let reason = trap.unwrap_or_else(|| format!("{error:#}"));
    CvmError::Trap { call, reason }
}

#[cfg(test)]
mod tests;
