//! `talaria`: the user's side of Talaria.

use std::io::{stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use talaria_client::cli::{Cli, Command};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.command {
        // It has signals of its own: to be stopped is how it ends.
        Command::Proxy(_) => {
            talaria_program::log_to_stderr("info");
            talaria_program::block_on(run(cli))
        }
        // Beside, not on, the task that waits for signals: it may wait for a line of standard input.
        _ => talaria_program::run(async {
            let task = spawn_blocking(|| Handle::current().block_on(run(cli)));
            task.await.unwrap_or(ExitCode::FAILURE)
        }),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: the system gives no threads or signals: {error}");
        ExitCode::FAILURE
    })
}

async fn run(cli: Cli) -> ExitCode {
    cli.run(&mut stdout(), &mut stderr()).await
}
