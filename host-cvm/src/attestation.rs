//! Evidence: who vouches for this CVM, and what is vouched for.
//!
//! A provider asks the hardware for a statement over `report_data` ([`Claims::report_data`]). None is trusted to say
//! what it should: clients verify all of it.
//!
//! * [`configfs_tsm`]: Linux's one interface to SEV-SNP and TDX (Documentation/ABI/testing/configfs-tsm)
//! * [`sev_guest`]: the device of SEV-SNP guests, for kernels before 6.7
//! * [`development`]: no hardware at all

mod configfs_tsm;
mod development;
mod sev_guest;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use talaria_evidence::{
    Attestation, CertificateTableError, Claims, Evidence, FORMAT, TdxCollateral,
};

use configfs_tsm::ConfigfsTsm;
use development::Development;

/// Which provider of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceKind {
    /// What there is: configfs-tsm, else the device of SEV-SNP. Never development.
    Auto,
    /// Linux's configfs-tsm.
    ConfigfsTsm,
    /// /dev/sev-guest.
    SevGuest,
    /// A key that vouches for itself: proves nothing.
    Development,
}

impl EvidenceKind {
    /// All, as on command lines.
    pub const ALL: [(&'static str, Self); 4] = [
        ("auto", Self::Auto),
        ("configfs-tsm", Self::ConfigfsTsm),
        ("sev-guest", Self::SevGuest),
        ("development", Self::Development),
    ];
}

impl FromStr for EvidenceKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|(known, _)| *known == name);
        found.map(|(_, kind)| kind).ok_or_else(|| {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            format!("unknown evidence `{name}`, expected one of {names}")
        })
    }
}

impl fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = Self::ALL.into_iter();
        f.write_str(
            all.find(|(_, kind)| kind == self)
                .map_or("", |(name, _)| name),
        )
    }
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    /// Nothing here can vouch for this machine.
    #[error(
        "this machine offers no evidence: {tsm}, and there is no /dev/sev-guest; run in an SEV-SNP or TDX guest \
         (Linux 6.7 or later, configfs mounted), or use --evidence development to try things out"
    )]
    NoHardware {
        /// Why configfs-tsm is not used.
        tsm: Box<AttestationError>,
    },
    /// The kernel has no configfs-tsm, or configfs is not mounted.
    #[error("there is no {}", .0.display())]
    NoConfigfsTsm(PathBuf),
    /// The provider's interface did not do what it should.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Hardware of a kind that nobody here knows.
    #[error("configfs-tsm has provider `{0}`, expected sev_guest or tdx_guest")]
    UnknownProvider(String),
    /// The hardware or its driver refused.
    #[error("the hardware gave no report: {0}")]
    Refused(String),
    /// A file of the deployment is not what it should be.
    #[error("{file}: {reason}", file = file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The hypervisor's certificates are none.
    #[error(
        "the certificates that came with the report: {0}; give them by `certificates` of the configuration"
    )]
    Certificates(#[from] CertificateTableError),
    /// Clients would refuse every report.
    #[error(
        "no certificates came with the report, and clients accept none without: save the VCEK or VLEK of this processor \
         and the ASK or ASVK as DER files (AMD's key distribution service has them), and name them in `certificates` of \
         the configuration"
    )]
    NoCertificates,
}

/// What comes from files beside the hardware: signed by others, so where it is from does not matter.
#[derive(Clone, Debug, Default)]
pub struct Endorsements {
    /// DER certificates, VCEK or VLEK first; none: what the hypervisor gives.
    pub certificates: Vec<Vec<u8>>,
    /// Intel's collateral; none: the client brings its own.
    pub collateral: Option<Box<TdxCollateral>>,
}

impl Endorsements {
    /// Reads the files that the configuration names.
    pub fn read(
        certificates: &[PathBuf],
        collateral: Option<&Path>,
    ) -> Result<Self, AttestationError> {
        let certificates = certificates.iter().map(|file| read(file));
        let parse = |file: &Path| {
            let bytes = read(file)?;
            TdxCollateral::from_json(&bytes).map_err(|error| AttestationError::File {
                file: file.into(),
                reason: error.to_string(),
            })
        };
        Ok(Self {
            certificates: certificates.collect::<Result<_, _>>()?,
            collateral: collateral.map(parse).transpose()?.map(Box::new),
        })
    }
}

fn read(file: &Path) -> Result<Vec<u8>, AttestationError> {
    std::fs::read(file).map_err(|source| AttestationError::Io {
        what: format!("cannot read {}", file.display()),
        source,
    })
}

/// A provider, chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    ConfigfsTsm,
    SevGuest,
    Development,
}

/// What was asked for; `auto` is what is there, and never development.
///
/// The kernel has the folder of configfs-tsm wherever its module is loaded, on any machine; only a guest with a provider
/// takes a request. So one is made to find out.
fn resolve(kind: EvidenceKind, tsm: &Path, device: &Path) -> Result<Kind, AttestationError> {
    match kind {
        EvidenceKind::ConfigfsTsm => Ok(Kind::ConfigfsTsm),
        EvidenceKind::SevGuest => Ok(Kind::SevGuest),
        EvidenceKind::Development => Ok(Kind::Development),
        EvidenceKind::Auto => match configfs_tsm::probe(tsm) {
            Ok(()) => Ok(Kind::ConfigfsTsm),
            Err(_) if device.exists() => Ok(Kind::SevGuest),
            Err(tsm) => Err(AttestationError::NoHardware { tsm: tsm.into() }),
        },
    }
}

/// Who vouches for this CVM.
pub struct Attester(Provider);

enum Provider {
    ConfigfsTsm(ConfigfsTsm),
    SevGuest(Endorsements),
    Development(Box<Development>),
}

impl Attester {
    /// Chooses and tries the provider, so that a CVM without evidence does not start.
    pub fn open(kind: EvidenceKind, endorsements: Endorsements) -> Result<Self, AttestationError> {
        let tsm = Path::new(configfs_tsm::ROOT);
        let attester = Self(match resolve(kind, tsm, Path::new(sev_guest::DEVICE))? {
            Kind::ConfigfsTsm => Provider::ConfigfsTsm(ConfigfsTsm::new(tsm.into(), endorsements)),
            Kind::SevGuest => Provider::SevGuest(endorsements),
            Kind::Development => Provider::Development(Box::new(Development::new()?)),
        });
        complete(&attester.attest(&[0; 64])?)?;
        Ok(attester)
    }

    /// Asks the hardware. Takes milliseconds, up to seconds where a hypervisor limits the rate.
    fn attest(&self, report_data: &[u8; 64]) -> Result<Attestation, AttestationError> {
        match &self.0 {
            Provider::ConfigfsTsm(tsm) => tsm.attest(report_data),
            Provider::SevGuest(endorsements) => sev_guest::attest(report_data, endorsements),
            Provider::Development(development) => Ok(development.attest(report_data)),
        }
    }

    /// Evidence for these claims.
    pub fn evidence(&self, claims: Claims) -> Result<Evidence, AttestationError> {
        Ok(Evidence {
            format: FORMAT,
            attestation: self.attest(&claims.report_data())?,
            claims,
        })
    }

    /// Whether the evidence proves nothing.
    pub fn is_development(&self) -> bool {
        matches!(self.0, Provider::Development(_))
    }
}

/// Whether clients can follow the evidence to its root: Intel's collateral they may have themselves, AMD's certificates
/// come with the report.
fn complete(attestation: &Attestation) -> Result<(), AttestationError> {
    match attestation {
        Attestation::SevSnp(snp) if snp.certificates.is_empty() => {
            Err(AttestationError::NoCertificates)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
