//! Flags of `bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use talaria_host_cvm::Masking;
use talaria_host_cvm::cli::masking::{EngineArgs, SchemeArgs, masking};
use talaria_host_gpu::flags::{BackendArgs, weights};
use talaria_host_gpu::weights::synthetic::Preset;
use talaria_program::values::count;
use talaria_wire::manifest::WeightFormat;

use super::CacheArgs;

/// Flags of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Hugging Face directory or GGUF file; the bundled demo model if neither this nor --synthetic is given.
    #[arg(long, value_name = "PATH", conflicts_with = "synthetic")]
    pub model: Option<PathBuf>,
    /// A random checkpoint made in a temporary directory.
    #[arg(long, value_name = "SIZE")]
    pub synthetic: Option<Synthetic>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub backend: BackendArgs,
    /// Integers that stand for weights.
    #[arg(long, value_name = "FORMAT", default_value = "int16", value_parser = weights())]
    pub weights: WeightFormat,
    /// CPU threads of each host, as if each were a machine of its own [default: half of the cores].
    #[arg(long, value_name = "N", value_parser = count(1..=1024))]
    pub threads_per_host: Option<usize>,
    /// Maskings to compare with dangerous-plaintext.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "shares,module-lwe,remo", value_parser = masking())]
    pub masking: Vec<Masking>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub schemes: SchemeArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub engines: EngineArgs,
    /// Numbers of concurrent sessions.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,4,16", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub sessions: Vec<u32>,
    /// Prompt tokens of each session.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
    /// Tokens of each reply, whatever it says.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..))]
    pub new_tokens: u32,
    /// Runs of every load; the one with the median decode rate counts.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeats: u32,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub cache: CacheArgs,
}

/// Sizes of random checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Synthetic {
    /// 10 million parameters.
    Small,
    /// 297 million parameters.
    Medium,
    /// 596 million parameters, the shapes of Qwen3-0.6B.
    Large,
}

impl Synthetic {
    /// Its dimensions.
    pub const fn preset(self) -> Preset {
        match self {
            Self::Small => Preset::Small,
            Self::Medium => Preset::Medium,
            Self::Large => Preset::Large,
        }
    }
}
