//! All that `talaria-cvm serve` can be told: a TOML file, and flags that win over it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use talaria_program::values;

use super::ServeArgs;
use super::masking::{CallerArgs, EngineArgs, MaskingArgs, SchemeArgs, configured, parameters};
use crate::api::Limits;
use crate::attestation::EvidenceKind;
use crate::cvm::CvmConfig;
use crate::link::HostAddress;

/// Longest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Keys of the file: the flags' names with `_`, and a unit where there is one. Unknown ones are errors, so that a
/// misspelt limit cannot be silently absent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    gpu: Vec<String>,
    caller_key: Option<PathBuf>,
    masking: Option<String>,
    mask_parameters: Option<String>,
    public_seed: Option<String>,
    minting: Option<usize>,
    mask_memory_gb: Option<f32>,
    remo_rank: Option<f32>,
    dangerous_plain_links: bool,
    engines: Option<usize>,
    max_batch_rows: Option<u32>,
    kv_memory_gb: Option<f32>,
    prefix_cache: Option<bool>,
    payload: Option<PathBuf>,
    listen: Option<SocketAddr>,
    metrics_listen: Option<SocketAddr>,
    evidence: Option<String>,
    certificates: Vec<PathBuf>,
    collateral: Option<PathBuf>,
    expect_digest: Option<String>,
    cache_dir: Option<PathBuf>,
    project_timeout_seconds: Option<u32>,
    host_patience_seconds: Option<u32>,
    limits: Limits,
}

/// What is served, complete and without contradictions.
#[derive(Debug)]
pub struct Settings {
    /// How the CVM is to run.
    pub config: CvmConfig,
    /// Key to show GPU hosts.
    pub caller: CallerArgs,
    /// Payload component; none: the embedded one.
    pub payload: Option<PathBuf>,
    /// Address for clients.
    pub listen: SocketAddr,
    /// Address for monitoring; none: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Provider of evidence.
    pub evidence: EvidenceKind,
    /// DER certificates of the processor's key, where the hypervisor gives none.
    pub certificates: Vec<PathBuf>,
    /// Intel's collateral, JSON.
    pub collateral: Option<PathBuf>,
    /// Limits on clients.
    pub limits: Limits,
    /// As given.
    minting: Option<usize>,
    mask_memory_gb: Option<f32>,
    engines: Option<usize>,
}

/// What `host_configuration_digest` speaks of: all that shapes how requests are served, nothing of where files lie,
/// and nothing of the machine.
#[derive(Serialize)]
struct Configuration {
    release: &'static str,
    gpu: Vec<Gpu>,
    masking: &'static str,
    mask_parameters: &'static str,
    public_seed: String,
    remo_rank: f32,
    dangerous_plain_links: bool,
    expect_digest: Option<String>,
    engines: Option<usize>,
    minting: Option<usize>,
    max_batch_rows: u32,
    kv_memory: u64,
    prefix_cache: bool,
    max_model_len: u32,
    mask_memory_gb: Option<f32>,
    project_timeout_seconds: u64,
    host_patience_seconds: u64,
    limits: Limits,
}

