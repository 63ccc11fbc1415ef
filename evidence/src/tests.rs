use super::*;

fn claims() -> Claims {
    Claims {
        nonce: [0; 32],
        channel_public_key: [1; 32],
        payload_sha256: [2; 32],
        model_digest: [3; 32],
        masking: "shares".into(),
        host_configuration_digest: [5; 32],
        receipt_public_key: [6; 32],
    }
}

fn snp() -> Evidence {
    Evidence {
        format: FORMAT,
        claims: claims(),
        attestation: Attestation::SevSnp(SnpAttestation {
            report: vec![7; SNP_REPORT_BYTES],
            certificates: vec![Certificate(vec![1, 2]), Certificate(vec![3])],
        }),
    }
}

fn error(evidence: &Evidence) -> String {
    Evidence::from_json(&evidence.to_json())
        .unwrap_err()
        .to_string()
}

#[test]
fn report_data_is_what_its_formula_says() {
    // Computed apart from this code, by Python's hashlib over the formula.
    assert_eq!(
        hex::encode(claims().report_data()),
        "d6b486c8b7448c69f3ae6f1a7f2f86b2b412730aba353f2f1f77f467c75cbd9faaa58be7eeecef6aae7a292c70e7f41a153c004c353d3b2d4b919e0b41758800"
    );
}

#[test]
fn evidence_survives_the_wire() {
    let evidence = snp();
    assert_eq!(Evidence::from_json(&evidence.to_json()).unwrap(), evidence);
    let json = String::from_utf8(evidence.to_json()).unwrap();
    assert!(json.contains(r#""attestation":{"sev-snp":{"report":"0707"#));
}

#[test]
fn bounds_hold() {
    let change = |change: fn(&mut SnpAttestation)| {
        let mut evidence = snp();
        match &mut evidence.attestation {
            Attestation::SevSnp(snp) => change(snp),
            other => panic!("{}", other.kind()),
        }
        error(&evidence)
    };
    assert_eq!(
        change(|s| s.report.push(0)),
        "report of 1185 bytes, expected 1184"
    );
    assert_eq!(
        change(|s| s.certificates = vec![Certificate(vec![]); 4]),
        "4 certificates, expected at most 3"
    );
    assert_eq!(
        change(|s| s.certificates[0].0 = vec![0; MAX_CERTIFICATE_BYTES + 1]),
        "certificate of 8193 bytes, expected at most 8192"
    );
    let mut quote = snp();
    quote.attestation = Attestation::Tdx(TdxAttestation {
        quote: vec![0; MAX_QUOTE_BYTES + 1],
        collateral: None,
    });
    assert_eq!(
        error(&quote),
        "quote of 65537 bytes, expected at most 65536"
    );
    let mut development = snp();
    development.attestation = Attestation::Development(DevelopmentAttestation {
        public_key: vec![2; 49],
        signature: vec![0; 95],
    });
    assert_eq!(error(&development), "signature of 95 bytes, expected 96");
    let mut format = snp();
    format.format = 2;
    assert!(error(&format).contains("format 2, expected 1"));
    let long = vec![b' '; MAX_EVIDENCE_BYTES + 1];
    assert!(matches!(
        Evidence::from_json(&long),
        Err(EvidenceError::TooLong(_))
    ));
}

#[test]
fn unknown_and_missing_fields_are_refused() {
    let json = String::from_utf8(snp().to_json()).unwrap();
    for (from, to) in [
        ("{\"format\"", "{\"extra\":1,\"format\""),
        ("{\"nonce\"", "{\"extra\":1,\"nonce\""),
        ("{\"report\"", "{\"extra\":1,\"report\""),
        ("\"sev-snp\"", "\"sgx\""),
        ("\"model_digest\"", "\"model\""),
        ("0303", "03"),
        ("0303", "zz03"),
    ] {
        assert!(json.contains(from), "{from}");
        let changed = json.replacen(from, to, 1);
        let error = Evidence::from_json(changed.as_bytes());
        assert!(matches!(error, Err(EvidenceError::Malformed(_))), "{to}");
    }
}
