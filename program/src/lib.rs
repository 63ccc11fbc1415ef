//! What the programs of Talaria have in common: exit codes, how they end, what they log, and how values of flags are
//! read. The README's table of exit codes is made here.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

pub mod signals;
pub mod values;

pub use signals::{Signals, Stop};

/// Exit code: the command line, or a configuration file that it names, is wrong; nothing was started. As clap has it.
pub const USAGE: u8 = 2;

/// Does `work`, which sees to signals itself.
///
/// # Errors
/// The system gives no threads.
pub fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

/// Does `work`, unless Ctrl-C or SIGTERM comes first. What `work` left on other threads is not waited for.
///
/// # Errors
/// The system gives no threads or no signals.
pub fn run(work: impl Future<Output = ExitCode>) -> io::Result<ExitCode> {
    block_on(async {
        let mut signals = Signals::watch()?;
        tokio::select! {
            code = work => Ok(code),
            stop = signals.next() => Ok(stop.unfinished()),
        }
    })?
}

/// Events on standard error: those that `RUST_LOG` asks for, else those of `default`.
pub fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
