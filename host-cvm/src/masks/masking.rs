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

/// All that this side knows of a scheme; what it does is the payload's (guest/src/mask).
struct Facts {
    /// As on command lines.
    name: &'static str,
    /// In the payload's world.
    world: setup::Masking,
    /// GPU hosts that every row goes to.
    hosts: usize,
    /// Whether masks are minted ahead, by instances of their own.
    minted: bool,
    /// Against whom it hides a row, in a few words.
    security: &'static str,
    /// What the hosts get, in one sentence.
    sent: &'static str,
    /// What a row and what the hosts got of it show, side by side.
    shown: &'static str,
    /// What is known to who reads plain links to all hosts, if more than to each host; empty: nothing.
    plain_links: &'static str,
}

impl Masking {
    /// Every scheme.
    pub const ALL: [Masking; 4] = [
        Self::Shares,
        Self::ModuleLwe,
        Self::Remo,
        Self::DangerousPlaintext,
    ];

    const fn facts(self) -> Facts {
        match self {
            Self::Shares => Facts {
                name: "shares",
                world: setup::Masking::Shares,
                hosts: 2,
                minted: false,
                security: "perfect unless both hosts collude",
                sent: "one host gets rows plus masks, the other the masks",
                shown: "The payload alone knows the row. GPU host 1 got row plus mask, GPU host 2 the mask: residues \
                        modulo a prime, compared here with what the hosts really received. Each column alone is \
                        uniformly random; only their difference tells the row, and the hosts never share it.",
                plain_links: "who reads both, this machine's network or its hypervisor, knows every row",
            },
            Self::ModuleLwe => Facts {
                name: "module-lwe",
                world: setup::Masking::ModuleLwe,
                hosts: 1,
                minted: true,
                security: "Module-LWE",
                sent: "one host gets all rows, masked under Module-LWE",
                shown: "The payload alone knows the row. The GPU host got the row, scaled, plus noise and a mask that \
                        was minted before the row was known: residues modulo a prime, compared here with what the host \
                        really received. They look uniformly random to whoever cannot solve Module-LWE.",
                plain_links: "",
            },
            Self::Remo => Facts {
                name: "remo",
                world: setup::Masking::Remo,
                hosts: 1,
                minted: false,
                security: "NONE for tokens: the host reads them",
                sent: "one host gets all rows, masked within a subspace",
                shown: "The GPU host got row plus mask: residues modulo a prime, compared here with what the host \
                        really received. The mask lies in a public subspace: outside of it the host sees the row.",
                plain_links: "",
            },
            Self::DangerousPlaintext => Facts {
                name: "dangerous-plaintext",
                world: setup::Masking::DangerousPlaintext,
                hosts: 1,
                minted: false,
                security: "NONE",
                sent: "one host gets all rows as they are",
                shown: "The GPU host got the row itself, as residues modulo a prime: nothing is hidden.",
                plain_links: "",
            },
        }
    }

    /// Name as on command lines.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// GPU hosts that every row goes to.
    pub const fn hosts(self) -> usize {
        self.facts().hosts
    }

    /// Whether masks are minted ahead.
    pub const fn is_minted(self) -> bool {
        self.facts().minted
    }

    /// Against whom it hides a row, for people: `perfect unless both hosts collude`.
    pub const fn security(self) -> &'static str {
        self.facts().security
    }

    /// What the hosts get, for people: `one host gets rows plus masks, the other the masks`.
    pub const fn sent(self) -> &'static str {
        self.facts().sent
    }

    /// For people who see a row beside what the hosts got of it.
    pub const fn shown(self) -> &'static str {
        self.facts().shown
    }

    /// What plain links to all hosts give away beyond what each host is shown, for people; empty: nothing.
    pub(crate) const fn plain_links(self) -> &'static str {
        self.facts().plain_links
    }

    /// Why as many.
    pub(crate) const fn why_hosts(self) -> &'static str {
        match self {
            Self::Shares => "one host gets rows plus masks, the other the masks",
            Self::ModuleLwe => "one host gets all rows, masked under Module-LWE",
            Self::Remo => "one host gets all rows, masked within a subspace",
            Self::DangerousPlaintext => "one host gets all rows as they are",
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
        masking.facts().world
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
