//! Ctrl-C and SIGTERM, and the exit codes after them.

use std::io;
use std::process::ExitCode;

/// What a shell reports for a program that SIGINT ended.
const INTERRUPTED: u8 = 130;
/// What a shell reports for a program that SIGTERM ended.
const TERMINATED: u8 = 143;

/// Why a program is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Ctrl-C (SIGINT).
    Interrupted,
    /// SIGTERM, by which an init system ends a service.
    Terminated,
}

impl Stop {
    /// Of a program that did not finish what it was to do.
    pub fn unfinished(self) -> ExitCode {
        self.unfinished_code().into()
    }

    fn unfinished_code(self) -> u8 {
        match self {
            Self::Interrupted => INTERRUPTED,
            Self::Terminated => TERMINATED,
        }
    }

    /// Of a service that has answered what it had accepted: to its init system that is success.
    pub fn served(self) -> ExitCode {
        match self {
            Self::Interrupted => INTERRUPTED.into(),
            Self::Terminated => ExitCode::SUCCESS,
        }
    }

    /// Ends the process now, whatever is under way.
    pub fn exit(self) -> ! {
        std::process::exit(self.unfinished_code().into())
    }
}

/// Both signals; from when this exists, they end the process no more by themselves.
pub struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Begins to watch. Inside a tokio runtime.
    ///
    /// # Errors
    /// The system refuses.
    #[cfg(unix)]
    pub fn watch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next one.
    #[cfg(unix)]
    pub async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupted,
            _ = self.terminate.recv() => Stop::Terminated,
        }
    }

    /// Ends the process at the next one.
    pub async fn exit_at_next(mut self) {
        self.next().await.exit()
    }

    /// Begins to watch.
    ///
    /// # Errors
    /// None.
    #[cfg(not(unix))]
    pub fn watch() -> io::Result<Self> {
        Ok(Self {})
    }

    /// The next Ctrl-C.
    #[cfg(not(unix))]
    pub async fn next(&mut self) -> Stop {
        if tokio::signal::ctrl_c().await.is_err() {
            // It then ends the process as it always does.
            std::future::pending::<()>().await;
        }
        Stop::Interrupted
    }
}
