//! Linux's configfs-tsm: one interface to the attestation of SEV-SNP and TDX.
//!
//! A directory made in `/sys/kernel/config/tsm/report` is a request: `report_data` is written to `inblob`, the report is read
//! from `outblob`, certificates (SEV-SNP) from `auxblob`. `generation` counts writes, so that a report is known to be for
//! what was written and not for what somebody else wrote meanwhile.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use talaria_evidence::{
    Attestation, Certificate, MAX_QUOTE_BYTES, SNP_REPORT_BYTES, SnpAttestation, TdxAttestation,
    certificate_table,
};

use super::{AttestationError, Endorsements};

/// Where the kernel has it.
pub(super) const ROOT: &str = "/sys/kernel/config/tsm/report";

/// A report for what others wrote is asked for again so often.
const ATTEMPTS: usize = 5;

pub(super) struct ConfigfsTsm {
    root: PathBuf,
    endorsements: Endorsements,
    /// The same for every report of a boot, and slow to get on some platforms.
    certificates: OnceLock<Vec<Certificate>>,
    requests: AtomicU64,
}

/// Whether requests can be made in `root`: none can without a provider, though the folder may be there.
pub(super) fn probe(root: &Path) -> Result<(), AttestationError> {
    if !root.is_dir() {
        return Err(AttestationError::NoConfigfsTsm(root.into()));
    }
    let name = format!("talaria-{}-probe", std::process::id());
    Directory::create(root.join(name)).map(drop)
}

/// What one request brought.
struct Answer {
    provider: String,
    report: Vec<u8>,
    /// Empty where the platform has none.
    auxiliary: Vec<u8>,
}

impl ConfigfsTsm {
    pub(super) fn new(root: PathBuf, endorsements: Endorsements) -> Self {
        Self {
            root,
            endorsements,
            certificates: OnceLock::new(),
            requests: AtomicU64::new(0),
        }
    }

    pub(super) fn attest(&self, report_data: &[u8; 64]) -> Result<Attestation, AttestationError> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let name = format!("talaria-{}-{number}", std::process::id());
        let request = Directory::create(self.root.join(name))?;
        self.interpret(ask(&request, report_data)?)
    }

    fn interpret(&self, answer: Answer) -> Result<Attestation, AttestationError> {
        match answer.provider.as_str() {
            "sev_guest" => self.snp(answer),
            "tdx_guest" => self.tdx(answer),
            other => Err(AttestationError::UnknownProvider(other.into())),
        }
    }

    fn snp(&self, answer: Answer) -> Result<Attestation, AttestationError> {
        // Since Linux 6.14 padding may follow.
        let report = answer.report.get(..SNP_REPORT_BYTES);
        let report = report.ok_or_else(|| wrong_length(answer.report.len()))?;
        let certificates = match self.certificates.get() {
            Some(certificates) => certificates.clone(),
            None => {
                let certificates = self.chain(&answer.auxiliary)?;
                self.certificates.get_or_init(|| certificates).clone()
            }
        };
        Ok(Attestation::SevSnp(SnpAttestation {
            report: report.to_vec(),
            certificates,
        }))
    }

    fn chain(&self, auxiliary: &[u8]) -> Result<Vec<Certificate>, AttestationError> {
        let given = &self.endorsements.certificates;
        match given.is_empty() && !auxiliary.is_empty() {
            true => Ok(certificate_table(auxiliary)?),
            false => Ok(given.iter().cloned().map(Certificate).collect()),
        }
    }

    fn tdx(&self, answer: Answer) -> Result<Attestation, AttestationError> {
        if answer.report.len() > MAX_QUOTE_BYTES {
            return Err(wrong_length(answer.report.len()));
        }
        Ok(Attestation::Tdx(TdxAttestation {
            quote: answer.report,
            collateral: self.endorsements.collateral.clone(),
        }))
    }
}

fn wrong_length(bytes: usize) -> AttestationError {
    AttestationError::Refused(format!("a report of {bytes} bytes"))
}

/// The files of a request.
trait Entry {
    fn read(&self, file: &str) -> Result<Vec<u8>, AttestationError>;
    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), AttestationError>;
}

fn ask(entry: &impl Entry, report_data: &[u8; 64]) -> Result<Answer, AttestationError> {
    for _ in 0..ATTEMPTS {
        let before = generation(entry)?;
        entry.write("inblob", report_data)?;
        let answer = Answer {
            provider: text(&entry.read("provider")?),
            report: entry.read("outblob")?,
            // Absent or empty: no certificates.
            auxiliary: entry.read("auxblob").unwrap_or_default(),
        };
        // One write: ours. Anything else and the report may be for another's data.
        if generation(entry)? == before.wrapping_add(1) {
            return Ok(answer);
        }
    }
    let busy = "others kept writing to the same request of configfs-tsm";
    Err(AttestationError::Refused(busy.into()))
}

fn generation(entry: &impl Entry) -> Result<u64, AttestationError> {
    let text = text(&entry.read("generation")?);
    let number = text.parse();
    number.map_err(|_| AttestationError::Refused(format!("generation `{text}` is no number")))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().into()
}

/// A directory of configfs, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn create(path: PathBuf) -> Result<Self, AttestationError> {
        let created = std::fs::create_dir(&path);
        created.map_err(|source| AttestationError::Io {
            what: format!(
                "cannot make {} (configfs has to be mounted, the guest's driver of SEV-SNP or TDX loaded, and this process to run as root)",
                path.display()
            ),
            source,
        })?;
        Ok(Self(path))
    }

    fn failed(&self, file: &str, source: std::io::Error) -> AttestationError {
        AttestationError::Io {
            what: format!("configfs-tsm, {}", self.0.join(file).display()),
            source,
        }
    }
}

impl Entry for Directory {
    fn read(&self, file: &str) -> Result<Vec<u8>, AttestationError> {
        std::fs::read(self.0.join(file)).map_err(|source| self.failed(file, source))
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), AttestationError> {
        // Attributes of configfs exist already and take their content in one write.
        let written = std::fs::OpenOptions::new()
            .write(true)
            .open(self.0.join(file));
        let written = written.and_then(|mut open| open.write_all(bytes));
        written.map_err(|source| self.failed(file, source))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Only costs a directory entry until the next boot if it fails.
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests;
