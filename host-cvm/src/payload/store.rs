//! All that a guest may touch, in one struct, and the limits it runs under.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::InstanceCounters;
use crate::link::Links;
use crate::masks::Pools;

/// How many epochs (10 ms each) pass at most before a shutdown is seen.
const EPOCHS_BETWEEN_LOOKS: u64 = 5;

/// All that a payload of 32-bit memory can address.
pub(crate) const MAX_MEMORY_BYTES: u64 = 4 << 30;

/// State of one instance. Its imports ([`super::imports`]) reach nothing else.
pub(crate) struct GuestState {
    pub links: Links,
    pub pools: Arc<Pools>,
    /// How long an engine waits for a mask.
    pub patience: Duration,
    pub counters: Arc<InstanceCounters>,
    pub clock: CallClock,
    pub memory: MemoryLimit,
    /// True once the CVM shuts down.
    pub stop: watch::Receiver<bool>,
}

impl GuestState {
    /// A store around this state that enforces the limits.
    pub(crate) fn into_store(self, engine: &wasmtime::Engine) -> Store<GuestState> {
        let lifted_bytes = self.memory.limit;
        let mut store = Store::new(engine, self);
        store.limiter(|state| &mut state.memory);
        // What one call may pass out of the instance; wasmtime's default is less than a chunk of rows.
        store.set_hostcall_fuel(lifted_bytes);
        store.epoch_deadline_callback(|mut context| Ok(context.data_mut().look_at_clock()));
        store
    }

    fn look_at_clock(&mut self) -> UpdateDeadline {
        if *self.stop.borrow() || self.clock.is_over() {
            UpdateDeadline::Interrupt
        } else {
            UpdateDeadline::Continue(EPOCHS_BETWEEN_LOOKS)
        }
    }
}

/// Time of one call into the payload; waiting for GPU hosts does not count.
#[derive(Debug)]
pub(crate) struct CallClock {
    started: Instant,
    waited: Duration,
    limit: Duration,
    over: bool,
}

impl CallClock {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            waited: Duration::ZERO,
            limit: Duration::MAX,
            over: false,
        }
    }

    /// A call begins that may compute for `limit`.
    pub(crate) fn start(&mut self, limit: Duration) {
        *self = Self {
            limit,
            ..Self::new()
        };
    }

    /// An import took this long.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Time computed since the call began.
    pub(crate) fn computed(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.waited)
    }

    /// Whether the call was interrupted for computing too long.
    pub(crate) fn was_over(&self) -> bool {
        self.over
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    fn is_over(&mut self) -> bool {
        self.over |= self.computed() > self.limit;
        self.over
    }
}

/// Bound of the linear memory. A refused growth is remembered: the payload then traps without a
/// reason of its own.
#[derive(Debug)]
pub(crate) struct MemoryLimit {
    limit: usize,
    refused: bool,
}

impl MemoryLimit {
    /// At most `bytes`, and at most what 32-bit memories have.
    pub(crate) fn new(bytes: u64) -> Self {
        let bytes = bytes.min(MAX_MEMORY_BYTES);
        Self {
            limit: usize::try_from(bytes).unwrap_or(usize::MAX),
            refused: false,
        }
    }

    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }

    pub(crate) fn mebibytes(&self) -> u64 {
        self.limit as u64 >> 20
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = desired <= self.limit;
        self.refused |= !granted;
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Tables hold function pointers: a payload has some thousands.
        Ok(desired <= 1 << 20)
    }

    fn memories(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_does_not_count() {
        let mut clock = CallClock::new();
        clock.start(Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(40));
        clock.wait(Duration::from_millis(40));
        assert!(!clock.is_over(), "{:?}", clock.computed());
        std::thread::sleep(Duration::from_millis(40));
        assert!(clock.is_over());
        clock.start(Duration::from_secs(1));
        assert!(!clock.was_over());
    }

    #[test]
    fn memory_stops_at_its_limit() {
        let mut memory = MemoryLimit::new(1 << 20);
        assert!(memory.memory_growing(0, 1 << 20, None).unwrap());
        assert!(!memory.was_refused());
        assert!(
            !memory
                .memory_growing(1 << 20, (1 << 20) + 65536, None)
                .unwrap()
        );
        assert!(memory.was_refused());
        assert_eq!(MemoryLimit::new(u64::MAX).mebibytes(), 4096);
    }
}
