//! Command line of `talaria-gpu`.

mod loading;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use talaria_host_gpu::backend::{self, BackendKind, wgpu};
use talaria_host_gpu::flags::{BackendArgs, CheckpointArgs, ThreadsArgs};
use talaria_host_gpu::scheduler::Limits;
use talaria_host_gpu::server::{Address, Bounds};
use talaria_host_gpu::weights;
use talaria_program::Signals;
use talaria_program::values::count;
use tokio::task::spawn_blocking;

/// GPU host of Talaria: holds weights, multiplies masked rows, learns nothing of a prompt.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load a checkpoint and serve it.
    Serve(Serve),
    /// Print the digest that clients of a checkpoint pin.
    Digest(CheckpointArgs),
    /// List the devices this build can use, and which of them it would.
    ///
    /// WGPU_ADAPTER_NAME=PART in the environment chooses the first GPU whose name contains PART, in any
    /// case.
    Devices,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// HOST:PORT, or unix:/path for a Unix socket.
    #[arg(long, value_name = "ADDR")]
    listen: Address,
    /// Encrypt links to the secret key in this file, which is made if it is not there: over TCP, only callers who
    /// were given the address that is printed, noise://KEY@HOST:PORT, are served.
    #[arg(long, value_name = "FILE")]
    link_key: Option<PathBuf>,
    /// Serve only callers whose public key is in this file: one a line, 64 hexadecimal digits, as `talaria-cvm serve
    /// --caller-key` prints it; # begins a comment.
    #[arg(long, value_name = "FILE", requires = "link_key")]
    callers: Option<PathBuf>,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    threads: ThreadsArgs,
    /// Write everything the host sees into a new file in this directory.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Requests accepted and not yet answered; more are refused.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_queue, value_parser = count(1..=u64::MAX))]
    max_queue: usize,
    /// Connections at the same time; more are closed. One address may have half of them: a CVM needs one for each engine,
    /// and one more at its start. For each, callers can make the host hold 41 MiB.
    #[arg(long, value_name = "N", default_value_t = Bounds::default().connections, value_parser = count(1..=65536))]
    max_connections: usize,
}

/// Does what was asked.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Serve(serve) => talaria_program::block_on(serve::run(serve))?,
        Command::Digest(checkpoint) => unless_stopped(move || digest(&checkpoint)),
        Command::Devices => unless_stopped(devices),
    }
}

/// Work that no signal interrupts by itself.
fn unless_stopped(
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    talaria_program::block_on(async {
        let mut signals = Signals::watch()?;
        tokio::select! {
            done = spawn_blocking(work) => done?.map(|()| ExitCode::SUCCESS),
            stop = signals.next() => Ok(stop.unfinished()),
        }
    })?
}

fn digest(checkpoint: &CheckpointArgs) -> anyhow::Result<()> {
    let digest = loading::with_progress("hashing", |progress| {
        weights::digest_dir(&checkpoint.model, checkpoint.weights, progress)
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
