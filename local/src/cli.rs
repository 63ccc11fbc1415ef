//! The command line: flags, their ranges and what they mean together.

mod bench;
mod cache;
mod payload;
mod request;

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};
use talaria_client::cli::sampling::DEFAULT_NEW_TOKENS;
use talaria_host_cvm::cli::masking::{self, CallerArgs, EngineArgs, MaskingArgs};
use talaria_host_gpu::flags::{BackendArgs, CheckpointArgs, ThreadsArgs, weights};
use talaria_program::values::{bytes, not_empty};
use talaria_wire::manifest::WeightFormat;

pub use bench::{BenchArgs, Synthetic};
pub use cache::CacheArgs;
pub use payload::{PayloadArgs, PayloadCommand};
pub use request::RequestArgs;

/// All parties of Talaria in one process, talking over loopback sockets: the CVM with the payload, and
/// the GPU hosts that see masked rows only.
#[derive(Debug, Parser)]
#[command(name = "talaria-local", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer a question with the bundled demo model, then show what each party saw.
    Demo(DemoArgs),
    /// Answer a prompt with any checkpoint of a supported family.
    Run(Box<RunArgs>),
    /// Compute an answer that `talaria ask --save` kept again, and compare it token by token.
    Replay(Box<ReplayArgs>),
    /// Compare what each masking takes and hides with a checkpoint, before running it.
    Masking(EstimateArgs),
    /// Audit the payload: rebuild it, compare hashes, list all that it can reach.
    Payload(PayloadArgs),
    /// Measure what masking costs against plaintext on the same backend.
    Bench(BenchArgs),
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// A message to the model; the bundled one has only ever read the Rust documentation.
    #[arg(value_parser = not_empty)]
    pub prompt: Option<String>,
    /// Another model: a Hugging Face directory or a GGUF file.
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// Most tokens of the reply.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_NEW_TOKENS, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub backend: BackendArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub masking: MaskingArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub cache: CacheArgs,
}

/// The CVM and its GPU hosts, in this process or elsewhere.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).multiple(true).args(["model", "gpu"]))]
pub struct PartiesArgs {
    /// Hugging Face directory or GGUF file of a Qwen2, Qwen3, Llama or Mistral checkpoint. With --gpu: the model
    /// that the servers must have.
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// A running talaria-gpu server instead of a host in this process, as it prints its address; give it once for
    /// each host that the masking needs.
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
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub backend: BackendArgs,
    /// Integers that stand for weights [default: int16; those of running servers where there are any].
    #[arg(long, value_name = "FORMAT", value_parser = weights())]
    pub weights: Option<WeightFormat>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub threads: ThreadsArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub cache: CacheArgs,
}

/// Flags of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// File that `talaria ask --save` wrote.
    #[arg(long, value_name = "FILE")]
    pub answer: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub parties: PartiesArgs,
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub parties: PartiesArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub asked: RequestArgs,
    /// Refuse any model but the one with this digest (64 hexadecimal digits, see `talaria-gpu digest`).
    #[arg(long, value_name = "HEX", value_parser = bytes)]
    pub expect_digest: Option<Digest>,
    /// Print one JSON object instead of streaming the reply.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `masking`.
#[derive(Debug, Args)]
pub struct EstimateArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub checkpoint: CheckpointArgs,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub cache: CacheArgs,
}

/// A model digest.
pub type Digest = [u8; 32];

#[cfg(test)]
mod tests;
