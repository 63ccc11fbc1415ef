//! `talaria-cvm`: runs the payload and serves clients.

use std::process::ExitCode;

use clap::Parser;
use talaria_host_cvm::cli::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::log_to_stderr();
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
