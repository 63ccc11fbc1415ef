//! How a CVM is to run.

use std::path::PathBuf;
use std::sync::Arc;

use talaria_arithmetic::module_lwe::Parameters;
use talaria_transport::link::LinkKey;

use super::CvmError;
use crate::link::{Deadlines, HostAddress};
use crate::masks::Masking;
use crate::payload::MAX_MEMORY_BYTES;

/// Seed of module-lwe's public polynomials where nobody chooses one, on a user's own machine: it stands for itself.
pub const DEFAULT_PUBLIC_SEED: &[u8; 32] = b"talaria module-lwe: public A, v1";

/// Bytes of keys and values of an instance where nobody says how many. Only what is used is taken of the machine.
pub(crate) const DEFAULT_KV_MEMORY: u64 = 2 << 30;

/// Most bytes of keys and values of an instance: it has 4 GiB for everything.
pub(crate) const MAX_KV_MEMORY: u64 = 7 << 29;

/// How a CVM is to run.
#[derive(Clone, Debug)]
pub struct CvmConfig {
    /// How rows are hidden.
    pub masking: Masking,
    /// Rank of remo's public matrix as a fraction of k, 0 to 1; ignored elsewhere.
    pub remo_rank: f32,
    /// Refuse any model but this.
    pub expected_digest: Option<[u8; 32]>,
    /// `http://host:port` or `unix:/path` of each GPU host, as many as the masking needs.
    pub hosts: Vec<String>,
    /// Let links of `shares` be plain where a network can read them: who reads both knows every row.
    pub dangerous_plain_links: bool,
    /// Shown to GPU hosts on encrypted links: they may serve those only whom they know.
    pub caller_key: Option<Arc<LinkKey>>,
    /// Payload instances that serve sessions, one thread each.
    pub engines: usize,
    /// Most bytes of keys and values of an instance that serves, those that are kept of replies that are over included.
    pub kv_memory: u64,
    /// Keep what was computed for replies that are over, for the next turn of the same conversation.
    pub prefix_cache: bool,
    /// Payload instances that mint masks ahead, one thread each; used by module-lwe only.
    pub minting: usize,
    /// Parameter set of module-lwe; ignored elsewhere.
    pub parameters: &'static Parameters,
    /// Seed of module-lwe's public polynomials, the deployment's choice, never a GPU host's.
    pub public_seed: [u8; 32],
    /// Most bytes of masks and public matrices outside the payload; none: what the system has free.
    pub mask_memory: Option<u64>,
    /// Most rows of one projection call.
    pub max_batch_rows: u32,
    /// How long what may take.
    pub deadlines: Deadlines,
    /// Most bytes of memory of one instance, at most 4 GiB.
    pub memory_limit: u64,
    /// Where R_pub is kept; none: nowhere.
    pub cache_dir: Option<PathBuf>,
}

impl Default for CvmConfig {
    fn default() -> Self {
        Self {
            masking: Masking::Shares,
            remo_rank: 0.5,
            expected_digest: None,
            hosts: Vec::new(),
            dangerous_plain_links: false,
            caller_key: None,
            engines: 1,
            kv_memory: DEFAULT_KV_MEMORY,
            prefix_cache: true,
            minting: 1,
            parameters: Parameters::default_set(),
            public_seed: *DEFAULT_PUBLIC_SEED,
            mask_memory: None,
            max_batch_rows: 256,
            deadlines: Deadlines::default(),
            memory_limit: MAX_MEMORY_BYTES,
            cache_dir: None,
        }
    }
}

impl CvmConfig {
    /// Refuses what contradicts itself, before anything is started.
    ///
    /// # Errors
    /// What does, and what to do.
    pub fn validate(&self) -> Result<(), CvmError> {
        self.validate_hosts()?;
        check(self.remo_rank > 0.0 && self.remo_rank <= 1.0, || {
            format!("remo rank {} is not in (0, 1]", self.remo_rank)
        })?;
        check(!self.masking.is_minted() || self.minting > 0, || {
            let masking = self.masking;
            format!("masking {masking} needs at least one minting instance")
        })?;
        check(self.engines > 0, || "at least one engine is needed".into())?;
        check(self.max_batch_rows > 0, || {
            "a batch needs at least one row".into()
        })?;
        check(self.kv_memory <= MAX_KV_MEMORY, || {
            format!(
                "{:.2} GB of keys and values are more than a payload instance has room for: at most {:.2} GB \
                 (--kv-memory); take more instances (--engines)",
                self.kv_memory as f64 / 1e9,
                MAX_KV_MEMORY as f64 / 1e9
            )
        })?;
        check(self.memory_limit <= MAX_MEMORY_BYTES, || {
            format!(
                "a payload cannot use more than {} MiB of memory, {} MiB given",
                MAX_MEMORY_BYTES >> 20,
                self.memory_limit >> 20
            )
        })
    }
}

