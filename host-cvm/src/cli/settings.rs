//! All that `talaria-cvm serve` can be told: a TOML file, and flags that win over it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::ServeArgs;
use crate::api::Limits;
use crate::attestation::EvidenceKind;
use crate::cvm::{CvmConfig, DEFAULT_PUBLIC_SEED};
use crate::link::Deadlines;
use crate::masks::Masking;
use talaria_arithmetic::module_lwe::{PARAMETERS, Parameters};

/// Longest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Keys of the file. Unknown ones are errors, so that a misspelt limit cannot be silently absent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    gpu: Vec<String>,
    masking: Option<String>,
    payload: Option<PathBuf>,
    listen: Option<SocketAddr>,
    evidence: Option<String>,
    certificates: Vec<PathBuf>,
    collateral: Option<PathBuf>,
    expect_digest: Option<String>,
    engines: Option<usize>,
    minting: Option<usize>,
    cache: Option<PathBuf>,
    parameters: Option<String>,
    public_seed: Option<String>,
    remo_rank: Option<f32>,
    max_batch_rows: Option<u32>,
    mask_memory_mib: Option<u64>,
    project_timeout_seconds: Option<u32>,
    limits: Limits,
}

/// What is served, complete.
#[derive(Debug)]
pub struct Settings {
    /// GPU hosts.
    pub gpu: Vec<String>,
    /// How rows are hidden.
    pub masking: Masking,
    /// Payload component; none: the embedded one.
    pub payload: Option<PathBuf>,
    /// Address for clients.
    pub listen: SocketAddr,
    /// Provider of evidence.
    pub evidence: EvidenceKind,
    /// DER certificates of the processor's key, where the hypervisor gives none.
    pub certificates: Vec<PathBuf>,
    /// Intel's collateral, JSON.
    pub collateral: Option<PathBuf>,
    /// The only model accepted.
    pub expect_digest: Option<[u8; 32]>,
    /// Serving instances.
    pub engines: usize,
    /// Minting instances.
    pub minting: usize,
    /// Compiled code and public rows.
    pub cache: Option<PathBuf>,
    /// Limits on clients.
    pub limits: Limits,
    parameters: &'static Parameters,
    public_seed: [u8; 32],
    remo_rank: f32,
    max_batch_rows: u32,
    mask_memory_mib: Option<u64>,
    deadlines: Deadlines,
}

/// What `host_configuration_digest` speaks of: all that shapes how requests are served, nothing of where files lie.
#[derive(Serialize)]
struct Configuration<'s> {
    release: &'static str,
    gpu: &'s [String],
    masking: &'static str,
    parameters: &'static str,
    public_seed: String,
    remo_rank: f32,
    expect_digest: Option<String>,
    engines: usize,
    minting: usize,
    max_batch_rows: u32,
    mask_memory_mib: Option<u64>,
    project_timeout_seconds: u64,
    limits: Limits,
}

impl Settings {
    /// Flags over the file over defaults.
    ///
    /// # Errors
    /// What is missing, wrong or contradicts itself.
    pub fn read(args: &ServeArgs) -> anyhow::Result<Self> {
        let file = args.config.as_deref().map(read).transpose()?;
        Self::combine(args, file.unwrap_or_default())
    }

