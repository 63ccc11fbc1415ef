//! Command line of `talaria-gpu`.

mod loading;
mod serve;

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use talaria_host_gpu::backend::{self, BackendKind, wgpu};
use talaria_host_gpu::scheduler::Limits;
use talaria_host_gpu::server::Address;
use talaria_host_gpu::weights;
use talaria_wire::manifest::WeightFormat;
use tracing_subscriber::EnvFilter;

/// GPU host of Talaria: holds weights, multiplies masked rows, learns nothing of a prompt.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load a checkpoint and serve it.
    Serve(Serve),
    /// Print the digest that clients of a checkpoint pin.
    Digest(Checkpoint),
    /// List the devices this build can use, and which of them it would.
    ///
    /// WGPU_ADAPTER_NAME=PART in the environment chooses the first GPU whose name contains PART, in any
    /// case.
    Devices,
}

#[derive(Debug, Args)]
struct Checkpoint {
    /// Directory of a Hugging Face checkpoint (config.json, *.safetensors, tokenizer.json), or a GGUF file.
    #[arg(long, value_name = "PATH")]
    model: PathBuf,
    /// Integers that stand for weights.
    #[arg(long, value_enum, default_value_t = Weights::Int16)]
    weights: Weights,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    checkpoint: Checkpoint,
    /// HOST:PORT, or unix:/path for a Unix socket.
    #[arg(long, value_name = "ADDR")]
    listen: Address,
    /// Encrypt links to the secret key in this file, which is made if it is not there: over TCP, only callers who
    /// were given the address that is printed, noise://KEY@HOST:PORT, are served.
    #[arg(long, value_name = "FILE")]
    link_key: Option<PathBuf>,
    /// What multiplies; see also `talaria-gpu devices`.
    #[arg(long, value_enum, default_value_t = BackendKind::Auto)]
    backend: BackendKind,
    /// Threads of the CPU backend [default: one for each core].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
    /// Write everything the host sees into a new file in this directory.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Requests accepted and not yet answered; more are refused.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_queue, value_parser = at_least_one)]
    max_queue: usize,
}

/// Weight formats by their names on command lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Weights {
    /// Exact for bf16 checkpoints but for the smallest weights of a column.
    Int16,
    /// Half the memory and work, slightly other logits.
    Int8,
}

impl From<Weights> for WeightFormat {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::Int16 => Self::Int16,
            Weights::Int8 => Self::Int8,
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

/// Log level by RUST_LOG, `info` by default.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// Does what was asked.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Serve(serve) => serve::run(serve),
        Command::Digest(checkpoint) => digest(&checkpoint),
        Command::Devices => devices(),
    }
}

fn digest(checkpoint: &Checkpoint) -> anyhow::Result<()> {
    let format = checkpoint.weights.into();
    let digest = loading::with_progress("hashing", |progress| {
        weights::digest_dir(&checkpoint.model, format, progress)
    })
    .with_context(|| format!("cannot digest {}", checkpoint.model.display()))?;
    println!("{digest}");
    Ok(())
}

fn devices() -> anyhow::Result<()> {
    println!(
        "cpu   {}",
        backend::open(BackendKind::Cpu, None)?.describe()
    );
    let devices = wgpu::devices();
    let chosen = wgpu::choose(&devices, wgpu::wanted_adapter().as_deref());
    for (nth, device) in devices.iter().enumerate() {
        let mark = match &chosen {
            Ok(chosen) if *chosen == nth => "  <- --backend wgpu",
            _ => "",
        };
        println!("wgpu  {device}{mark}");
    }
    if devices.is_empty() {
        println!("wgpu  no adapter found: install the GPU vendor's Vulkan driver");
        return Ok(());
    }
    chosen?;
    Ok(())
}