impl CvmConfig {
    /// As many as the masking needs, none of them twice, on links that together give nothing away. That they are
    /// not one by other names is seen when they answer.
    fn validate_hosts(&self) -> Result<(), CvmError> {
        let (needed, given) = (self.masking.hosts(), self.hosts.len());
        check(needed == given, || {
            let plural = if needed == 1 { "" } else { "s" };
            let why = self.masking.why_hosts();
            format!(
                "masking {} needs {needed} GPU host{plural} (--gpu), {given} given: {why}",
                self.masking
            )
        })?;
        let mut keys = Vec::new();
        for (index, url) in self.hosts.iter().enumerate() {
            let host = HostAddress::parse(index, url).map_err(CvmError::Config)?;
            check(!self.hosts[..index].contains(url), || {
                format!(
                    "{url} is given twice: with both shares of a row it would see the row; give two servers of \
                     different operators"
                )
            })?;
            let lost = self.masking.plain_links();
            let plain = !lost.is_empty() && host.is_exposed();
            check(!plain || self.dangerous_plain_links, || {
                format!(
                    "{url}: masking {} takes encrypted links only beyond this machine: {lost}. Start talaria-gpu \
                     with --link-key and give the noise:// address that it prints, or accept this with \
                     --dangerous-plain-links",
                    self.masking
                )
            })?;
            if let Some(key) = host.key() {
                check(!keys.contains(key), || {
                    format!(
                        "two GPU hosts have the link key {}: whoever holds it sees both shares of a row; give two \
                         servers of different operators",
                        hex::encode(key)
                    )
                })?;
                keys.push(*key);
            }
        }
        let is_encrypted = |url: &String| url.starts_with("noise://");
        check(
            self.caller_key.is_none() || self.hosts.iter().any(is_encrypted),
            || "a caller key is shown on encrypted links only, and no GPU host is noise://".into(),
        )
    }
}

fn check(good: bool, message: impl FnOnce() -> String) -> Result<(), CvmError> {
    if good {
        Ok(())
    } else {
        Err(CvmError::Config(message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused() {
        let good = CvmConfig {
            hosts: vec!["http://127.0.0.1:1".into(), "unix:/b".into()],
            ..CvmConfig::default()
        };
        good.validate().unwrap();
        let bad = |change: fn(&mut CvmConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(bad(|c| c.hosts.truncate(1)).contains("needs 2 GPU hosts (--gpu), 1 given"));
        assert!(bad(|c| c.masking = Masking::Remo).contains("needs 1 GPU host (--gpu), 2 given"));
        assert!(bad(|c| c.hosts[1] = c.hosts[0].clone()).contains("given twice"));
        assert!(bad(|c| c.hosts[1] = "b:1".into()).contains("http://HOST:PORT"));
        let key = |c: &mut CvmConfig| c.caller_key = Some(Arc::new(LinkKey::new([1; 32].into())));
        assert!(bad(key).contains("noise://"));
        assert!(bad(|c| c.remo_rank = f32::NAN).contains("rank"));
        assert!(bad(|c| c.remo_rank = 0.0).contains("rank"));
        assert!(bad(|c| (c.masking, c.minting) = (Masking::ModuleLwe, 0)).contains("1 GPU host"));
        assert!(bad(|c| c.hosts[1] = "http://b:1".into()).contains("--dangerous-plain-links"));
        let noise = |host: &str| format!("noise://{}@{host}:1", "11".repeat(32));
        let mut twins = CvmConfig {
            hosts: vec![noise("a"), noise("b")],
            ..CvmConfig::default()
        };
        let error = twins.validate().unwrap_err().to_string();
        assert!(
            error.contains("two GPU hosts have the link key 1111"),
            "{error}"
        );
        twins.hosts[1] = "http://b:1".into();
        twins.dangerous_plain_links = true;
        twins.validate().unwrap();
        assert!(bad(|c| c.engines = 0).contains("engine"));
        assert!(bad(|c| c.max_batch_rows = 0).contains("row"));
        assert!(bad(|c| c.kv_memory = MAX_KV_MEMORY + 1).contains("at most 3.76 GB"));
        assert!(bad(|c| c.memory_limit = (4 << 30) + 1).contains("4096 MiB"));
    }
}