    fn combine(args: &ServeArgs, file: File) -> anyhow::Result<Self> {
        let gpu = match args.gpu.is_empty() {
            true => file.gpu,
            false => args.gpu.clone(),
        };
        ensure!(
            !gpu.is_empty(),
            "no GPU host: give --gpu URL of a running `talaria-gpu serve`, twice for masking shares"
        );
        let masking = args.masking.clone().or(file.masking);
        let evidence = file.evidence.map(|name| name.parse()).transpose();
        let evidence = evidence.map_err(|error: String| anyhow::anyhow!(error))?;
        let defaults = CvmConfig::default();
        let digest = args.expect_digest.clone().or(file.expect_digest);
        Ok(Self {
            masking: parse_masking(masking.as_deref(), gpu.len())?,
            gpu,
            payload: args.payload.clone().or(file.payload),
            listen: args
                .listen
                .or(file.listen)
                .unwrap_or(([127, 0, 0, 1], 8600).into()),
            evidence: args.evidence.or(evidence).unwrap_or(EvidenceKind::Auto),
            certificates: file.certificates,
            collateral: file.collateral,
            expect_digest: digest.map(|hex| bytes("expect_digest", &hex)).transpose()?,
            engines: args.engines.or(file.engines).unwrap_or(defaults.engines),
            minting: args.minting.or(file.minting).unwrap_or(defaults.minting),
            cache: args.cache.clone().or(file.cache),
            limits: file.limits,
            parameters: parse_parameters(file.parameters.as_deref())?,
            public_seed: match file.public_seed {
                Some(hex) => bytes("public_seed", &hex)?,
                None => *DEFAULT_PUBLIC_SEED,
            },
            remo_rank: file.remo_rank.unwrap_or(defaults.remo_rank),
            max_batch_rows: file.max_batch_rows.unwrap_or(defaults.max_batch_rows),
            mask_memory_mib: file.mask_memory_mib,
            deadlines: match file.project_timeout_seconds {
                Some(limit) => Deadlines {
                    project: Duration::from_secs(limit.into()),
                    ..defaults.deadlines
                },
                None => defaults.deadlines,
            },
        })
    }

    /// For [`Cvm::start`](crate::Cvm::start).
    pub fn cvm(&self) -> anyhow::Result<CvmConfig> {
        let config = CvmConfig {
            masking: self.masking,
            remo_rank: self.remo_rank,
            expected_digest: self.expect_digest,
            hosts: self.gpu.clone(),
            engines: self.engines,
            minting: self.minting,
            parameters: self.parameters,
            public_seed: self.public_seed,
            mask_memory: self.mask_memory_mib.map(|mib| mib << 20),
            max_batch_rows: self.max_batch_rows,
            deadlines: self.deadlines,
            cache_dir: self.cache.clone(),
            ..CvmConfig::default()
        };
        config.validate()?;
        Ok(config)
    }

    /// What `host_configuration_digest` is the SHA-256 of.
    pub fn to_json(&self) -> Vec<u8> {
        let configuration = Configuration {
            release: env!("CARGO_PKG_VERSION"),
            gpu: &self.gpu,
            masking: self.masking.name(),
            parameters: self.parameters.name,
            public_seed: hex::encode(self.public_seed),
            remo_rank: self.remo_rank,
            expect_digest: self.expect_digest.map(hex::encode),
            engines: self.engines,
            minting: self.minting,
            max_batch_rows: self.max_batch_rows,
            mask_memory_mib: self.mask_memory_mib,
            project_timeout_seconds: self.deadlines.project.as_secs(),
            limits: self.limits,
        };
        serde_json::to_vec(&configuration).expect("plain data always serialises")
    }
}

fn read(file: &Path) -> anyhow::Result<File> {
    let unreadable = || format!("cannot read the configuration {}", file.display());
    let size = std::fs::metadata(file).with_context(unreadable)?.len();
    ensure!(
        size <= MAX_FILE_BYTES,
        "the configuration {} has {size} bytes, at most {MAX_FILE_BYTES} are read",
        file.display()
    );
    let text = std::fs::read_to_string(file).with_context(unreadable)?;
    let parsed = toml::from_str(&text);
    parsed.with_context(|| format!("the configuration {} is wrong", file.display()))
}

fn parse_masking(name: Option<&str>, hosts: usize) -> anyhow::Result<Masking> {
    match name {
        None | Some("auto") => Ok(Masking::default_for(hosts)),
        Some(name) => Ok(name.parse()?),
    }
}

fn parse_parameters(name: Option<&str>) -> anyhow::Result<&'static Parameters> {
    let Some(name) = name else {
        return Ok(Parameters::default_set());
    };
    match PARAMETERS.iter().find(|set| set.name == name) {
        Some(set) => Ok(set),
        None => {
            let names: Vec<_> = PARAMETERS.iter().map(|set| set.name).collect();
            bail!(
                "unknown parameters `{name}`, expected one of {}",
                names.join(", ")
            )
        }
    }
}

fn bytes(key: &str, text: &str) -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let decoded = hex::decode_to_slice(text, &mut bytes);
    decoded.with_context(|| format!("{key} has to be 64 hexadecimal digits"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
