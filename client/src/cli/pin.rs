//! Placeholder.
use super::service::CommandError;
use clap::Args;
use std::io::Write;
/// Arguments of `talaria pin`.
#[derive(Debug, Args)]
pub struct PinArgs {}
/// Runs.
pub async fn run(_: &PinArgs, _: &mut impl Write, _: &mut impl Write) -> Result<(), CommandError> {
    Ok(())
}
