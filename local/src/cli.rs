//! The command line: flags, their ranges and what they mean together.

mod request;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use talaria_host_cvm::{CvmConfig, Masking, PARAMETERS, Parameters, Sampling};
use talaria_host_gpu::backend::BackendKind;
use talaria_host_gpu::weights::synthetic::Preset;
use talaria_wire::manifest::{Generation, WeightFormat};

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
    /// Answer a question, with the bundled demo model by default, then show what each party saw.
    Demo(DemoArgs),
    /// Answer a prompt with any checkpoint of a supported family.
    Run(Box<RunArgs>),
    /// Compute an answer that `talaria ask --save` kept again, and compare it token by token.
    Replay(Box<ReplayArgs>),
    /// Compare what each masking takes and hides with a checkpoint, before running it.
    Masking(MaskingArgs),
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
    /// Longest reply, in tokens.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,
    /// What the GPU hosts multiply on.
    #[arg(long, value_name = "KIND", default_value = "cpu")]
    pub backend: BackendKind,
    /// What the GPU hosts see: two hosts with shares, one with any other.
    #[arg(long, value_name = "SCHEME", default_value = "shares", value_parser = masking())]
    pub masking: Masking,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub cache: CacheArgs,
}

/// The CVM and its GPU hosts, in this process or elsewhere.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).multiple(true).args(["model", "gpu"]))]
pub struct PartiesArgs {
    /// Hugging Face directory or GGUF file of a Qwen2, Qwen3, Llama or Mistral checkpoint. With --gpu: the
    /// model that the servers must have.
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// A running talaria-gpu server instead of a host in this process; give it once for each host that
    /// the masking needs.
    #[arg(long, value_name = "URL", value_parser = not_empty)]
    pub gpu: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub protocol: ProtocolArgs,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub device: DeviceArgs,
    /// CPU threads of the in-process hosts together (default: all cores).
    #[arg(long, value_name = "N", value_parser = threads())]
    pub threads: Option<usize>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub cache: CacheArgs,
}

/// Flags of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// File that `talaria ask --save` wrote.
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
    /// Refuse any model but the one with this digest (64 hex digits, see `talaria-gpu digest`).
    #[arg(long, value_name = "HEX", value_parser = digest)]
    pub expect_digest: Option<Digest>,
    /// Print one JSON object instead of streaming the reply.
    #[arg(long)]
    pub json: bool,
}

/// Flags of `masking`.
#[derive(Debug, Args)]
pub struct MaskingArgs {
    /// Hugging Face directory or GGUF file of a Qwen2, Qwen3, Llama or Mistral checkpoint.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Integer format of the weights.
    #[arg(long, value_name = "FORMAT", default_value = "int16", value_parser = weights())]
    pub weights: WeightFormat,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub cache: CacheArgs,
}

/// What `payload` does.
#[derive(Debug, Args)]
pub struct PayloadArgs {
    /// Its subcommand.
    #[command(subcommand)]
    pub command: PayloadCommand,
}

/// Subcommands of `payload`.
#[derive(Debug, Subcommand)]
pub enum PayloadCommand {
    /// Build the payload from its sources and print its hash.
    Build {
        /// Directory of Talaria's sources.
        #[arg(long, value_name = "DIR", default_value = ".")]
        source: PathBuf,
        /// Where the component goes.
        #[arg(long, value_name = "FILE", default_value = "payload.wasm")]
        out: PathBuf,
    },
    /// Rebuild the payload and compare it with payload.sha256 and with the one in this program.
    Check {
        /// Directory of Talaria's sources.
        #[arg(long, value_name = "DIR", default_value = ".")]
        source: PathBuf,
    },
    /// Print a payload's imports and exports in WIT: all of its interface to the world.
    Imports {
        /// A component (default: the one in this program).
        file: Option<PathBuf>,
    },
}

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
    pub device: DeviceArgs,
    /// CPU threads of each host, as if each were a machine of its own (default: half of the cores).
    #[arg(long, value_name = "N", value_parser = threads())]
    pub threads_per_host: Option<usize>,
    /// Maskings to compare with dangerous-plaintext.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "shares,module-lwe,remo", value_parser = masking())]
    pub masking: Vec<Masking>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub minting: MintingArgs,
    /// Rank of remo as a fraction of a row's length.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.5, value_parser = unit_fraction)]
    pub remo_rank: f32,
    /// Numbers of concurrent sessions.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,4,16", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub sessions: Vec<u32>,
    /// Prompt tokens of each session.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
    /// Tokens generated by each session.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..))]
    pub new_tokens: u32,
    /// Runs of every load; the one with the median decode rate counts.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeats: u32,
    /// Engine instances of the payload in the CVM.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub engines: u32,
    /// Most rows of one projection call.
    #[arg(long, value_name = "N", default_value_t = CvmConfig::default().max_batch_rows, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub max_batch_rows: u32,
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

