//! AMD SEV-SNP: a report of the secure processor, signed by a key that AMD certifies.
//!
//! Specifications: AMD 56860, SEV Secure Nested Paging Firmware ABI (tables ATTESTATION_REPORT, TCB_VERSION,
//! guest policy, signature format); AMD 57230, VCEK Certificate and KDS Interface (certificate extensions).

mod certificate;
mod chain;
mod policy;
mod report;
mod roots;
mod tcb;
#[cfg(test)]
pub(crate) mod test_ca;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use talaria_evidence::{REPORT_DATA_BYTES, SnpAttestation};

use chain::Endorsement;
use report::Report;
pub use roots::{Product, Root};
pub use tcb::Tcb;

use super::appraisal::{Steps, Stop, check_report_data};
use crate::policy::SnpPolicy;
use crate::time::UnixTime;

/// The key that signs reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SigningKey {
    /// Versioned chip endorsement key: of one chip at one TCB.
    Vcek,
    /// Versioned loaded endorsement key: of a cloud provider at one TCB, no chip named.
    Vlek,
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SigningKey::Vcek => "VCEK",
            SigningKey::Vlek => "VLEK",
        })
    }
}

/// What a report says, once its signatures were verified: for a first look.
pub(super) struct Shown {
    pub product: Product,
    pub signing_key: SigningKey,
    pub provider: Option<String>,
    pub measurement: [u8; 48],
    pub guest_svn: u32,
    pub vmpl: u32,
    pub migration: bool,
    pub smt: bool,
    /// The hypervisor cannot read the guest's ciphertext.
    pub ciphertext_hiding: bool,
    /// The least of each component.
    pub oldest_tcb: Tcb,
}

/// Verifies chain and report, and nothing against any policy.
pub(super) fn look(
    attestation: &SnpAttestation,
    roots: &[Root],
    now: UnixTime,
    steps: &mut Steps,
) -> Result<Shown, Stop> {
    let endorsement = chain::appraise(&attestation.certificates, roots, now, steps)?;
    let report = report::appraise(&attestation.report, &endorsement, steps)?;
    let product = endorsement.product;
    let bits = report.guest_policy();
    let tcbs = [report.committed_tcb(), report.launch_tcb()];
    let tcbs = tcbs.map(|bytes| Tcb::from_report(product, bytes));
    Ok(Shown {
        product,
        signing_key: endorsement.signing_key,
        provider: endorsement.provider.clone(),
        measurement: report.measurement(),
        guest_svn: report.guest_svn(),
        vmpl: report.vmpl(),
        migration: bits & policy::POLICY_MIGRATE_MA != 0,
        smt: bits & policy::POLICY_SMT != 0,
        ciphertext_hiding: report.platform_info() & policy::PLATFORM_CIPHERTEXT_HIDING != 0,
        oldest_tcb: tcbs.iter().fold(endorsement.tcb, Tcb::least),
    })
}

/// Chain, report, binding, policy: in this order, since each rests on the one before.
pub(super) fn appraise(
    attestation: &SnpAttestation,
    report_data: &[u8; REPORT_DATA_BYTES],
    policy: &SnpPolicy,
    roots: &[Root],
    now: UnixTime,
    steps: &mut Steps,
) -> Result<(), Stop> {
    let endorsement = chain::appraise(&attestation.certificates, roots, now, steps)?;
    let report = report::appraise(&attestation.report, &endorsement, steps)?;
    let bound = check_report_data(&report.report_data(), report_data);
    steps.require("report_data", bound, |()| hex::encode(report_data))?;
    policy::appraise(&report, &endorsement, policy, steps);
    Ok(())
}
