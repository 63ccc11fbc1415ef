use super::test_ca::{Case, NOW, YEAR, authority, ia5, keys};
use super::*;
use crate::time::UnixTime;
use crate::verify::appraisal::Steps;
use crate::verify::flips::assert_every_flip_refused;
use der::Encode;
use talaria_evidence::{Attestation, Evidence};
use x509_cert::ext::pkix::KeyUsages;

const REPORT: &str = include_str!("../../../tests/vectors/report_milan.hex");
const VCEK: &[u8] = include_bytes!("../../../tests/vectors/vcek_milan.der");
const CHAIN: &[u8] = include_bytes!("../../../tests/vectors/cert_chain_milan");
const EVIDENCE: &[u8] = include_bytes!("../../../tests/vectors/milan.evidence.json");

/// 2024-01-01T00:00:00Z, at which the vector's certificates are valid.
const THEN: UnixTime = UnixTime(1_704_067_200);

fn vector() -> SnpAttestation {
    snp_of(Evidence::from_json(EVIDENCE).unwrap())
}

fn snp_of(evidence: Evidence) -> SnpAttestation {
    match evidence.attestation {
        Attestation::SevSnp(snp) => snp,
        other => panic!("{}", other.kind()),
    }
}

fn vector_endorsement() -> Endorsement {
    let certificates = vector().certificates;
    chain::appraise(&certificates, &Root::amd(), THEN, &mut Steps::default()).unwrap()
}

/// Name of the first refusal after `change`.
fn refusal(change: impl FnOnce(&mut Case)) -> String {
    let mut case = Case::new();
    change(&mut case);
    first_refusal(&case)
}

fn first_refusal(case: &Case) -> String {
    let appraisal = case.verify();
    assert!(!appraisal.passed());
    assert_eq!(appraisal.verified(), None);
    appraisal.refusals().next().unwrap().name()
}

#[test]
fn vector_of_real_hardware_verifies() {
    let snp = vector();
    assert_eq!(snp.report, hex::decode(REPORT.trim()).unwrap());
    let chain = x509_cert::Certificate::load_pem_chain(CHAIN).unwrap();
    let chain: Vec<Vec<u8>> = chain.iter().map(|c| c.to_der().unwrap()).collect();
    let found: Vec<&[u8]> = snp.certificates.iter().map(|c| c.0.as_slice()).collect();
    assert_eq!(found, [VCEK, &chain[0], &chain[1]]);

    let endorsement = vector_endorsement();
    assert_eq!(endorsement.product, Product::Milan);
    assert_eq!(endorsement.signing_key, SigningKey::Vcek);
    let report = report::appraise(&snp.report, &endorsement, &mut Steps::default()).unwrap();
    let tcb = Tcb::from_report(Product::Milan, report.reported_tcb());
    assert_eq!(
        tcb.to_string(),
        "boot loader 3, TEE 0, SNP 8, microcode 115"
    );
}

#[test]
fn every_flipped_bit_of_the_vectors_report_is_refused() {
    let endorsement = vector_endorsement();
    let bytes = vector().report;
    let all: Vec<usize> = (0..bytes.len()).collect();
    assert_every_flip_refused(&bytes, &all, |b| report::verify(b, &endorsement).is_ok());
}

#[test]
fn every_flipped_bit_of_the_vectors_certificates_is_refused() {
    let certificates = vector().certificates;
    for (i, original) in certificates.iter().enumerate() {
        let all: Vec<usize> = (0..original.0.len()).collect();
        assert_every_flip_refused(&original.0, &all, |der| {
            let mut chain = certificates.clone();
            chain[i].0 = der.to_vec();
            chain::appraise(&chain, &Root::amd(), THEN, &mut Steps::default()).is_ok()
        });
    }
}

#[test]
fn built_in_roots_are_signed_by_themselves() {
    for root in Root::amd() {
        let certificate = certificate::Certificate::parse("ARK", &root.certificate).unwrap();
        certificate.check_issued_by(&certificate).unwrap();
        certificate.check_is_authority().unwrap();
        assert_eq!(certificate.common_name(), format!("ARK-{}", root.product));
    }
}

