//! `talaria-local`: all parties of Talaria in one process.

use std::process::ExitCode;

use clap::Parser;
use talaria_local::LocalError;
use talaria_local::cli::{Cli, Command};
use talaria_program::USAGE;

fn main() -> ExitCode {
    if let Some(status) = talaria_payload_build::run_as_rustc() {
        std::process::exit(status);
    }
    let cli = Cli::parse();
    talaria_program::log_to_stderr("warn");
    // As after Ctrl-C, what was made for this run is removed when it is terminated.
    let ended = talaria_program::run(async {
        let done = dispatch(cli.command).await;
        done.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
    });
    ended.unwrap_or_else(|error| fail(&LocalError::System(error)))
}

async fn dispatch(command: Command) -> Result<(), LocalError> {
    match command {
        Command::Demo(args) => talaria_local::demo::demo(args).await,
        Command::Run(args) => talaria_local::run::run(*args).await,
        Command::Replay(args) => talaria_local::replay::replay(*args).await,
        Command::Masking(args) => talaria_local::masking::masking(args).await,
        Command::Payload(args) => talaria_local::payload::payload(args).await,
        Command::Bench(args) => talaria_local::bench::bench(args).await,
    }
}

fn fail(error: &LocalError) -> ExitCode {
    if !error.is_broken_pipe() {
        eprintln!("error: {error}");
    }
    match error {
        LocalError::Usage(_) => USAGE.into(),
        _ => ExitCode::FAILURE,
    }
}
