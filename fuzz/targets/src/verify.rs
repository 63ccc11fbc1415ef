//! Verification of evidence that anybody could have made, at a fixed time.

use std::sync::LazyLock;

use talaria_client::policy::Policy;
use talaria_client::time::UnixTime;
use talaria_client::verify::{Nonce, Verifier};
use talaria_evidence::{
    Attestation, Certificate, Evidence, REPORT_DATA_BYTES, SnpAttestation, TdxAttestation,
    TdxCollateral,
};

use crate::Seed;
use crate::evidence::COLLATERAL;
use crate::parts::{join, parts};
use crate::policy::{CLAIMS, VECTORS};

const MILAN: &[u8] = include_bytes!("../../../client/tests/vectors/milan.evidence.json");
const QUOTE: &[u8] = include_bytes!("../../../client/tests/vectors/tdx_quote");

/// When the vectors are valid.
const NOW: UnixTime = UnixTime(1_750_329_147);
/// Where report_data is in an SEV-SNP report, and how much of the report is signed.
const SNP_REPORT_DATA: usize = 0x50;
const SNP_SIGNED_BYTES: usize = 0x2a0;
/// Where report_data is in a quote of version 4; header and TD report, which are signed.
const TDX_REPORT_DATA: usize = 568;
const TDX_SIGNED_BYTES: usize = 632;

static POLICY: LazyLock<Policy> = LazyLock::new(|| parse(VECTORS));
/// Also allows the claims of the seeds.
static POLICY_ON_CLAIMS: LazyLock<Policy> = LazyLock::new(|| parse(&[VECTORS, CLAIMS].concat()));

fn parse(text: &str) -> Policy {
    Policy::from_toml(text).expect("a policy of this repository")
}

/// [`Verifier::verify`] on evidence as it came: nothing but development evidence vouches for claims here, as the
/// hardware of the vectors was asked for other report_data, and for the claims that it came with.
pub fn evidence(data: &[u8]) {
    let Ok(evidence) = Evidence::from_json(data) else {
        return;
    };
    let verifier = Verifier::new(&POLICY_ON_CLAIMS, NOW);
    let strict = verifier.verify(&evidence, Nonce::Any);
    assert!(!strict.passed() && strict.verified().is_none());
    let lenient = verifier.dangerous_accept_development_evidence(true);
    let appraisal = lenient.verify(&evidence, Nonce::Any);
    if let Some(verified) = appraisal.verified() {
        assert!(matches!(evidence.attestation, Attestation::Development(_)));
        assert_eq!(*verified.claims(), evidence.claims);
    }
}

/// An SEV-SNP report, then certificates, as parts: passes only with what AMD's key signed.
pub fn snp(data: &[u8]) {
    let mut parts = parts(data).into_iter();
    let report = parts.next().unwrap_or_default().to_vec();
    let certificates = parts.map(|der| Certificate(der.to_vec())).collect();
    let signed = report.get(..SNP_SIGNED_BYTES).map(<[u8]>::to_vec);
    let report_data = bytes_at(&report, SNP_REPORT_DATA);
    let attestation = Attestation::SevSnp(SnpAttestation {
        report,
        certificates,
    });
    if passes(&attestation, &report_data) {
        assert_eq!(signed.as_deref(), Some(&milan().report[..SNP_SIGNED_BYTES]));
    }
}

/// A TDX quote against Intel's collateral, and against none: passes only with what Intel's enclave signed.
pub fn quote(data: &[u8]) {
    let report_data = bytes_at(data, TDX_REPORT_DATA);
    let attestation = |collateral| {
        Attestation::Tdx(TdxAttestation {
            quote: data.to_vec(),
            collateral,
        })
    };
    assert!(!passes(&attestation(None), &report_data));
    if passes(
        &attestation(Some(Box::new(vector_collateral()))),
        &report_data,
    ) {
        assert_eq!(data[..TDX_SIGNED_BYTES], QUOTE[..TDX_SIGNED_BYTES]);
    }
}

/// Collateral for a good quote: passes only with what Intel signed.
pub fn collateral(data: &[u8]) {
    let Ok(collateral) = TdxCollateral::from_json(data) else {
        return;
    };
    let signed = [&collateral.tcb_info, &collateral.qe_identity].map(String::clone);
    let attestation = Attestation::Tdx(TdxAttestation {
        quote: QUOTE.to_vec(),
        collateral: Some(Box::new(collateral)),
    });
    if passes(&attestation, &bytes_at(QUOTE, TDX_REPORT_DATA)) {
        let vector = vector_collateral();
        assert_eq!(signed, [vector.tcb_info, vector.qe_identity]);
    }
}

fn passes(attestation: &Attestation, report_data: &[u8; REPORT_DATA_BYTES]) -> bool {
    let verifier = Verifier::new(&POLICY, NOW);
    let appraisal = verifier.verify_platform(attestation, report_data);
    assert!(appraisal.verified().is_none());
    appraisal.passed()
}

/// Zeros where there are none.
fn bytes_at<const N: usize>(data: &[u8], at: usize) -> [u8; N] {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk());
    bytes.copied().unwrap_or([0; N])
}

fn vector_collateral() -> TdxCollateral {
    TdxCollateral::from_json(COLLATERAL).expect("the client's vector")
}

fn milan() -> SnpAttestation {
    let evidence = Evidence::from_json(MILAN).expect("the client's vector");
    match evidence.attestation {
        Attestation::SevSnp(snp) => snp,
        other => panic!("evidence of {}", other.kind()),
    }
}

/// A report with its whole chain, without the root, and alone.
pub fn snp_seeds() -> Vec<Seed> {
    let SnpAttestation {
        report,
        certificates,
    } = milan();
    let chain = certificates.into_iter().map(|Certificate(der)| der);
    let parts: Vec<_> = std::iter::once(report).chain(chain).collect();
    vec![
        Seed::new("chain", join(&parts)),
        Seed::new("without-last", join(&parts[..parts.len() - 1])),
        Seed::new("alone", join(&parts[..1])),
    ]
}

/// The client's vector.
pub fn quote_seeds() -> Vec<Seed> {
    vec![Seed::new("quote", QUOTE)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_pass() {
        let snp = Attestation::SevSnp(milan());
        assert!(passes(&snp, &bytes_at(&milan().report, SNP_REPORT_DATA)));
        let tdx = Attestation::Tdx(TdxAttestation {
            quote: QUOTE.to_vec(),
            collateral: Some(Box::new(vector_collateral())),
        });
        assert!(passes(&tdx, &bytes_at(QUOTE, TDX_REPORT_DATA)));
        let verifier = Verifier::new(&POLICY_ON_CLAIMS, NOW);
        let lenient = verifier.dangerous_accept_development_evidence(true);
        let appraisal = lenient.verify(&crate::evidence::development(), Nonce::Any);
        let refusals: Vec<_> = appraisal.refusals().collect();
        assert!(appraisal.verified().is_some(), "{refusals:?}");
    }
}
