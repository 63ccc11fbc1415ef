use super::*;

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
    let message = talaria_evidence::DevelopmentAttestation::message(&claims.report_data());
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
fn auto_takes_what_is_there_and_never_development() {
    let tsm = tempfile::tempdir().unwrap();
    let (there, missing) = (tsm.path(), Path::new("/nowhere"));
    let auto = |tsm, device| resolve(EvidenceKind::Auto, tsm, device);
    assert_eq!(auto(there, there).unwrap(), Kind::ConfigfsTsm);
    assert_eq!(there.read_dir().unwrap().count(), 0, "the probe stayed");
    assert_eq!(auto(missing, there).unwrap(), Kind::SevGuest);
    let error = auto(missing, missing).unwrap_err().to_string();
    assert!(error.contains("no /nowhere"), "{error}");
    assert!(error.contains("--evidence development"), "{error}");
}

/// The kernel's folder is there without a provider, and takes no request: as a folder of procfs does.
#[test]
fn auto_passes_over_a_configfs_tsm_that_takes_no_request() {
    let (folder_alone, device) = (Path::new("/proc/self"), Path::new("/dev/null"));
    let auto = |device| resolve(EvidenceKind::Auto, folder_alone, device);
    assert_eq!(auto(device).unwrap(), Kind::SevGuest);
    let error = auto(Path::new("/nowhere")).unwrap_err().to_string();
    assert!(error.contains("cannot make /proc/self/talaria-"), "{error}");
}

#[test]
fn files_that_are_missing_are_named() {
    let missing = Endorsements::read(&["/nowhere/vcek.der".into()], None).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/vcek.der"));
    let missing = Endorsements::read(&[], Some(Path::new("/nowhere/collateral.json"))).unwrap_err();
    assert!(missing.to_string().contains("collateral.json"));
}

#[test]
fn a_report_without_certificates_is_no_evidence() {
    use talaria_evidence::{Certificate, SnpAttestation};
    let snp = |certificates| {
        let report = vec![1; 1184];
        complete(&Attestation::SevSnp(SnpAttestation {
            report,
            certificates,
        }))
    };
    assert!(snp(vec![Certificate(b"vcek".to_vec())]).is_ok());
    let refused = snp(Vec::new()).unwrap_err().to_string();
    assert!(refused.contains("VCEK"), "{refused}");
}
