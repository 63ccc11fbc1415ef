//! `talaria-cvm`: runs the payload and serves clients.

use std::process::ExitCode;

use clap::Parser;
use talaria_host_cvm::cli::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    talaria_program::log_to_stderr("info");
    cli::run(cli).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
