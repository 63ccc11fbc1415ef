//! Placeholder.
use std::io::Write;
use clap::Args;
use super::service::CommandError;
/// Arguments of `talaria pin`.
#[derive(Debug, Args)]
pub struct PinArgs {}
/// Runs.
pub async fn run(_: &PinArgs, _: &mut impl Write, _: &mut impl Write) -> Result<(), CommandError> { Ok(()) }
