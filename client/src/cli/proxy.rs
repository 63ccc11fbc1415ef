//! `talaria proxy`: the OpenAI API on this machine.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Args;
use talaria_program::Signals;
use tokio::net::TcpListener;

use super::service::{CommandError, ServiceArgs};
use crate::proxy::{Guard, Open, Proxy, Upstream};
use crate::time::UnixTime;

/// Arguments of `talaria proxy`.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub service: ServiceArgs,
    /// Address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// What callers must give as their API key. Without it, only this machine is served, and no web page.
    #[arg(long, value_name = "KEY", env = "TALARIA_PROXY_API_KEY", hide_env_values = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub api_key: Option<String>,
    /// Connections to the service, taken in turn: as many as it has engines use all of them.
    #[arg(long, value_name = "N", default_value = "1")]
    pub connections: NonZeroUsize,
    /// Name of the model in /v1/models; from its digest if not given.
    #[arg(long, value_name = "NAME")]
    pub model_name: Option<String>,
}

/// Serves until it is stopped; all it says goes to `err`.
pub async fn run(args: &ProxyArgs, err: &mut impl Write) -> Result<ExitCode, CommandError> {
    let mut signals = Signals::watch()?;
    let (listener, proxy) = tokio::select! {
        ready = prepare(args, err) => ready?,
        stop = signals.next() => return Ok(stop.unfinished()),
    };
    tokio::select! {
        served = axum::serve(listener, proxy.router()) => served.map(|()| ExitCode::SUCCESS).map_err(Into::into),
        stop = signals.next() => Ok(stop.served()),
    }
}

async fn prepare(
    args: &ProxyArgs,
    err: &mut impl Write,
) -> Result<(TcpListener, Proxy), CommandError> {
    let open = |open: Open| CommandError::Usage(open.to_string());
    Guard::new(args.listen, args.api_key.clone()).map_err(open)?;
    let trust = args.service.trust.load(err)?;
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener
        .map_err(|e| CommandError::Other(format!("cannot listen on {}: {e}", args.listen)))?;
    let address = listener.local_addr()?;
    // With the port that the system chose, if it was to choose one.
    let guard = Guard::new(address, args.api_key.clone()).map_err(open)?;

    let url = args.service.url.clone();
    let upstream = Upstream::new(url, trust, UnixTime::now, args.connections);
    // Now rather than with the first request: whoever started this should see what is wrong.
    let session = upstream.session().await?;
    let digest = session.verified().claims().model_digest;
    let named = || format!("talaria-{}", hex::encode(&digest[..6]));
    let model = args.model_name.clone().unwrap_or_else(named);
    writeln!(err, "Verified. {model} at http://{address}/v1")?;
    Ok((listener, Proxy::new(upstream, model, guard)))
}
