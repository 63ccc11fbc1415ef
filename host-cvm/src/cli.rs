//! The command line of `talaria-cvm`: flags over a configuration file over defaults.

mod settings;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use tokio::net::TcpListener;

use crate::api::Server;
use crate::attestation::{Attester, Endorsements, EvidenceKind};
use crate::cvm::{Cvm, SetupPhase, SetupProgress};
use crate::payload::Payload;
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
    /// A running talaria-gpu server; give it once for each host that the masking needs.
    #[arg(long, value_name = "URL")]
    pub gpu: Vec<String>,
    /// auto (module-lwe with one GPU host, shares with two), module-lwe, shares, remo or dangerous-plaintext.
    #[arg(long, value_name = "SCHEME")]
    pub masking: Option<String>,
    /// Payload component to run [default: the one built with this program].
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
    /// Address for clients [default: 127.0.0.1:8600].
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// auto, configfs-tsm, sev-guest or development [default: auto].
    #[arg(long, value_name = "KIND")]
    pub evidence: Option<EvidenceKind>,
    /// TOML file with any of these and more; docs/serving.md lists its keys.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Refuse any model but the one with this digest (see `talaria-gpu digest`).
    #[arg(long, value_name = "HEX")]
    pub expect_digest: Option<String>,
    /// Payload instances that serve clients, one thread each [default: 1].
    #[arg(long, value_name = "N")]
    pub engines: Option<usize>,
    /// Payload instances that mint masks ahead, one thread each [default: 1].
    #[arg(long, value_name = "N")]
    pub minting: Option<usize>,
    /// Directory for compiled code and public rows; they are checked before use.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// Runs until stopped.
///
/// # Errors
/// What the user has to change.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    let Command::Serve(args) = cli.command;
    let settings = Settings::read(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the system gives no threads")?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let mut stop = Signals::new()?;
    let endorsements = Endorsements::read(&settings.certificates, settings.collateral.as_deref())?;
    // First: without evidence nobody could use what takes long to set up.
    let attester = Attester::open(settings.evidence, endorsements)?;
    if attester.is_development() {
        eprintln!("WARNING: development evidence proves nothing: only for trying things out");
    }
    let payload = load_payload(&settings)?;
    eprintln!("payload {}", hex::encode(payload.sha256()));
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.with_context(|| {
        let listen = settings.listen;
        format!("cannot listen on {listen}: choose another address with --listen")
    })?;
    let config = settings.cvm()?;
    let mut shown = Shown::default();
    let started = tokio::select! {
        started = Cvm::start(&payload, config, |progress| shown.show(progress)) => started?,
        () = stop.next() => bail!("stopped during set-up"),
    };
    started.begin_channel().await?;
    let summary = started.summary();
    eprintln!("model {}", hex::encode(summary.model_digest));
    eprintln!("masking {}", summary.masking);
    if !summary.leaks.is_empty() {
        eprintln!("WARNING: {}", summary.leaks);
    }
    let configuration = settings.to_json();
    let server = Server::new(started, attester, configuration, settings.limits);
    // The last line of set-up: whoever waits for it can connect.
    eprintln!("serving clients on http://{}", listener.local_addr()?);
    server
        .serve(listener, async move {
            stop.next().await;
            eprintln!("stopping: replies under way may end; once more to stop at once");
            tokio::spawn(async move {
                stop.next().await;
                std::process::exit(130);
            });
        })
        .await;
    Ok(())
}

fn load_payload(settings: &Settings) -> anyhow::Result<Payload> {
    let cache = settings.cache.as_deref();
    let Some(file) = &settings.payload else {
        return Ok(Payload::load(crate::embedded_payload(), cache)?);
    };
    let bytes = std::fs::read(file);
    let bytes = bytes.with_context(|| format!("cannot read the payload {}", file.display()))?;
    let loaded = Payload::load(&bytes, cache);
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

/// SIGINT and SIGTERM.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> anyhow::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Events on standard error, `RUST_LOG` chooses which.
pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
