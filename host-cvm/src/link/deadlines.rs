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
    /// Computation of the payload in one step, waiting for hosts excluded. Set-up calls may compute
    /// [`SETUP_FACTOR`] times as long.
    pub step_cpu: Duration,
}

/// See [`Deadlines::step_cpu`].
pub const SETUP_FACTOR: u32 = 20;

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            project: Duration::from_secs(120),
            step_cpu: Duration::from_secs(60),
        }
    }
}
