//! `talaria-gpu`: serves a checkpoint's weight products to confidential VMs, on masked rows.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    talaria_program::log_to_stderr("info");
    cli::run(arguments).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
