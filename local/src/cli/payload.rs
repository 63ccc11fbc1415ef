//! Flags of `payload`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What `payload` does.
#[derive(Debug, Args)]
pub struct PayloadArgs {
    /// Its subcommand.
    #[command(subcommand)]
    pub command: PayloadCommand,
}

/// Subcommands of `payload`.
#[derive(Debug, Subcommand)]
pub enum PayloadCommand {
    /// Build the payload from its sources and print its hash.
    Build {
        /// Directory of Talaria's sources.
        #[arg(long, value_name = "DIR", default_value = ".")]
        source: PathBuf,
        /// Where the component goes.
        #[arg(long, value_name = "FILE", default_value = "payload.wasm")]
        out: PathBuf,
    },
    /// Rebuild the payload and compare it with payload.sha256 and with the one in this program.
    Check {
        /// Directory of Talaria's sources.
        #[arg(long, value_name = "DIR", default_value = ".")]
        source: PathBuf,
    },
    /// Print a payload's imports and exports in WIT: all of its interface to the world.
    Imports {
        /// A component (default: the one in this program).
        file: Option<PathBuf>,
    },
}
