//! The command line of `talaria-cvm`: flags over a configuration file over defaults.

pub mod masking;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use talaria_program::{Signals, Stop, USAGE, values};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::api::{Server, while_setting_up};
use crate::attestation::{Attester, Endorsements, EvidenceKind};
use crate::cvm::{Cvm, CvmConfig, SetupPhase, SetupProgress};
use crate::payload::Payload;
use masking::{CallerArgs, EngineArgs, MaskingArgs};
pub use settings::Settings;

/// The confidential VM of Talaria: runs the payload, sends masked rows to GPU hosts, and serves clients whose
/// prompts only the payload can read.
#[derive(Debug, Parser)]
#[command(name = "talaria-cvm", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set up with the GPU hosts, then serve clients until SIGINT or SIGTERM.
    Serve(Box<ServeArgs>),
}

/// Flags of `serve`. What is not given comes from the configuration file, else from a default.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// A running talaria-gpu server, as it prints its address; give it once for each host that the masking needs.
    #[arg(long, value_name = "URL", value_parser = masking::gpu)]
    pub gpu: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub caller: CallerArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub masking: MaskingArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub engines: EngineArgs,
    /// Payload component to run [default: the one built with this program].
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
    /// Address for clients [default: 127.0.0.1:8600].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address for the operator's monitoring: GET /metrics, for Prometheus [default: none].
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<SocketAddr>,
    /// Seconds that replies wait for a GPU host that is away, and go on when it is back [default: 60].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=86400))]
    pub host_patience: Option<u32>,
    /// auto, configfs-tsm, sev-guest or development [default: auto].
    #[arg(long, value_name = "KIND")]
    pub evidence: Option<EvidenceKind>,
    /// TOML file with any of these and more; docs/serving.md lists its keys.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Refuse any model but the one with this digest (64 hexadecimal digits, see `talaria-gpu digest`).
    #[arg(long, value_name = "HEX", value_parser = values::bytes)]
    pub expect_digest: Option<[u8; 32]>,
    /// Where R_pub of module-lwe is kept; the payload checks every row before use [default: nowhere].
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

/// Runs until stopped.
///
/// # Errors
/// What the user has to change, but for wrong settings: these are told here, and have an exit code of their own.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Command::Serve(args) = cli.command;
    let settings = match Settings::read(&args) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(USAGE.into());
        }
    };
    talaria_program::block_on(serve(settings)).context("the system gives no threads")?
}

async fn serve(settings: Settings) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::watch()?;
    let ready = tokio::select! {
        ready = set_up(settings) => ready?,
        stop = signals.next() => return Ok(stop.unfinished()),
    };
    let (stopped, stop) = oneshot::channel();
    let shutdown = async move {
        let stop = signals.next().await;
        eprintln!("stopping: replies under way may end; once more to stop at once");
        let _ = stopped.send(stop);
        tokio::spawn(signals.exit_at_next());
    };
    // The last line of set-up: whoever waits for it can connect.
    eprintln!("serving clients on http://{}", ready.listener.local_addr()?);
    let Ready {
        server,
        listener,
        metrics,
    } = ready;
    server.serve(listener, metrics, shutdown).await;
    Ok(stop.await.map_or(ExitCode::SUCCESS, Stop::served))
}

/// All that is needed to serve.
struct Ready {
    server: Server,
    listener: TcpListener,
    metrics: Option<TcpListener>,
}

async fn set_up(settings: Settings) -> anyhow::Result<Ready> {
    let endorsements = Endorsements::read(&settings.certificates, settings.collateral.as_deref())?;
    // First: without evidence nobody could use what takes long to set up.
    let attester = Attester::open(settings.evidence, endorsements)?;
    if attester.is_development() {
        eprintln!("WARNING: development evidence proves nothing: only for trying things out");
    }
    let listener = bind(settings.listen, "--listen").await?.into_std()?;
    let metrics = match settings.metrics_listen {
        Some(address) => {
            let listener = bind(address, "--metrics-listen").await?;
            eprintln!("metrics on http://{}/metrics", listener.local_addr()?);
            Some(listener)
        }
        None => None,
    };
    let server = while_setting_up(&listener, start(settings, attester)).await??;
    let listener = TcpListener::from_std(listener)?;
    Ok(Ready {
        server,
        listener,
        metrics,
    })
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}: choose another address with {flag}"))
}

async fn start(settings: Settings, attester: Attester) -> anyhow::Result<Server> {
    let limits = settings.limits;
    let config = CvmConfig {
        caller_key: settings.caller.open()?,
        ..settings.config.clone()
    };
    let settings = Arc::new(settings);
    let to_load = settings.clone();
    let payload = spawn_blocking(move || load_payload(&to_load)).await??;
    eprintln!("payload {}", hex::encode(payload.sha256()));
    let mut shown = Shown::default();
    let started = Cvm::start(&payload, config, |progress| shown.show(progress)).await?;
    started.begin_channel().await?;
    let summary = started.summary();
    eprintln!("model {}", hex::encode(summary.model_digest));
    eprintln!("masking {}", summary.masking);
    eprintln!("context {} tokens", summary.context);
    if !summary.leaks.is_empty() {
        eprintln!("WARNING: {}", summary.leaks);
    }
    let configuration = settings.to_json(summary.context);
    Ok(Server::new(started, attester, configuration, limits))
}

/// Compiled in this process each time: evidence speaks of the `.wasm`, so what runs must come of it, and not of a disk
/// that the cloud supplies.
fn load_payload(settings: &Settings) -> anyhow::Result<Payload> {
    let Some(file) = &settings.payload else {
        return Ok(Payload::load(crate::embedded_payload(), None)?);
    };
    let bytes = std::fs::read(file);
    let bytes = bytes.with_context(|| format!("cannot read the payload {}", file.display()))?;
    let loaded = Payload::load(&bytes, None);
    loaded.with_context(|| format!("{} is no payload of Talaria", file.display()))
}

/// Tenths of each phase, one line each: logs are not a terminal.
#[derive(Default)]
struct Shown(Option<(SetupPhase, u64)>);

impl Shown {
    fn show(&mut self, progress: SetupProgress) {
        let tenth = progress.done_bytes * 10 / progress.total_bytes.max(1);
        let now = Some((progress.phase, tenth));
        if self.0 != now {
            self.0 = now;
            let phase = match progress.phase {
                SetupPhase::Weights => "weights measured",
                SetupPhase::PublicRows => "public rows checked",
            };
            eprintln!("{phase}: {} %", tenth * 10);
        }
    }
}
