//! `talaria`: the user's side of Talaria.

use std::process::ExitCode;

use clap::Parser;
use talaria_client::cli::{Cli, Command};

fn main() -> ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    match Cli::parse().command {
        Command::Verify(args) => talaria_client::cli::verify::run(&args, &mut out, &mut err),
    }
}
