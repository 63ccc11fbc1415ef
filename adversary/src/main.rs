//! `talaria-adversary`: the cloud's view, measured.

use std::process::ExitCode;

use clap::Parser;
use talaria_adversary::cli::{Cli, Command};
use talaria_adversary::{AdversaryError, commands, report};
use talaria_local::LocalError;
use talaria_program::USAGE;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A report lies to CVMs on purpose, and their complaints are what it counts.
    let default = match &cli.command {
        Command::Report(_) => "warn,talaria_host_cvm=off",
        _ => "warn",
    };
    talaria_program::log_to_stderr(default);
    let ended = talaria_program::run(async {
        let done = match cli.command {
            Command::Capture(args) => commands::capture(args).await,
            // They compute for minutes without a pause in which a signal would be seen.
            Command::Attack(args) => beside(move || commands::attack(args)).await,
            Command::Report(args) => beside(move || report::report(args)).await,
        };
        done.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
    });
    ended.unwrap_or_else(|error| fail(&LocalError::System(error).into()))
}

/// Runs on a thread of its own.
async fn beside<W>(work: impl FnOnce() -> W + Send + 'static) -> Result<(), AdversaryError>
where
    W: Future<Output = Result<(), AdversaryError>>,
{
    let done = spawn_blocking(|| Handle::current().block_on(work()));
    done.await
        .unwrap_or(Err(LocalError::Defect("an attack").into()))
}

fn fail(error: &AdversaryError) -> ExitCode {
    eprintln!("error: {error}");
    match error {
        AdversaryError::Usage(_) | AdversaryError::System(LocalError::Usage(_)) => USAGE.into(),
        _ => ExitCode::FAILURE,
    }
}
