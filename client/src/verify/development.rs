//! Development evidence: a key that vouches for itself. It shows that the parties speak the same protocol,
//! and nothing about who runs what.

use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};
use talaria_evidence::{DevelopmentAttestation, REPORT_DATA_BYTES};

use super::Refusal;
use super::appraisal::{Steps, Stop, ensure};

pub(super) fn appraise(
    attestation: &DevelopmentAttestation,
    report_data: &[u8; REPORT_DATA_BYTES],
    accept: bool,
    steps: &mut Steps,
) -> Result<(), Stop> {
    let allowed = ensure(accept, || Refusal::DevelopmentNotAllowed);
    steps.require("kind of evidence", allowed, |()| {
        "development: NO HARDWARE VOUCHES FOR ANYTHING BELOW".into()
    })?;
    steps.require(
        "self-signature over report_data",
        verify_signature(attestation, report_data),
        |()| format!("by {}", hex::encode(&attestation.public_key)),
    )
}

fn verify_signature(
    attestation: &DevelopmentAttestation,
    report_data: &[u8; REPORT_DATA_BYTES],
) -> Result<(), Refusal> {
    let wrong = |_| Refusal::DevelopmentSignature;
    let key = VerifyingKey::from_sec1_bytes(&attestation.public_key).map_err(wrong)?;
    let signature = Signature::from_slice(&attestation.signature).map_err(wrong)?;
    key.verify(&DevelopmentAttestation::message(report_data), &signature)
        .map_err(wrong)
}
