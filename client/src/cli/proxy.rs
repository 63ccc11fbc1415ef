//! Placeholder.
use std::io::Write;
use clap::Args;
use super::service::CommandError;
/// Arguments of `talaria proxy`.
#[derive(Debug, Args)]
pub struct ProxyArgs {}
/// Runs.
pub async fn run(_: &ProxyArgs, _: &mut impl Write) -> Result<(), CommandError> { Ok(()) }
