//! `talaria proxy`: the OpenAI API on this machine.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use clap::Args;
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
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
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

/// Serves until interrupted; all it says goes to `err`.
pub async fn run(args: &ProxyArgs, err: &mut impl Write) -> Result<(), CommandError> {
    let open = |open: Open| CommandError::Other(open.to_string());
    Guard::new(args.listen, args.api_key.clone()).map_err(open)?;
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener
        .map_err(|e| CommandError::Other(format!("cannot listen on {}: {e}", args.listen)))?;
    let address = listener.local_addr()?;
    // With the port that the system chose, if it was to choose one.
    let guard = Guard::new(address, args.api_key.clone()).map_err(open)?;

    let trust = args.service.trust.load(err)?;
    let url = args.service.url.clone();
    let upstream = Upstream::new(url, trust, UnixTime::now, args.connections);
    // Now rather than with the first request: whoever started this should see what is wrong.
    let session = upstream.session().await?;
    let digest = session.verified().claims().model_digest;
    let named = || format!("talaria-{}", hex::encode(&digest[..6]));
    let model = args.model_name.clone().unwrap_or_else(named);
    writeln!(err, "Verified. {model} at http://{address}/v1")?;
    let proxy = Proxy::new(upstream, model, guard);
    tokio::select! {
        served = axum::serve(listener, proxy.router()) => Ok(served?),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}