/// A GPU host, for whoever knows it: clients need neither its address nor its key.
#[derive(Serialize)]
struct Gpu {
    /// Of the address as it was given.
    address_sha256: String,
    /// Of the public key of an encrypted link.
    link_key_sha256: Option<String>,
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
        let masking = args.masking.clone().or(file.masking()?);
        let engines = args.engines.clone().or(EngineArgs {
            engines: file.engines,
            max_batch_rows: file.max_batch_rows,
            kv_memory: file.kv_memory_gb,
            prefix_cache: file.prefix_cache,
        });
        let evidence = file.evidence.map(|name| name.parse()).transpose();
        let evidence = evidence.map_err(|error: String| anyhow::anyhow!(error))?;
        let digest = file.expect_digest.map(|hex| bytes("expect_digest", &hex));
        let gpu = match args.gpu.is_empty() {
            true => file.gpu,
            false => args.gpu.clone(),
        };
        ensure!(
            !gpu.is_empty(),
            "no GPU host: give --gpu URL of a running `talaria-gpu serve`, twice for masking shares"
        );
        let scheme = masking.scheme(gpu.len());
        let mut config = CvmConfig {
            public_seed: masking.settings.public_seed.unwrap_or(own_seed(&gpu)),
            hosts: gpu,
            expected_digest: args.expect_digest.or(digest.transpose()?),
            cache_dir: args.cache_dir.clone().or(file.cache_dir),
            ..configured(scheme, &masking.settings, &engines)
        };
        if let Some(limit) = file.project_timeout_seconds {
            config.deadlines.project = Duration::from_secs(limit.into());
        }
        if let Some(limit) = args.host_patience.or(file.host_patience_seconds) {
            config.deadlines.patience = Duration::from_secs(limit.into());
        }
        config.validate()?;
        Ok(Self {
            config,
            caller: CallerArgs {
                caller_key: args.caller.caller_key.clone().or(file.caller_key),
            },
            payload: args.payload.clone().or(file.payload),
            listen: args
                .listen
                .or(file.listen)
                .unwrap_or(([127, 0, 0, 1], 8600).into()),
            metrics_listen: args.metrics_listen.or(file.metrics_listen),
            evidence: args.evidence.or(evidence).unwrap_or(EvidenceKind::Auto),
            certificates: file.certificates,
            collateral: file.collateral,
            limits: file.limits,
            minting: masking.settings.minting,
            mask_memory_gb: masking.settings.mask_memory,
            engines: engines.engines,
        })
    }

    /// What `host_configuration_digest` is the SHA-256 of. `context`: of the model, as far as there is memory for it.
    pub fn to_json(&self, context: u32) -> Vec<u8> {
        let config = &self.config;
        let gpu = |(index, url): (usize, &String)| {
            let host = HostAddress::parse(index, url).expect("validated");
            Gpu {
                address_sha256: hex::encode(host.digest()),
                link_key_sha256: host.key().map(|key| hex::encode(Sha256::digest(key))),
            }
        };
        let configuration = Configuration {
            release: env!("CARGO_PKG_VERSION"),
            gpu: config.hosts.iter().enumerate().map(gpu).collect(),
            masking: config.masking.name(),
            mask_parameters: config.parameters.name,
            public_seed: hex::encode(config.public_seed),
            remo_rank: config.remo_rank,
            dangerous_plain_links: config.dangerous_plain_links,
            expect_digest: config.expected_digest.map(hex::encode),
            engines: self.engines,
            minting: self.minting,
            max_batch_rows: config.max_batch_rows,
            kv_memory: config.kv_memory,
            prefix_cache: config.prefix_cache,
            max_model_len: context,
            mask_memory_gb: self.mask_memory_gb,
            project_timeout_seconds: config.deadlines.project.as_secs(),
            host_patience_seconds: config.deadlines.patience.as_secs(),
            limits: self.limits,
        };
        serde_json::to_vec(&configuration).expect("plain data always serialises")
    }
}

/// Seed of module-lwe's public polynomials where the operator chooses none: of this deployment, by the addresses and link
/// keys of its GPU hosts, so that no work on it serves against any other. It is public, and part of the configuration
/// that evidence names.
fn own_seed(gpu: &[String]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix("talaria-public-seed-v1");
    for url in gpu {
        hash.update((url.len() as u64).to_be_bytes());
        hash.update(url);
    }
    hash.finalize().into()
}

impl File {
    fn masking(&self) -> anyhow::Result<MaskingArgs> {
        let wrong = |error: String| anyhow::anyhow!(error);
        let seed = self.public_seed.as_deref();
        let set = self.mask_parameters.as_deref().map(parameters);
        let memory = self.mask_memory_gb.unwrap_or(1.0);
        ensure!(
            memory.is_finite() && memory > 0.0,
            "mask_memory_gb: expected a number above 0, found {memory}"
        );
        Ok(MaskingArgs {
            masking: self.masking.as_deref().map(str::parse).transpose()?,
            settings: SchemeArgs {
                mask_parameters: set.transpose().map_err(wrong)?,
                public_seed: seed.map(|hex| bytes("public_seed", hex)).transpose()?,
                minting: self.minting,
                mask_memory: self.mask_memory_gb,
                remo_rank: self.remo_rank,
                dangerous_plain_links: self.dangerous_plain_links,
            },
        })
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

fn bytes(key: &str, hex: &str) -> anyhow::Result<[u8; 32]> {
    values::bytes(hex).map_err(|error| anyhow::anyhow!("{key}: {error}"))
}

#[cfg(test)]
mod tests;
