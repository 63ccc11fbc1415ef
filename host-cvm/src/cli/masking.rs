//! How rows are hidden, as flags: the same in every program that runs a CVM.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use talaria_arithmetic::module_lwe::{PARAMETERS, Parameters};
use talaria_program::values::{FRACTION, POSITIVE, bytes, count, number};
use talaria_transport::link::{LinkKey, read_or_make};

use crate::cvm::{CvmConfig, CvmError};
use crate::link::HostAddress;
use crate::masks::{Masking, free_bytes};

/// A scheme, or the one that hides everything from as many GPU hosts as there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// module-lwe with one host, shares with two.
    #[default]
    Auto,
    /// This one.
    Of(Masking),
}

impl Scheme {
    const AUTO: &str = "auto";

    /// For so many GPU hosts.
    pub fn with_hosts(self, hosts: usize) -> Masking {
        match self {
            Self::Auto => Masking::default_for(hosts),
            Self::Of(masking) => masking,
        }
    }
}

impl FromStr for Scheme {
    type Err = CvmError;

    fn from_str(name: &str) -> Result<Self, CvmError> {
        match name {
            Self::AUTO => Ok(Self::Auto),
            name => name.parse().map(Self::Of),
        }
    }
}

/// Value of `--masking` where it has to be a scheme.
pub fn masking() -> impl TypedValueParser<Value = Masking> {
    PossibleValuesParser::new(Masking::ALL.map(Masking::name))
        .try_map(|name| name.parse::<Masking>())
}

fn scheme() -> impl TypedValueParser<Value = Scheme> {
    let names = [Scheme::AUTO]
        .into_iter()
        .chain(Masking::ALL.map(Masking::name));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Scheme>())
}

/// Value of `--gpu`: a URL that `talaria-gpu serve` prints.
///
/// # Errors
/// It is none.
pub fn gpu(url: &str) -> Result<String, String> {
    HostAddress::parse(0, url).map(|_| url.to_owned())
}

/// A key that this CVM shows its GPU hosts.
#[derive(Clone, Debug, Default, Args)]
pub struct CallerArgs {
    /// Show GPU hosts the secret key in this file, which is made if it is not there, on encrypted links (noise://): a
    /// `talaria-gpu serve --callers` serves only whom it knows. Its public key, for their lists, is printed at the start
    /// [default: no key].
    #[arg(long, value_name = "FILE")]
    pub caller_key: Option<PathBuf>,
}

impl CallerArgs {
    /// Reads or makes the key, and says who this CVM is.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn open(&self) -> Result<Option<Arc<LinkKey>>, CvmError> {
        let key = self.caller_key.as_deref().map(read_or_make).transpose();
        let key = key.map_err(|error| CvmError::Config(error.to_string()))?;
        if let Some(key) = &key {
            eprintln!("caller key {}", hex::encode(key.public()));
        }
        Ok(key.map(Arc::new))
    }
}

/// The parameter set of module-lwe with this name.
///
/// # Errors
/// There is none.
pub fn parameters(name: &str) -> Result<&'static Parameters, String> {
    Parameters::find(name).ok_or_else(|| {
        let names: Vec<_> = PARAMETERS.iter().map(|set| set.name).collect();
        format!(
            "no parameter set `{name}`, expected one of {}",
            names.join(", ")
        )
    })
}

/// Which scheme, and its settings.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Masking")]
pub struct MaskingArgs {
    /// What the GPU hosts see: shares (two hosts, nothing unless they collude), module-lwe (one host, nothing if
    /// Module-LWE is hard), remo (one host, leaks part of every row), dangerous-plaintext (everything), or auto:
    /// module-lwe with one host, shares with two [default: auto].
    #[arg(long, value_name = "SCHEME", value_parser = scheme())]
    pub masking: Option<Scheme>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub settings: SchemeArgs,
}

/// Settings of schemes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Masking")]
pub struct SchemeArgs {
    /// Parameter set of module-lwe, ring degree x rank; `talaria-local masking` compares them [default: 512x5].
    #[arg(long, value_name = "SET", value_parser = parameters)]
    pub mask_parameters: Option<&'static Parameters>,
    /// Seed of module-lwe's public polynomials, chosen by whoever runs the CVM and never by a GPU host: 64 hexadecimal
    /// digits [default: talaria-cvm makes it of its GPU hosts' addresses, talaria-local has one of its own].
    #[arg(long, value_name = "HEX", value_parser = bytes)]
    pub public_seed: Option<[u8; 32]>,
    /// Payload instances that mint masks of module-lwe ahead, one thread each [default: one for each core that no
    /// engine has].
    #[arg(long, value_name = "N", value_parser = count(1..=256))]
    pub minting: Option<usize>,
    /// Most memory for masks and public matrices of module-lwe, in GB [default: what is free].
    #[arg(long, value_name = "GB", value_parser = number(POSITIVE))]
    pub mask_memory: Option<f32>,
    /// Let links of shares be plain where a network can read them: whoever reads both knows every row.
    #[arg(long)]
    pub dangerous_plain_links: bool,
    /// Rank of remo as a fraction of a row's length [default: 0.5].
    #[arg(long, value_name = "FRACTION", value_parser = number(FRACTION))]
    pub remo_rank: Option<f32>,
}

