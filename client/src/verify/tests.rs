//! Binding, claims, development evidence, and random bytes in every place.

use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};
use proptest::prelude::*;
use talaria_evidence::{
    Attestation, Certificate, Claims, DevelopmentAttestation, Evidence, FORMAT, SnpAttestation,
};

use super::snp::{Product, Root};
use super::*;
use crate::verify::snp::test_ca::{Case, NOW};

fn names(appraisal: &Appraisal) -> Vec<String> {
    assert!(!appraisal.passed());
    assert_eq!(appraisal.verified(), None);
    appraisal.refusals().map(Refusal::name).collect()
}

#[test]
fn report_data_binds_every_claim() {
    let case = Case::new();
    let changes: [fn(&mut Claims); 7] = [
        |c| c.nonce[31] ^= 1,
        |c| c.channel_public_key[0] ^= 0x80,
        |c| c.payload_sha256[0] ^= 1,
        |c| c.model_digest[0] ^= 1,
        |c| c.masking.push(' '),
        |c| c.host_configuration_digest[0] ^= 1,
        |c| c.receipt_public_key[0] ^= 1,
    ];
    for change in changes {
        let mut evidence = case.evidence();
        change(&mut evidence.claims);
        assert_eq!(names(&case.verify_evidence(&evidence)), ["report-data"]);
    }
}

#[test]
fn each_claim_must_be_allowed() {
    type Change = fn(&mut Case);
    let changes: [(Change, &str); 5] = [
        (|c| c.nonce = [9; 32], "nonce"),
        (|c| c.claims.payload_sha256 = [9; 32], "payload-not-allowed"),
        (|c| c.claims.model_digest = [9; 32], "model-not-allowed"),
        (
            |c| c.claims.masking = "module-lwe 512x5".into(),
            "masking-not-allowed",
        ),
        (
            |c| c.claims.host_configuration_digest = [9; 32],
            "host-configuration-not-allowed",
        ),
    ];
    for (change, name) in changes {
        let mut case = Case::new();
        change(&mut case);
        assert_eq!(names(&case.verify()), [name]);
    }
}

#[test]
fn without_a_policy_on_claims_only_the_platform_can_be_verified() {
    let mut case = Case::new();
    let snp = case.policy.find("[sev_snp]").unwrap();
    case.policy = format!("version = 1\n{}", &case.policy[snp..]);
    assert_eq!(names(&case.verify()), ["no-claims-policy"]);

    let policy = Policy::from_toml(&case.policy).unwrap();
    let verifier = Verifier::new(&policy, NOW).dangerous_roots(vec![case.root()]);
    let evidence = case.evidence();
    let data = case.claims.report_data();
    let appraisal = verifier.verify_platform(&evidence.attestation, &data);
    assert!(appraisal.passed());
    assert_eq!(appraisal.verified(), None, "claims were not verified");
    let appraisal = verifier.verify_platform(&evidence.attestation, &[0; 64]);
    assert_eq!(names(&appraisal), ["report-data"]);
}

#[test]
fn kind_without_a_section_is_refused() {
    let mut case = Case::new();
    let snp = case.policy.find("[sev_snp]").unwrap();
    case.policy.truncate(snp);
    assert_eq!(names(&case.verify()), ["kind-not-allowed"]);
}

fn development(claims: &Claims) -> Evidence {
    let key = SigningKey::from_slice(&[9; 48]).unwrap();
    let signature: Signature = key.sign(&DevelopmentAttestation::message(&claims.report_data()));
    Evidence {
        format: FORMAT,
        claims: claims.clone(),
        attestation: Attestation::Development(DevelopmentAttestation {
            public_key: key.verifying_key().to_sec1_point(true).as_bytes().to_vec(),
            signature: signature.to_vec(),
        }),
    }
}

#[test]
fn development_evidence_needs_the_flag_and_its_signature() {
    let case = Case::new();
    let policy = Policy::from_toml(&case.policy).unwrap();
    let evidence = development(&case.claims);
    let verify = |evidence: &Evidence, accept| {
        Verifier::new(&policy, NOW)
            .dangerous_accept_development_evidence(accept)
            .verify(evidence, Nonce::Expected(&case.nonce))
    };
    assert_eq!(
        names(&verify(&evidence, false)),
        ["development-not-allowed"]
    );
    assert!(verify(&evidence, true).passed());

    let mut other_claims = evidence.clone();
    other_claims.claims.channel_public_key = [0; 32];
    assert_eq!(
        names(&verify(&other_claims, true)),
        ["development-signature"]
    );
    let mut other_model = case.claims.clone();
    other_model.model_digest = [0; 32];
    let other_model = development(&other_model);
    assert_eq!(names(&verify(&other_model, true)), ["model-not-allowed"]);
}

#[test]
fn the_flag_for_development_evidence_weakens_nothing_else() {
    let mut case = Case::new();
    case.break_report = |report| report[0] ^= 1;
    let policy = Policy::from_toml(&case.policy).unwrap();
    let appraisal = Verifier::new(&policy, NOW)
        .dangerous_roots(vec![case.root()])
        .dangerous_accept_development_evidence(true)
        .verify(&case.evidence(), Nonce::Any);
    assert_eq!(names(&appraisal), ["report-signature"]);
}

const SNP: &[u8] = include_bytes!("../../tests/vectors/milan.evidence.json");
const TDX: &[u8] = include_bytes!("../../tests/vectors/tdx.evidence.json");

/// Verifies hostile evidence of any kind; it must be refused, and nothing may panic.
fn refused(attestation: Attestation) -> bool {
    const POLICY: &str = include_str!("../../tests/vectors/policy.toml");
    let policy = Policy::from_toml(POLICY).unwrap();
    let verifier = Verifier::new(&policy, NOW).dangerous_accept_development_evidence(true);
    !verifier.verify_platform(&attestation, &[0; 64]).passed()
}

/// Valid bytes with a few overwritten, cut short, or made longer.
fn mangled(valid: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let tail = prop::collection::vec(any::<u8>(), 0..8);
    (edits, any::<prop::sample::Index>(), any::<bool>(), tail).prop_map(
        move |(edits, end, cut, tail)| {
            let mut bytes = valid.clone();
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes.extend(tail);
            bytes
        },
    )
}

fn root_der() -> Vec<u8> {
    Root::amd().swap_remove(Product::Milan as usize).certificate
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn hostile_chains_are_refused(
        leaf in prop_oneof![prop::collection::vec(any::<u8>(), 0..200), mangled(root_der())],
        intermediate in mangled(root_der()),
        report in prop::collection::vec(any::<u8>(), 0..1300),
    ) {
        let certificates = vec![Certificate(leaf), Certificate(intermediate)];
        let snp = SnpAttestation { report, certificates };
        prop_assert!(refused(Attestation::SevSnp(snp)));
    }

    #[test]
    fn hostile_json_is_refused(json in prop_oneof![
        mangled(SNP.to_vec()),
        mangled(TDX.to_vec()),
        prop::collection::vec(any::<u8>(), 0..300),
    ]) {
        let evidence = Evidence::from_json(&json);
        prop_assert!(evidence.is_err() || refused(evidence.unwrap().attestation));
        let _ = TdxCollateral::from_json(&json);
    }

    #[test]
    fn hostile_development_evidence_is_refused(
        public_key in prop::collection::vec(any::<u8>(), 0..100),
        signature in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let attestation = DevelopmentAttestation { public_key, signature };
        prop_assert!(refused(Attestation::Development(attestation)));
    }
}
