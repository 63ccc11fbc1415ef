//! What is counted: sizes and times, nothing of any content.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::bindings::exports::talaria::payload::engine;
use crate::engine::Progress;

/// Totals over all instances since set-up ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Projection calls of the payload.
    pub projections: u64,
    /// Rows in them.
    pub rows: u64,
    /// Products that passed the integrity check.
    pub checks: u64,
    /// Requests that became sessions.
    pub sessions: u64,
    /// Requests that the payload refused.
    pub refused: u64,
    /// Tokens of prompts of sessions.
    pub prompt_tokens: u64,
    /// Tokens of replies.
    pub tokens: u64,
    /// Rows of prompts that were computed.
    pub prompt_rows: u64,
    /// Tokens of prompts that were not, as they began an earlier one.
    pub cached_tokens: u64,
    /// Sessions that gave their keys and values back for others, to be computed again.
    pub restarts: u64,
    /// Sent to the first two GPU hosts, and received; calls that they were asked.
    pub hosts: [Traffic; MOST_HOSTS],
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

/// Most GPU hosts of a masking.
pub const MOST_HOSTS: usize = 2;

/// Between a CVM and one GPU host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests sent.
    pub trips: u64,
    /// Bytes sent, as [`Counters::bytes_up`].
    pub bytes_up: u64,
    /// Bytes received.
    pub bytes_down: u64,
}

/// What the sessions of an instance take now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Sessions.
    pub sessions: u64,
    /// Bytes of keys and values, those that are kept of replies that are over included.
    pub kv_bytes: u64,
}

/// Counters of one instance, written by its thread.
#[derive(Default)]
pub(crate) struct InstanceCounters {
    hosts: [HostCounters; MOST_HOSTS],
    pub steps: AtomicU64,
    pub guest_ns: AtomicU64,
    pub wait_ns: AtomicU64,
    pub gpu_us: AtomicU64,
    draws: AtomicU64,
    empty_draws: AtomicU64,
    empty_ns: AtomicU64,
    payload: Mutex<PayloadCounts>,
}

#[derive(Default)]
struct HostCounters {
    trips: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
}

/// What the payload counts itself, with what an instance replaced after a trap had counted.
#[derive(Clone, Copy, Default)]
struct PayloadCounts {
    retired: [u64; TOTALS],
    current: [u64; TOTALS],
    occupancy: Occupancy,
}

/// Totals of [`engine::Counters`].
const TOTALS: usize = 10;

impl InstanceCounters {
    /// A request to a host.
    pub(crate) fn count_sent(&self, host: usize, bytes: u64) {
        if let Some(host) = self.hosts.get(host) {
            host.trips.fetch_add(1, Relaxed);
            host.bytes_up.fetch_add(bytes, Relaxed);
        }
    }

    /// An answer of a host.
    pub(crate) fn count_received(&self, host: usize, bytes: u64) {
        if let Some(host) = self.hosts.get(host) {
            host.bytes_down.fetch_add(bytes, Relaxed);
        }
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

    /// Takes the payload's own figures; what they say of the time since.
    pub(crate) fn set_payload(&self, counted: &engine::Counters) -> Progress {
        let mut payload = self.payload();
        payload.occupancy = Occupancy {
            sessions: counted.active.into(),
            kv_bytes: counted.kv_bytes,
        };
        let current = [
            counted.projections,
            counted.rows,
            counted.checks,
            counted.sessions,
            counted.refused,
            counted.prompt_tokens,
            counted.tokens,
            counted.prompt_rows,
            counted.cached_tokens,
            counted.restarts,
        ];
        let before = std::mem::replace(&mut payload.current, current);
        let since = |index: usize| current[index].saturating_sub(before[index]);
        Progress {
            any: before[..3] != current[..3],
            tokens: since(6),
            prompt_rows: since(7),
        }
    }

    /// What sessions take now.
    pub(crate) fn occupancy(&self) -> Occupancy {
        self.payload().occupancy
    }

    /// The instance is replaced by a fresh one, which counts from zero.
    pub(crate) fn retire(&self) {
        let mut payload = self.payload();
        payload.occupancy.sessions = 0;
        payload.occupancy.kv_bytes = 0;
        let ended = std::mem::take(&mut payload.current);
        for (retired, count) in payload.retired.iter_mut().zip(ended) {
            *retired += count;
        }
    }

    pub(crate) fn read(&self) -> Counters {
        let payload = *self.payload();
        let [
            projections,
            rows,
            checks,
            sessions,
            refused,
            prompt_tokens,
            tokens,
            prompt_rows,
            cached_tokens,
            restarts,
        ] = std::array::from_fn(|i| payload.retired[i] + payload.current[i]);
        let hosts = self.hosts.each_ref().map(|host| Traffic {
            trips: host.trips.load(Relaxed),
            bytes_up: host.bytes_up.load(Relaxed),
            bytes_down: host.bytes_down.load(Relaxed),
        });
        Counters {
            projections,
            rows,
            checks,
            sessions,
            refused,
            prompt_tokens,
            tokens,
            prompt_rows,
            cached_tokens,
            restarts,
            hosts,
            bytes_up: hosts.iter().map(|host| host.bytes_up).sum(),
            bytes_down: hosts.iter().map(|host| host.bytes_down).sum(),
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
            sessions: f(self.sessions, other.sessions),
            refused: f(self.refused, other.refused),
            prompt_tokens: f(self.prompt_tokens, other.prompt_tokens),
            tokens: f(self.tokens, other.tokens),
            prompt_rows: f(self.prompt_rows, other.prompt_rows),
            cached_tokens: f(self.cached_tokens, other.cached_tokens),
            restarts: f(self.restarts, other.restarts),
            hosts: std::array::from_fn(|i| Traffic {
                trips: f(self.hosts[i].trips, other.hosts[i].trips),
                bytes_up: f(self.hosts[i].bytes_up, other.hosts[i].bytes_up),
                bytes_down: f(self.hosts[i].bytes_down, other.hosts[i].bytes_down),
            }),
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