/// Payload instances that serve.
#[derive(Clone, Debug, Default, Args)]
pub struct EngineArgs {
    /// Payload instances that serve, one thread each [default: one for every two cores, for every four where masks are
    /// minted, and for no more than there is memory].
    #[arg(long, value_name = "N", value_parser = count(1..=256))]
    pub engines: Option<usize>,
    /// Most memory for keys and values of an instance, in GB, at most 3.75 [default: 2.15].
    #[arg(long, value_name = "GB", value_parser = number(POSITIVE))]
    pub kv_memory: Option<f32>,
    /// Whether what was computed for a reply is kept for the next turn of its conversation, in the same memory: on or
    /// off [default: on].
    #[arg(long, value_name = "WHETHER", value_parser = on_or_off())]
    pub prefix_cache: Option<bool>,
    /// Most rows of one projection call; longer prompts go in chunks [default: 256].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub max_batch_rows: Option<u32>,
}

impl MaskingArgs {
    /// These, and what they do not say from `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            masking: self.masking.or(other.masking),
            settings: self.settings.or(other.settings),
        }
    }

    /// For so many GPU hosts.
    pub fn scheme(&self, hosts: usize) -> Masking {
        self.masking.unwrap_or_default().with_hosts(hosts)
    }
}

impl SchemeArgs {
    fn or(self, other: Self) -> Self {
        Self {
            mask_parameters: self.mask_parameters.or(other.mask_parameters),
            public_seed: self.public_seed.or(other.public_seed),
            minting: self.minting.or(other.minting),
            mask_memory: self.mask_memory.or(other.mask_memory),
            dangerous_plain_links: self.dangerous_plain_links || other.dangerous_plain_links,
            remo_rank: self.remo_rank.or(other.remo_rank),
        }
    }
}

impl EngineArgs {
    /// These, and what they do not say from `other`.
    pub fn or(self, other: Self) -> Self {
        Self {
            engines: self.engines.or(other.engines),
            kv_memory: self.kv_memory.or(other.kv_memory),
            prefix_cache: self.prefix_cache.or(other.prefix_cache),
            max_batch_rows: self.max_batch_rows.or(other.max_batch_rows),
        }
    }
}

fn on_or_off() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new(["on", "off"]).map(|value| value == "on")
}

/// Most instances that serve where nobody says how many.
const MOST_ENGINES: usize = 16;

/// Memory of an instance beside keys and values: check vectors and a program, as a rule.
const ENGINE_MEMORY: u64 = 256 << 20;

/// Instances for a machine of so many cores and so much free memory.
fn engines_for(masking: Masking, cores: usize, free: Option<u64>, kv_memory: u64) -> usize {
    let by_cores = match masking.is_minted() {
        true => cores / 4,
        false => cores / 2,
    };
    let by_memory = free.map_or(usize::MAX, |free| {
        usize::try_from(free / (kv_memory + ENGINE_MEMORY)).unwrap_or(usize::MAX)
    });
    by_cores.min(by_memory).clamp(1, MOST_ENGINES)
}

/// How a CVM is to run, with defaults for what flags do not say.
pub fn configured(masking: Masking, settings: &SchemeArgs, engines: &EngineArgs) -> CvmConfig {
    let defaults = CvmConfig::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kv_memory = engines.kv_memory.map(|gb| (f64::from(gb) * 1e9) as u64);
    let kv_memory = kv_memory.unwrap_or(defaults.kv_memory);
    let possible = || engines_for(masking, cores, free_bytes(), kv_memory);
    let engines_count = engines.engines.unwrap_or_else(possible);
    let spare = cores.saturating_sub(engines_count).max(1);
    CvmConfig {
        masking,
        engines: engines_count,
        kv_memory,
        prefix_cache: engines.prefix_cache.unwrap_or(defaults.prefix_cache),
        max_batch_rows: engines.max_batch_rows.unwrap_or(defaults.max_batch_rows),
        parameters: settings.mask_parameters.unwrap_or(defaults.parameters),
        public_seed: settings.public_seed.unwrap_or(defaults.public_seed),
        minting: settings.minting.unwrap_or(spare),
        mask_memory: settings.mask_memory.map(|gb| (f64::from(gb) * 1e9) as u64),
        remo_rank: settings.remo_rank.unwrap_or(defaults.remo_rank),
        dangerous_plain_links: settings.dangerous_plain_links,
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_engines_as_cores_and_memory_allow() {
        let engines = |masking, cores, free| engines_for(masking, cores, free, 2 << 30);
        assert_eq!(engines(Masking::Shares, 1, None), 1);
        assert_eq!(engines(Masking::Shares, 8, None), 4);
        assert_eq!(engines(Masking::ModuleLwe, 8, None), 2);
        assert_eq!(engines(Masking::Shares, 8, Some(5 << 30)), 2);
        assert_eq!(engines(Masking::Shares, 8, Some(1 << 30)), 1);
        assert_eq!(engines(Masking::Shares, 1000, None), MOST_ENGINES);
    }
}