#[test]
fn every_product_and_key_passes_with_binding() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        for key in ["VCEK", "VLEK"] {
            let mut case = Case::of(product, key);
            case.given_root = Some(case.root().certificate);
            let appraisal = case.verify();
            assert!(
                appraisal.passed(),
                "{product} {key}: {:#?}",
                appraisal.steps()
            );
            assert_eq!(appraisal.verified().unwrap().claims(), &case.claims);
        }
    }
}

#[test]
fn every_flipped_bit_of_a_bound_report_is_refused() {
    let case = Case::new();
    let snp = snp_of(case.evidence());
    let roots = [case.root()];
    let endorsement =
        chain::appraise(&snp.certificates, &roots, NOW, &mut Steps::default()).unwrap();
    let all: Vec<usize> = (0..snp.report.len()).collect();
    assert_every_flip_refused(&snp.report, &all, |b| {
        report::verify(b, &endorsement).is_ok()
    });
}

// One test for each named refusal of certificates.

#[test]
fn certificate_count() {
    assert_eq!(
        refusal(|c| c.break_chain = |chain| chain.truncate(1)),
        "certificate-count"
    );
    assert_eq!(refusal(|c| c.break_chain = Vec::clear), "certificate-count");
}

#[test]
fn certificate_malformed() {
    assert_eq!(
        refusal(|c| c.break_chain = |chain| chain[0].0.push(0)),
        "certificate-malformed"
    );
    assert_eq!(
        refusal(|c| c.leaf.key = c.intermediate.key.clone()),
        "certificate-malformed"
    );
    let twice = |c: &mut Case| c.leaf.extensions.push(c.leaf.extensions[0].clone());
    assert_eq!(refusal(twice), "certificate-malformed");
    let critical = |c: &mut Case| c.leaf.extensions[0].critical = true;
    assert_eq!(refusal(critical), "certificate-malformed");
}

#[test]
fn root_unknown() {
    assert_eq!(
        refusal(|c| c.intermediate.issuer = "CN=ARK-Rome".into()),
        "root-unknown"
    );
}

#[test]
fn root_not_pinned() {
    let other_root = |c: &mut Case| {
        let mut other = c.root.clone();
        other.until += 1;
        c.given_root = Some(other.issue(&keys().root));
    };
    assert_eq!(refusal(other_root), "root-not-pinned");
}

#[test]
fn a_self_made_chain_under_amds_names_is_refused() {
    let mut case = Case::new();
    let amd = x509_name(&Root::amd()[0]);
    case.root.subject = amd.clone();
    case.root.issuer = amd.clone();
    case.intermediate.issuer = amd;
    let policy = crate::policy::Policy::from_toml(&case.policy).unwrap();
    let appraisal = crate::verify::Verifier::new(&policy, NOW)
        .verify(&case.evidence(), crate::verify::Nonce::Any);
    let refusals: Vec<String> = appraisal.refusals().map(|r| r.name()).collect();
    assert_eq!(refusals, ["certificate-signature"]);
}

fn x509_name(root: &Root) -> String {
    let certificate = certificate::Certificate::parse("ARK", &root.certificate).unwrap();
    certificate.subject().to_string()
}

#[test]
fn certificate_not_yet_valid() {
    let early = |c: &mut Case| c.now = UnixTime(NOW.0 - YEAR - 1);
    assert_eq!(refusal(early), "certificate-not-yet-valid");
    assert_eq!(
        refusal(|c| c.intermediate.from = NOW.0 + 1),
        "certificate-not-yet-valid"
    );
    assert_eq!(
        refusal(|c| c.leaf.from = NOW.0 + 1),
        "certificate-not-yet-valid"
    );
    let mut case = Case::new();
    case.leaf.from = NOW.0;
    assert!(case.verify().passed());
}

