//! What is counted: sizes and times, nothing of any content.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Totals over all instances since set-up ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Projection calls of the payload.
    pub projections: u64,
    /// Rows in them.
    pub rows: u64,
    /// Products that passed the integrity check.
    pub checks: u64,
    /// Bytes sent to GPU hosts as gRPC messages, framing of gRPC included, of HTTP/2 and below not.
    pub bytes_up: u64,
    /// Bytes received likewise.
    pub bytes_down: u64,
    /// Batched forward passes.
    pub steps: u64,
    /// Nanoseconds that engines computed in the payload.
    pub guest_ns: u64,
    /// Nanoseconds that engines waited for GPU hosts.
    pub wait_ns: u64,
    /// Microseconds that GPU hosts computed by their own account, the slowest host of each call.
    pub gpu_us: u64,
    /// Draws from pools of minted masks.
    pub draws: u64,
    /// Draws that found the pool empty and waited.
    pub empty_draws: u64,
    /// Nanoseconds that they waited.
    pub empty_ns: u64,
}

/// Counters of one instance, written by its thread.
#[derive(Default)]
pub(crate) struct InstanceCounters {
    pub bytes_up: AtomicU64,
    pub bytes_down: AtomicU64,
    pub steps: AtomicU64,
    pub guest_ns: AtomicU64,
    pub wait_ns: AtomicU64,
    pub gpu_us: AtomicU64,
    draws: AtomicU64,
    empty_draws: AtomicU64,
    empty_ns: AtomicU64,
    payload: Mutex<PayloadCounts>,
}

/// What the payload counts itself, with what an instance replaced after a trap had counted.
#[derive(Clone, Copy, Default)]
struct PayloadCounts {
    retired: [u64; 3],
    current: [u64; 3],
}

impl InstanceCounters {
    pub(crate) fn count_traffic(&self, up: u64, down: u64) {
        self.bytes_up.fetch_add(up, Relaxed);
        self.bytes_down.fetch_add(down, Relaxed);
    }

    pub(crate) fn count_wait(&self, wait: Duration, gpu_us: u64) {
        self.wait_ns.fetch_add(nanos(wait), Relaxed);
        self.gpu_us.fetch_add(gpu_us, Relaxed);
    }

    /// A draw of masks; what is below a millisecond is no wait.
    pub(crate) fn count_draw(&self, waited: Duration) {
        self.draws.fetch_add(1, Relaxed);
        if waited >= Duration::from_millis(1) {
            self.empty_draws.fetch_add(1, Relaxed);
            self.empty_ns.fetch_add(nanos(waited), Relaxed);
        }
    }

    pub(crate) fn count_step(&self, guest: Duration) {
        self.steps.fetch_add(1, Relaxed);
        self.guest_ns.fetch_add(nanos(guest), Relaxed);
    }

    /// Takes the payload's own figures: projections, rows, checks. Whether they changed.
    pub(crate) fn set_payload(&self, current: [u64; 3]) -> bool {
        std::mem::replace(&mut self.payload().current, current) != current
    }

    /// The instance is replaced by a fresh one, which counts from zero.
    pub(crate) fn retire(&self) {
        let mut payload = self.payload();
        let ended = std::mem::take(&mut payload.current);
        for (retired, count) in payload.retired.iter_mut().zip(ended) {
            *retired += count;
        }
    }

    pub(crate) fn read(&self) -> Counters {
        let payload = *self.payload();
        let [projections, rows, checks] =
            std::array::from_fn(|i| payload.retired[i] + payload.current[i]);
        Counters {
            projections,
            rows,
            checks,
            bytes_up: self.bytes_up.load(Relaxed),
            bytes_down: self.bytes_down.load(Relaxed),
            steps: self.steps.load(Relaxed),
            guest_ns: self.guest_ns.load(Relaxed),
            wait_ns: self.wait_ns.load(Relaxed),
            gpu_us: self.gpu_us.load(Relaxed),
            draws: self.draws.load(Relaxed),
            empty_draws: self.empty_draws.load(Relaxed),
            empty_ns: self.empty_ns.load(Relaxed),
        }
    }

    fn payload(&self) -> std::sync::MutexGuard<'_, PayloadCounts> {
        self.payload
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Counters {
    /// Combines field by field.
    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            projections: f(self.projections, other.projections),
            rows: f(self.rows, other.rows),
            checks: f(self.checks, other.checks),
            bytes_up: f(self.bytes_up, other.bytes_up),
            bytes_down: f(self.bytes_down, other.bytes_down),
            steps: f(self.steps, other.steps),
            guest_ns: f(self.guest_ns, other.guest_ns),
            wait_ns: f(self.wait_ns, other.wait_ns),
            gpu_us: f(self.gpu_us, other.gpu_us),
            draws: f(self.draws, other.draws),
            empty_draws: f(self.empty_draws, other.empty_draws),
            empty_ns: f(self.empty_ns, other.empty_ns),
        }
    }

    /// What was counted between `earlier` and `self`.
    pub fn since(self, earlier: Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }
}

impl std::iter::Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(counters: I) -> Self {
        counters.fold(Self::default(), |a, b| a.zip(b, u64::wrapping_add))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
