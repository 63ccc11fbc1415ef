//! How a CVM is to run.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use talaria_arithmetic::module_lwe::Parameters;

use crate::error::CvmError;

/// All that a payload of 32-bit memory can address.
pub(crate) const MAX_MEMORY_BYTES: u64 = 4 << 30;

/// Seed of module-lwe's public polynomials where the deployment chooses none: it stands for itself.
pub const DEFAULT_PUBLIC_SEED: &[u8; 32] = b"talaria module-lwe: public A, v1";

/// How rows are hidden from the GPU hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masking {
    /// Two hosts, additive shares: perfect unless both collude.
    Shares,
    /// One host, masks minted ahead: hidden under Module-LWE.
    ModuleLwe,
    /// One host, the paper's ReMO: leaks what lies outside the row space of its public matrix.
    Remo,
    /// One host that sees every row. For tests and benchmarks.
    DangerousPlaintext,
}

impl Masking {
    /// Every scheme.
    pub const ALL: [Masking; 4] = [
        Self::Shares,
        Self::ModuleLwe,
        Self::Remo,
        Self::DangerousPlaintext,
    ];

    /// Name as on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shares => "shares",
            Self::ModuleLwe => "module-lwe",
            Self::Remo => "remo",
            Self::DangerousPlaintext => "dangerous-plaintext",
        }
    }

    /// GPU hosts that every row goes to.
    pub const fn hosts(self) -> usize {
        match self {
            Self::Shares => 2,
            Self::ModuleLwe | Self::Remo | Self::DangerousPlaintext => 1,
        }
    }

    /// The scheme that hides everything from `hosts` GPU hosts: from one under Module-LWE.
    pub const fn default_for(hosts: usize) -> Self {
        match hosts {
            1 => Self::ModuleLwe,
            _ => Self::Shares,
        }
    }
}

impl fmt::Display for Masking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Masking {
    type Err = CvmError;

    fn from_str(name: &str) -> Result<Self, CvmError> {
        let found = Self::ALL.into_iter().find(|masking| masking.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            CvmError::Config(format!("unknown masking `{name}`, expected one of {names}"))
        })
    }
}

/// How long what may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Until a GPU host accepts a connection, new attempts included. During set-up a host may be silent for
    /// three times as long.
    pub connect: Duration,
    /// From sending rows to the last host's product, reconnection included; also until a host begins to send
    /// its weights.
    pub project: Duration,
    /// Computation of the payload in one step, waiting for hosts excluded. Set-up calls may compute
    /// [`SETUP_FACTOR`] times as long.
    pub step_cpu: Duration,
}

/// See [`Deadlines::step_cpu`].
pub const SETUP_FACTOR: u32 = 20;

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            project: Duration::from_secs(120),
            step_cpu: Duration::from_secs(60),
        }
    }
}

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
    /// Payload instances that serve sessions, one thread each.
    pub engines: usize,
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
    /// Where compiled code ([`crate::Payload::load`]) and R_pub are kept; none: nowhere.
    pub cache_dir: Option<PathBuf>,
}

impl Default for CvmConfig {
    fn default() -> Self {
        Self {
            masking: Masking::Shares,
            remo_rank: 0.5,
            expected_digest: None,
            hosts: Vec::new(),
            engines: 1,
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
    pub(crate) fn validate(&self) -> Result<(), CvmError> {
        let needed = self.masking.hosts();
        check(self.hosts.len() == needed, || {
            let plural = if needed == 1 { "" } else { "s" };
            let given = self.hosts.len();
            format!(
                "masking {} needs {needed} GPU host{plural}, {given} given",
                self.masking
            )
        })?;
        check(self.remo_rank > 0.0 && self.remo_rank <= 1.0, || {
            format!("remo rank {} is not in (0, 1]", self.remo_rank)
        })?;
        check(
            self.masking != Masking::ModuleLwe || self.minting > 0,
            || "masking module-lwe needs at least one minting instance".into(),
        )?;
        check(self.engines > 0, || "at least one engine is needed".into())?;
        check(self.max_batch_rows > 0, || {
            "a batch needs at least one row".into()
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
    fn masking_names_round_trip() {
        for masking in Masking::ALL {
            assert_eq!(masking.to_string().parse::<Masking>().unwrap(), masking);
        }
        let error = "none".parse::<Masking>().unwrap_err().to_string();
        assert!(error.contains("dangerous-plaintext"), "{error}");
    }

    #[test]
    fn contradictions_are_refused() {
        let good = CvmConfig {
            hosts: vec!["http://a:1".into(), "http://b:1".into()],
            ..CvmConfig::default()
        };
        good.validate().unwrap();
        let bad = |change: fn(&mut CvmConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(bad(|c| c.hosts.truncate(1)).contains("needs 2 GPU hosts, 1 given"));
        assert!(bad(|c| c.masking = Masking::Remo).contains("needs 1 GPU host, 2 given"));
        assert!(bad(|c| c.remo_rank = f32::NAN).contains("rank"));
        assert!(bad(|c| c.remo_rank = 0.0).contains("rank"));
        assert!(bad(|c| (c.masking, c.minting) = (Masking::ModuleLwe, 0)).contains("1 GPU host"));
        assert!(bad(|c| c.engines = 0).contains("engine"));
        assert!(bad(|c| c.max_batch_rows = 0).contains("row"));
        assert!(bad(|c| c.memory_limit = (4 << 30) + 1).contains("4096 MiB"));
    }
}