#[test]
fn certificate_expired() {
    let late = |c: &mut Case| c.now = UnixTime(NOW.0 + YEAR + 1);
    assert_eq!(refusal(late), "certificate-expired");
    assert_eq!(
        refusal(|c| c.intermediate.until = NOW.0 - 1),
        "certificate-expired"
    );
    assert_eq!(refusal(|c| c.leaf.until = NOW.0 - 1), "certificate-expired");
    let mut case = Case::new();
    case.leaf.until = NOW.0;
    assert!(case.verify().passed());
}

#[test]
fn certificate_name() {
    assert_eq!(
        refusal(|c| c.leaf.issuer = "CN=SEV-Genoa".into()),
        "certificate-name"
    );
    assert_eq!(
        refusal(|c| c.leaf.subject = "CN=SEV-VLEK".into()),
        "certificate-name"
    );
    let other = |c: &mut Case| {
        c.intermediate.subject = "CN=SEV-Genoa".into();
        c.leaf.issuer = "CN=SEV-Genoa".into();
    };
    assert_eq!(refusal(other), "certificate-name");
}

#[test]
fn certificate_usage() {
    let not_ca =
        |c: &mut Case| c.intermediate.extensions = authority(false, KeyUsages::KeyCertSign);
    assert_eq!(refusal(not_ca), "certificate-usage");
    let crl_only = |c: &mut Case| c.intermediate.extensions = authority(true, KeyUsages::CRLSign);
    assert_eq!(refusal(crl_only), "certificate-usage");
    assert_eq!(
        refusal(|c| c.intermediate.extensions.clear()),
        "certificate-usage"
    );
    let leaf_is_ca = |c: &mut Case| {
        c.leaf
            .extensions
            .extend(authority(true, KeyUsages::KeyCertSign));
    };
    assert_eq!(refusal(leaf_is_ca), "certificate-usage");
}

#[test]
fn certificate_signature() {
    assert_eq!(
        refusal(|c| c.break_chain = |chain| *chain[0].0.last_mut().unwrap() ^= 1),
        "certificate-signature"
    );
    assert_eq!(
        refusal(|c| c.break_chain = |chain| *chain[1].0.last_mut().unwrap() ^= 1),
        "certificate-signature"
    );
}

#[test]
fn certificate_extension() {
    for suffix in ["2", "3.1", "3.2", "3.3", "3.8", "4"] {
        let oid = format!("1.3.6.1.4.1.3704.1.{suffix}");
        assert_eq!(
            refusal(|c| c.leaf.set(&oid, None)),
            "certificate-extension",
            "{oid}"
        );
        assert_eq!(
            refusal(|c| c.leaf.set(&oid, Some(vec![4, 0]))),
            "certificate-extension",
            "{oid}"
        );
    }
    let mut turin = Case::of(Product::Turin, "VCEK");
    turin.leaf.set("1.3.6.1.4.1.3704.1.3.9", None);
    assert_eq!(first_refusal(&turin), "certificate-extension");
}

#[test]
fn certificate_product() {
    let genoa = |c: &mut Case| c.leaf.set("1.3.6.1.4.1.3704.1.2", Some(ia5("Genoa-B1")));
    assert_eq!(refusal(genoa), "certificate-product");
    let mut siena = Case::of(Product::Genoa, "VCEK");
    siena
        .leaf
        .set("1.3.6.1.4.1.3704.1.2", Some(ia5("Siena-B1")));
    assert!(siena.verify().passed());
}

// One test for each named refusal of reports.

#[test]
fn report_version() {
    for version in [0u32, 1, 6, u32::MAX] {
        assert_eq!(
            refusal(|c| c.set(0, &version.to_le_bytes())),
            "report-version"
        );
    }
}

#[test]
fn report_signature_algorithm() {
    assert_eq!(
        refusal(|c| c.set(0x034, &[2])),
        "report-signature-algorithm"
    );
}

#[test]
fn report_signature_padding() {
    for at in [0x2a0 + 48, 0x2a0 + 71, 0x2e8 + 48, 0x2e8 + 71, 0x330, 0x49f] {
        let case = Case::new();
        let mut evidence = case.evidence();
        let Attestation::SevSnp(snp) = &mut evidence.attestation else {
            panic!("not SEV-SNP")
        };
        snp.report[at] = 1;
        let appraisal = case.verify_evidence(&evidence);
        let name = appraisal.refusals().next().unwrap().name();
        assert_eq!(name, "report-signature-padding", "{at:#x}");
    }
}

