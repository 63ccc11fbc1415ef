//! `/dev/sev-guest`: the device of SEV-SNP guests, through the `sev` crate.
//!
//! Only the plain report is asked for. The extended one brings certificates as well, which the crate finds by following
//! offsets that the hypervisor chose; they come from files of the deployment instead.

use talaria_evidence::Attestation;

use super::{AttestationError, Endorsements};

pub(super) const DEVICE: &str = "/dev/sev-guest";

#[cfg(target_os = "linux")]
pub(super) fn attest(
    report_data: &[u8; 64],
    endorsements: &Endorsements,
) -> Result<Attestation, AttestationError> {
    use sev::firmware::guest::Firmware;
    use talaria_evidence::{Certificate, SNP_REPORT_BYTES, SnpAttestation};

    let mut firmware = Firmware::open().map_err(|source| AttestationError::Io {
        what: format!("cannot open {DEVICE} (an SEV-SNP guest has it, for root)"),
        source,
    })?;
    // Privilege level 0: the guest itself asks, no paravisor.
    let report = firmware.get_report(None, Some(*report_data), Some(0));
    let mut report = report.map_err(|error| AttestationError::Refused(error.to_string()))?;
    if report.len() < SNP_REPORT_BYTES {
        let short = format!("a report of {} bytes", report.len());
        return Err(AttestationError::Refused(short));
    }
    report.truncate(SNP_REPORT_BYTES);
    let certificates = endorsements.certificates.iter().cloned();
    Ok(Attestation::SevSnp(SnpAttestation {
        report,
        certificates: certificates.map(Certificate).collect(),
    }))
}

#[cfg(not(target_os = "linux"))]
pub fn attest(_: &[u8; 64], _: &Endorsements) -> Result<Attestation, AttestationError> {
    Err(AttestationError::Io {
        what: format!("cannot open {DEVICE}"),
        source: std::io::ErrorKind::Unsupported.into(),
    })
}
