use talaria_wire::evidence::{Certificate, MAX_CERTIFICATE_BYTES};

use super::*;

pub const VCEK: &str = "63da758de6644564adc5f4b93be8accd";
const VLEK: &str = "a8074bc2a25a483eaae639c045a0b8a1";
const ASK: &str = "4ab7b379bbac4fe4a02f05aef327c782";
const ARK: &str = "c0b406a4a803495297433fb6014cd0ae";

/// A table as a hypervisor makes it.
pub fn table(certificates: &[(&str, &[u8])]) -> Vec<u8> {
    let mut offset = 24 * (certificates.len() + 1);
    let (mut entries, mut contents) = (Vec::new(), Vec::new());
    for (guid, content) in certificates {
        entries.extend(hex::decode(guid).unwrap());
        entries.extend((offset as u32).to_le_bytes());
        entries.extend((content.len() as u32).to_le_bytes());
        contents.extend(*content);
        offset += content.len();
    }
    entries.extend([0; 24]);
    [entries, contents].concat()
}

fn chain(certificates: &[(&str, &[u8])]) -> Vec<Vec<u8>> {
    let chain = certificate_table(&table(certificates)).unwrap();
    chain.into_iter().map(|Certificate(der)| der).collect()
}

#[test]
fn a_table_gives_the_chain_in_order() {
    let other = "ab".repeat(16);
    let all: [(&str, &[u8]); 4] = [
        (ARK, b"ark"),
        (ASK, b"ask"),
        (&other, b"?"),
        (VCEK, b"vcek"),
    ];
    assert_eq!(chain(&all), [&b"vcek"[..], b"ask", b"ark"]);
    assert_eq!(
        chain(&[(VLEK, b"vlek"), (ASK, b"asvk")]),
        [&b"vlek"[..], b"asvk"]
    );
    assert_eq!(chain(&[]), Vec::<Vec<u8>>::new());
}

#[test]
fn hostile_tables_are_refused() {
    assert_eq!(certificate_table(&[]), Err(CertificateTableError::Endless));
    assert!(certificate_table(&[1; 24]).is_err());
    let mut outside = table(&[(VCEK, b"vcek")]);
    outside.pop();
    assert!(matches!(
        certificate_table(&outside),
        Err(CertificateTableError::Outside { .. })
    ));
    let mut overflow = table(&[(VCEK, b"vcek")]);
    overflow[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        certificate_table(&overflow),
        Err(CertificateTableError::Outside { .. })
    ));
    let long = vec![0; MAX_CERTIFICATE_BYTES + 1];
    let long = certificate_table(&table(&[(VCEK, &long)]));
    assert_eq!(
        long,
        Err(CertificateTableError::TooLong(MAX_CERTIFICATE_BYTES + 1))
    );
    let endless: Vec<_> = (0..17).map(|_| (ASK, &b""[..])).collect();
    assert_eq!(
        certificate_table(&table(&endless)),
        Err(CertificateTableError::Endless)
    );
}

#[test]
fn development_evidence_vouches_for_its_report_data() {
    use p384::ecdsa::signature::Verifier;
    use p384::ecdsa::{Signature, VerifyingKey};
    let attester = Attester::open(EvidenceKind::Development, Endorsements::default()).unwrap();
    assert!(attester.is_development());
    let claims = Claims {
        nonce: [1; 32],
        channel_public_key: [2; 32],
        payload_sha256: [3; 32],
        model_digest: [4; 32],
        masking: "shares".into(),
        host_configuration_digest: [5; 32],
        receipt_public_key: [6; 32],
    };
    let evidence = attester.evidence(claims.clone()).unwrap();
    let evidence = Evidence::from_json(&evidence.to_json()).unwrap();
    let Attestation::Development(found) = evidence.attestation else {
        panic!("another kind");
    };
    let key = VerifyingKey::from_sec1_bytes(&found.public_key).unwrap();
    let message = talaria_wire::evidence::DevelopmentAttestation::message(&claims.report_data());
    let signature = Signature::from_slice(&found.signature).unwrap();
    key.verify(&message, &signature).unwrap();
}

#[test]
fn kinds_have_the_names_of_the_command_line() {
    for (name, kind) in EvidenceKind::ALL {
        assert_eq!(name.parse(), Ok(kind));
        assert_eq!(kind.to_string(), name);
    }
    assert!(
        "sgx"
            .parse::<EvidenceKind>()
            .unwrap_err()
            .contains("configfs-tsm")
    );
}

#[test]
fn without_hardware_auto_never_falls_back_to_development() {
    if Path::new(configfs_tsm::ROOT).exists() || Path::new(sev_guest::DEVICE).exists() {
        return;
    }
    let Err(error) = Attester::open(EvidenceKind::Auto, Endorsements::default()) else {
        panic!("opened");
    };
    assert!(
        error.to_string().contains("--evidence development"),
        "{error}"
    );
    assert!(Attester::open(EvidenceKind::SevGuest, Endorsements::default()).is_err());
}

#[test]
fn files_that_are_missing_are_named() {
    let missing = Endorsements::read(&["/nowhere/vcek.der".into()], None).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/vcek.der"));
    let missing = Endorsements::read(&[], Some(Path::new("/nowhere/collateral.json"))).unwrap_err();
    assert!(missing.to_string().contains("collateral.json"));
}