#[test]
fn report_signature() {
    assert_eq!(
        refusal(|c| c.break_report = |r| r[0x90] ^= 1),
        "report-signature"
    );
    assert_eq!(
        refusal(|c| c.break_report = |r| r[0x2a0] ^= 1),
        "report-signature"
    );
    let zero_r = |c: &mut Case| c.break_report = |r| r[0x2a0..0x2d0].fill(0);
    assert_eq!(refusal(zero_r), "report-signature");
    let large_s = |c: &mut Case| c.break_report = |r| r[0x2e8..0x318].fill(0xff);
    assert_eq!(refusal(large_s), "report-signature");
}

#[test]
fn report_signing_key() {
    assert_eq!(refusal(|c| c.set(0x048, &[1 << 2])), "report-signing-key");
    assert_eq!(refusal(|c| c.set(0x048, &[7 << 2])), "report-signing-key");
}

#[test]
fn report_tcb() {
    assert_eq!(refusal(|c| c.set(0x187, &[201])), "report-tcb");
    let certified_for_less = |c: &mut Case| {
        c.leaf
            .set("1.3.6.1.4.1.3704.1.3.8", Some(199u8.to_der().unwrap()));
    };
    assert_eq!(refusal(certified_for_less), "report-tcb");
}

#[test]
fn report_chip() {
    assert_eq!(refusal(|c| c.set(0x1a0, &[0])), "report-chip");
    let mut turin = Case::of(Product::Turin, "VCEK");
    turin.set(0x1a8, &[1]);
    assert_eq!(first_refusal(&turin), "report-chip");
}

#[test]
fn report_cpu() {
    assert_eq!(refusal(|c| c.set(0x189, &[0x10])), "report-cpu");
    assert_eq!(refusal(|c| c.set(0x188, &[0x1a])), "report-cpu");
    // Version 2 does not say.
    let mut case = Case::new();
    case.set(0, &2u32.to_le_bytes());
    case.set(0x188, &[0, 0, 0]);
    assert!(case.verify().passed());
}

// One test for each named refusal by policy.

/// Name of the first refusal after replacing text of the policy.
fn refusal_by(from: &str, to: &str) -> String {
    refusal(|c| {
        assert!(c.policy.contains(from));
        c.policy = c.policy.replace(from, to);
    })
}

#[test]
fn product_not_allowed() {
    assert_eq!(
        refusal_by("minimum_tcb.Milan", "minimum_tcb.Genoa"),
        "product-not-allowed"
    );
}

