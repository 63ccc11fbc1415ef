//! Command line of `talaria`.

pub mod verify;

use clap::{Parser, Subcommand};

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
    /// Verify evidence from a file, offline, and show every step.
    Verify(verify::VerifyArgs),
}
