//! The schemes that hide rows from GPU hosts, as this side names them.

use std::fmt;
use std::str::FromStr;

use crate::cvm::CvmError;
use crate::payload::bindings::exports::talaria::payload::setup;

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

impl From<Masking> for setup::Masking {
    fn from(masking: Masking) -> Self {
        match masking {
            Masking::Shares => Self::Shares,
            Masking::ModuleLwe => Self::ModuleLwe,
            Masking::Remo => Self::Remo,
            Masking::DangerousPlaintext => Self::DangerousPlaintext,
        }
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
}
