//! `talaria-local`: all parties of Talaria in one process.

use std::process::ExitCode;

use clap::Parser;
use talaria_local::LocalError;
use talaria_local::cli::{Cli, Command};
use tracing_subscriber::EnvFilter;

/// What a shell reports for a program ended by Ctrl-C (SIGINT).
const INTERRUPTED: u8 = 130;
/// What a shell reports for a program ended by SIGTERM.
const TERMINATED: u8 = 143;
/// The command line is wrong; nothing was started.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    if let Some(status) = talaria_payload_build::run_as_rustc() {
        std::process::exit(status);
    }
    let cli = Cli::parse();
    start_tracing();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&LocalError::System(error)),
    };
    let code = runtime.block_on(async {
        tokio::select! {
            result = dispatch(cli.command) => result.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS),
            () = interrupted() => ExitCode::from(INTERRUPTED),
            () = terminated() => ExitCode::from(TERMINATED),
        }
    });
    // Loading may still be running on a thread that cannot be interrupted.
    runtime.shutdown_background();
    code
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
        // As clap does for what it finds itself.
        LocalError::Usage(_) => ExitCode::from(USAGE),
        _ => ExitCode::FAILURE,
    }
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Ctrl-C then ends the process as it always does.
        std::future::pending::<()>().await;
    }
    eprintln!();
}

/// As after Ctrl-C, what was made for this run is removed.
async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            terminate.recv().await;
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Warnings on standard error; `RUST_LOG` asks for more.
fn start_tracing() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
