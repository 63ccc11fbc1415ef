//! `talaria`: the user's side of Talaria.

use std::io::{stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use talaria_client::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    Cli::parse().run(&mut stdout(), &mut stderr()).await
}