/// How rows are masked and batched.
#[derive(Debug, Args)]
pub struct ProtocolArgs {
    /// What the GPU hosts see: shares (two hosts, nothing unless they collude), module-lwe (one host,
    /// nothing if Module-LWE is hard), remo (one host, leaks part of every row) or dangerous-plaintext
    /// (everything). Default: module-lwe with one --gpu, else shares.
    #[arg(long, value_name = "SCHEME", value_parser = masking())]
    pub masking: Option<Masking>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub minting: MintingArgs,
    /// Rank of remo as a fraction of a row's length.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.5, value_parser = unit_fraction)]
    pub remo_rank: f32,
    /// Engine instances of the payload in the CVM.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub engines: u32,
    /// Most rows of one projection call; longer prompts go in chunks.
    #[arg(long, value_name = "N", default_value_t = CvmConfig::default().max_batch_rows, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub max_batch_rows: u32,
}

impl ProtocolArgs {
    /// The masking asked for, else the one that fits the servers given with --gpu.
    pub fn masking_for(&self, servers: usize) -> Masking {
        self.masking.unwrap_or(Masking::default_for(servers))
    }
}

/// How masks of module-lwe are minted.
#[derive(Clone, Debug, Args)]
pub struct MintingArgs {
    /// Parameter set of module-lwe, ring degree x rank; `talaria-local masking` compares them.
    #[arg(long, value_name = "SET", default_value = Parameters::default_set().name, value_parser = mask_parameters())]
    pub mask_parameters: &'static Parameters,
    /// Seed of module-lwe's public polynomials, chosen by whoever runs the CVM and never by a GPU host
    /// (64 hex digits; default: one that is part of this program).
    #[arg(long, value_name = "HEX", value_parser = digest)]
    pub public_seed: Option<Digest>,
    /// Payload instances that mint masks of module-lwe (default: one for each core that no engine has).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub minting: Option<u16>,
    /// Most memory for masks and public matrices of module-lwe, in GB (default: what is free).
    #[arg(long, value_name = "GB", value_parser = positive)]
    pub mask_memory: Option<f32>,
}

impl MintingArgs {
    /// Puts them where a CVM reads them.
    pub fn apply(&self, config: &mut CvmConfig) {
        config.parameters = self.mask_parameters;
        if let Some(seed) = self.public_seed {
            config.public_seed = seed;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spare = cores.saturating_sub(config.engines).max(1);
        config.minting = self.minting.map_or(spare, usize::from);
        config.mask_memory = self.mask_memory.map(|gb| (f64::from(gb) * 1e9) as u64);
    }
}

/// What in-process GPU hosts run on.
#[derive(Clone, Debug, Args)]
pub struct DeviceArgs {
    /// What GPU hosts of this process multiply on.
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub backend: BackendKind,
    /// Integer format of the weights (default: int16; that of running servers where there are any).
    #[arg(long, value_name = "FORMAT", value_parser = weights())]
    pub weights: Option<WeightFormat>,
}

/// Where the compiled payload is kept.
#[derive(Clone, Debug, Default, Args)]
pub struct CacheArgs {
    /// Where the compiled payload and R_pub of module-lwe are kept (default: talaria in the user's cache
    /// directory).
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

impl CacheArgs {
    /// The directory asked for, else `$XDG_CACHE_HOME/talaria` or `~/.cache/talaria`, else none.
    pub fn dir(&self) -> Option<PathBuf> {
        self.cache_dir.clone().or_else(|| {
            platform_cache(
                std::env::var_os("XDG_CACHE_HOME"),
                std::env::var_os("HOME"),
                std::env::var_os("LOCALAPPDATA"),
            )
        })
    }
}

fn platform_cache(
    xdg: Option<std::ffi::OsString>,
    home: Option<std::ffi::OsString>,
    local_app_data: Option<std::ffi::OsString>,
) -> Option<PathBuf> {
    // The XDG specification has relative paths ignored.
    let absolute = |path: std::ffi::OsString| Some(PathBuf::from(path)).filter(|p| p.is_absolute());
    xdg.and_then(absolute)
        .or_else(|| local_app_data.and_then(absolute))
        .or_else(|| Some(home.and_then(absolute)?.join(".cache")))
        .map(|cache| cache.join("talaria"))
}

/// How tokens are chosen; greedy unless a flag says otherwise.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// 0 takes the likeliest token (the default; 1 if --top-k, --top-p or --min-p is given).
    #[arg(long, value_name = "T", value_parser = not_negative)]
    pub temperature: Option<f32>,
    /// Sample among the K likeliest tokens; 0: off.
    #[arg(long, value_name = "K")]
    pub top_k: Option<u32>,
    /// Sample among the smallest set of tokens with this probability.
    #[arg(long, value_name = "P", value_parser = unit_fraction)]
    pub top_p: Option<f32>,
    /// Sample among tokens at least this likely relative to the likeliest.
    #[arg(long, value_name = "P", value_parser = probability)]
    pub min_p: Option<f32>,
    /// Divides the logits of tokens seen before (multiplies negative ones).
    #[arg(long, value_name = "F", value_parser = positive)]
    pub repetition_penalty: Option<f32>,
    /// Subtracted from the logits of tokens generated before.
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = finite)]
    pub presence_penalty: Option<f32>,
    /// Subtracted for each time that a token was generated before.
    #[arg(long, value_name = "F", allow_negative_numbers = true, value_parser = finite)]
    pub frequency_penalty: Option<f32>,
    /// Same seed, same tokens.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The reply ends before this text; may be given more than once.
    #[arg(long, value_name = "TEXT", value_parser = not_empty)]
    pub stop: Vec<String>,
    /// Begin with the checkpoint's generation_config.json; other sampling flags override it.
    #[arg(long)]
    pub model_sampling_defaults: bool,
}

