//! How long what may take.

use std::time::Duration;

/// How long what may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Until a GPU host accepts a connection, new attempts included. During set-up a host may be silent for
    /// three times as long.
    pub connect: Duration,
    /// From sending rows to the last host's product, reconnection included; also until a host begins to send
    /// its weights.
    pub project: Duration,
    /// How long sessions wait for a GPU host that is away; their step is repeated once it is back. Zero: they end at
    /// once.
    pub patience: Duration,
    /// Computation of the payload in one step, waiting for hosts excluded. Set-up calls may compute
    /// [`SETUP_FACTOR`] times as long.
    pub step_cpu: Duration,
}

impl Deadlines {
    /// Longest silence of a host in the middle of what it sends, and before what it has at hand.
    ///
    /// Whoever accepts a connection within one [`Deadlines::connect`] and is no such host is known soon.
    pub(crate) fn silence(&self) -> Duration {
        self.connect.saturating_mul(3)
    }
}

/// See [`Deadlines::step_cpu`].
pub const SETUP_FACTOR: u32 = 20;

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            project: Duration::from_secs(120),
            patience: Duration::from_secs(60),
            step_cpu: Duration::from_secs(60),
        }
    }
}