#[test]
fn signing_key_not_allowed() {
    assert_eq!(
        refusal_by(r#"["vcek", "vlek"]"#, r#"["vlek"]"#),
        "signing-key-not-allowed"
    );
    let mut case = Case::of(Product::Milan, "VLEK");
    case.policy = case
        .policy
        .replace("signing_keys = [\"vcek\", \"vlek\"]\n", "");
    assert_eq!(first_refusal(&case), "signing-key-not-allowed");
}

#[test]
fn provider_not_allowed() {
    let csp_id = "1.3.6.1.4.1.3704.1.5";
    let mut case = Case::of(Product::Genoa, "VLEK");
    case.leaf.set(csp_id, Some(ia5("Another")));
    assert_eq!(first_refusal(&case), "provider-not-allowed");
    case.leaf.set(csp_id, None);
    assert_eq!(first_refusal(&case), "certificate-extension");
}

#[test]
fn tcb_too_old() {
    for (from, to) in [
        ("boot_loader = 3", "boot_loader = 4"),
        ("tee = 1", "tee = 2"),
        ("snp = 9", "snp = 10"),
        ("microcode = 200", "microcode = 201"),
    ] {
        assert_eq!(refusal_by(from, to), "tcb-too-old");
    }
    // The certified TCB is new enough, but the platform could go back, or the guest began under an old one.
    for offset in [0x1e0, 0x1f0] {
        assert_eq!(refusal(|c| c.set(offset, &[2])), "tcb-too-old");
    }
}

#[test]
fn measurement_not_allowed() {
    assert_eq!(refusal(|c| c.set(0x090, &[0])), "measurement-not-allowed");
}

#[test]
fn debug() {
    let bits = (1u64 << 17) | (1 << 19);
    assert_eq!(refusal(|c| c.set(0x008, &bits.to_le_bytes())), "debug");
}

#[test]
fn migration() {
    let migratable = |c: &mut Case| c.set(0x008, &((1u64 << 17) | (1 << 18)).to_le_bytes());
    assert_eq!(refusal(migratable), "migration");
    let mut case = Case::new();
    migratable(&mut case);
    case.policy += "allow_migration = true\n";
    assert!(case.verify().passed());
}

#[test]
fn smt() {
    let threads = |c: &mut Case| c.set(0x008, &((1u64 << 17) | (1 << 16)).to_le_bytes());
    assert_eq!(refusal(threads), "smt");
    let mut case = Case::new();
    threads(&mut case);
    case.policy += "allow_smt = true\n";
    assert!(case.verify().passed());
}

#[test]
fn vmpl_not_allowed() {
    assert_eq!(refusal(|c| c.set(0x030, &[1])), "vmpl-not-allowed");
    let mut case = Case::new();
    case.set(0x030, &[1]);
    case.policy += "vmpls = [0, 1]\n";
    assert!(case.verify().passed());
}

#[test]
fn chip_not_allowed() {
    let pin = |byte: u8| format!("chip_ids = [\"{}\"]\n", hex::encode([byte; 64]));
    assert_eq!(refusal(|c| c.policy += &pin(0xc6)), "chip-not-allowed");
    let mut case = Case::new();
    case.policy += &pin(0xc5);
    assert!(case.verify().passed());
}

#[test]
fn host_data_not_allowed() {
    assert_eq!(refusal(|c| c.set(0x0c0, &[0])), "host-data-not-allowed");
}

#[test]
fn id_key_not_allowed() {
    assert_eq!(refusal(|c| c.set(0x0e0, &[0])), "id-key-not-allowed");
}

#[test]
fn guest_svn_too_old() {
    assert_eq!(refusal(|c| c.set(0x004, &[4])), "guest-svn-too-old");
}

#[test]
fn alias_check_and_ciphertext_hiding() {
    assert_eq!(
        refusal(|c| c.policy += "require_alias_check = true\n"),
        "alias-check"
    );
    assert_eq!(
        refusal(|c| c.policy += "require_ciphertext_hiding = true\n"),
        "ciphertext-hiding"
    );
    let mut case = Case::new();
    case.set(0x040, &[(1 << 4) | (1 << 5)]);
    case.policy += "require_alias_check = true\nrequire_ciphertext_hiding = true\n";
    assert!(case.verify().passed());
}

/// What the hypervisor can read of ciphertext tells it which blocks of memory changed.
#[test]
fn ciphertext_hiding_is_demanded_of_a_product_that_can() {
    let verified = |hides: bool, policy: &str| {
        let mut turin = Case::of(Product::Turin, "VCEK");
        turin.set(0x040, &[u8::from(hides) << 4]);
        turin.policy += policy;
        turin.verify().passed()
    };
    assert!(verified(true, ""));
    assert!(!verified(false, ""));
    assert!(verified(false, "require_ciphertext_hiding = false\n"));
    assert!(Case::new().verify().passed(), "Milan cannot");
}

#[test]
fn all_policy_defects_are_shown_at_once() {
    let mut case = Case::new();
    case.set(0x030, &[3]);
    case.set(0x090, &[0]);
    case.claims.model_digest = [0; 32];
    let names: Vec<String> = case.verify().refusals().map(|r| r.name()).collect();
    assert_eq!(
        names,
        [
            "measurement-not-allowed",
            "vmpl-not-allowed",
            "model-not-allowed"
        ]
    );
}