impl SamplingArgs {
    /// Sampling for a request. `model` holds the checkpoint's defaults where they were asked for.
    pub fn resolve(&self, model: Option<&Generation>) -> Sampling {
        let mut sampling = model.map(model_defaults).unwrap_or_default();
        let narrowed =
            self.top_k.is_some_and(|k| k > 0) || self.top_p.is_some() || self.min_p.is_some();
        if narrowed && sampling.temperature == 0.0 {
            sampling.temperature = 1.0;
        }
        set(&mut sampling.temperature, self.temperature);
        set(&mut sampling.top_k, self.top_k);
        set(&mut sampling.top_p, self.top_p);
        set(&mut sampling.min_p, self.min_p);
        set(&mut sampling.repetition_penalty, self.repetition_penalty);
        set(&mut sampling.presence_penalty, self.presence_penalty);
        set(&mut sampling.frequency_penalty, self.frequency_penalty);
        sampling.seed = self.seed;
        sampling
    }
}

/// A checkpoint's own sampling: greedy unless it says `do_sample`.
fn model_defaults(generation: &Generation) -> Sampling {
    let mut sampling = Sampling::default();
    set(
        &mut sampling.repetition_penalty,
        generation.repetition_penalty,
    );
    if generation.do_sample {
        sampling.temperature = generation.temperature.unwrap_or(1.0);
        set(&mut sampling.top_k, generation.top_k);
        set(&mut sampling.top_p, generation.top_p);
        set(&mut sampling.min_p, generation.min_p);
    }
    sampling
}

fn set<T: Copy>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// A model digest.
pub type Digest = [u8; 32];

fn masking() -> impl TypedValueParser<Value = Masking> {
    PossibleValuesParser::new(Masking::ALL.map(Masking::name))
        .try_map(|name| name.parse::<Masking>())
}

fn mask_parameters() -> impl TypedValueParser<Value = &'static Parameters> {
    PossibleValuesParser::new(PARAMETERS.iter().map(|set| set.name))
        .try_map(|name| Parameters::find(&name).ok_or_else(|| format!("no parameter set {name}")))
}

fn weights() -> impl TypedValueParser<Value = WeightFormat> {
    PossibleValuesParser::new(["int16", "int8"]).map(|name| match name.as_str() {
        "int8" => WeightFormat::Int8,
        _ => WeightFormat::Int16,
    })
}

fn threads() -> impl TypedValueParser<Value = usize> {
    clap::value_parser!(u16).range(1..=1024).map(usize::from)
}

fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("it is empty: give some text".into())
    } else {
        Ok(text.to_owned())
    }
}

fn digest(text: &str) -> Result<Digest, String> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest)
        .map(|()| digest)
        .map_err(|_| {
            format!(
                "expected 64 hex digits, found {} characters",
                text.chars().count()
            )
        })
}

fn finite(text: &str) -> Result<f32, String> {
    number(text, |_| true, "a number")
}

fn not_negative(text: &str) -> Result<f32, String> {
    number(text, |x| x >= 0.0, "a number from 0")
}

fn positive(text: &str) -> Result<f32, String> {
    number(text, |x| x > 0.0, "a number above 0")
}

fn probability(text: &str) -> Result<f32, String> {
    number(text, |x| (0.0..=1.0).contains(&x), "a number from 0 to 1")
}

fn unit_fraction(text: &str) -> Result<f32, String> {
    number(
        text,
        |x| x > 0.0 && x <= 1.0,
        "a number above 0 and at most 1",
    )
}

fn number(text: &str, good: impl Fn(f32) -> bool, expected: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(x) if x.is_finite() && good(x) => Ok(x),
        _ => Err(format!("expected {expected}")),
    }
}

#[cfg(test)]
mod tests;
