//! Command line of `talaria`.

pub mod ask;
pub mod chat;
mod input;
pub mod pin;
pub mod proxy;
pub mod receipt;
pub mod sampling;
pub mod service;
pub mod verify;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use talaria_program::USAGE;

use service::CommandError;

/// Verify and use a confidential inference service.
#[derive(Debug, Parser)]
#[command(name = "talaria", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Verify a service, or evidence from a file, and show every step.
    Verify(verify::VerifyArgs),
    /// Ask a service that passes the policy, and print the reply as it comes.
    Ask(ask::AskArgs),
    /// Talk with a service that passes the policy.
    Chat(chat::ChatArgs),
    /// Serve the OpenAI API on this machine, answered by a service that passes the policy.
    Proxy(proxy::ProxyArgs),
    /// Write a policy file from what a service shows now, trusting this first look.
    Pin(pin::PinArgs),
    /// Receipts of answers.
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
}

impl Cli {
    /// Runs the command. What was asked for goes to `out`, all else to `err`.
    pub async fn run(&self, out: &mut impl Write, err: &mut impl Write) -> ExitCode {
        let done = match &self.command {
            Command::Verify(args) => return verify::run(args, out, err).await,
            Command::Ask(args) => ask::run(args, out, err).await.map(|()| ExitCode::SUCCESS),
            Command::Chat(args) => {
                let mut input = std::io::stdin().lock();
                let talked = chat::run(args, &mut input, out, err).await;
                talked.map(|()| ExitCode::SUCCESS)
            }
            Command::Proxy(args) => proxy::run(args, err).await,
            Command::Pin(args) => pin::run(args, out, err).await.map(|()| ExitCode::SUCCESS),
            Command::Receipt(receipt::ReceiptCommand::Verify(args)) => receipt::run(args, out, err),
        };
        done.unwrap_or_else(|error| fail(&error, err))
    }
}

fn fail(error: &CommandError, err: &mut impl Write) -> ExitCode {
    // Nobody is left to be told if this fails.
    let _ = writeln!(err, "error: {error}");
    match error {
        CommandError::Usage(_) => USAGE.into(),
        _ => ExitCode::FAILURE,
    }
}
