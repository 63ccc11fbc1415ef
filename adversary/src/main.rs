//! `talaria-adversary`: the cloud's view, measured.

use std::process::ExitCode;

use clap::Parser;
use talaria_adversary::cli::{Cli, Command};
use talaria_adversary::{AdversaryError, commands, report};
use talaria_local::LocalError;
use tracing_subscriber::EnvFilter;

/// The command line is wrong; nothing was started.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A report lies to CVMs on purpose, and their complaints are what it counts.
    let default = match &cli.command {
        Command::Report(_) => "warn,talaria_host_cvm=off",
        _ => "warn",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&LocalError::System(error).into()),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Capture(args) => commands::capture(args).await,
            Command::Attack(args) => commands::attack(args).await,
            Command::Report(args) => report::report(args).await,
        }
    });
    runtime.shutdown_background();
    result.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

fn fail(error: &AdversaryError) -> ExitCode {
    eprintln!("error: {error}");
    match error {
        AdversaryError::Usage(_) => ExitCode::from(USAGE),
        _ => ExitCode::FAILURE,
    }
}
