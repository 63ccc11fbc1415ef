use proptest::prelude::*;

use super::*;

const VECTORS: &str = include_str!("../../tests/vectors/policy.toml");

fn error(from: &str, to: &str) -> String {
    assert!(VECTORS.contains(from), "{from}");
    Policy::from_toml(&VECTORS.replacen(from, to, 1))
        .unwrap_err()
        .to_string()
}

#[test]
fn defaults_are_the_strict_ones() {
    let text = VECTORS.replace("allow_smt = true\n", "");
    let policy = Policy::from_toml(&text).unwrap();
    let snp = policy.sev_snp.unwrap();
    assert_eq!(snp.signing_keys, [SigningKey::Vcek]);
    assert_eq!(snp.vmpls, [0]);
    assert!(!snp.allow_migration && !snp.allow_smt);
    let tdx = policy.tdx.unwrap();
    assert_eq!(tdx.tcb_statuses, [TcbStatus::UpToDate]);
    assert!(!tdx.allow_smt);
    assert_eq!(policy.claims, None);
}

#[test]
fn unknown_keys_are_refused_with_their_place() {
    for (from, to, key) in [
        ("version = 1", "version = 1\ncliams = 1", "cliams"),
        ("allow_smt", "allow_smtt", "allow_smtt"),
        ("snp = 8", "snpp = 8", "snpp"),
        ("rtmr3 =", "rtmr4 =", "rtmr4"),
    ] {
        let error = error(from, to);
        assert!(error.contains(key) && error.contains("line"), "{error}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let cases = [
        (
            "version = 1",
            "version = 2",
            "policy of version 2, expected 1",
        ),
        ("version = 1\n", "", "missing field `version`"),
        (
            "measurements = [\"7a",
            "measurements = [\"7",
            "expected 96 hexadecimal digits, found 95",
        ),
        (
            "minimum_tcb.Milan",
            "minimum_tcb.Rome",
            "unknown variant `Rome`",
        ),
        ("boot_loader = 3", "boot_loader = 300", "expected u8"),
        (
            "boot_loader = 3",
            "fmc = 1, boot_loader = 3",
            "fmc belongs to Turin",
        ),
        (
            "minimum_tcb.Milan",
            "minimum_tcb.Turin",
            "fmc belongs to Turin",
        ),
        ("allow_smt = true", "vmpls = []", "sev_snp.vmpls is empty"),
        (
            "[tdx]",
            "[tdx]\ntcb_statuses = [\"Revoked\"]",
            "allows Revoked",
        ),
        (
            "[tdx]",
            "[tdx]\ntcb_statuses = [\"Fine\"]",
            "unknown variant `Fine`",
        ),
        (
            "[sev_snp]",
            "[claims]\npayload_sha256 = []\nmodel_digest = []\nmasking = []\n[sev_snp]",
            "claims.payload_sha256 is empty",
        ),
    ];
    for (from, to, expected) in cases {
        let error = error(from, to);
        assert!(error.contains(expected), "{error}");
    }
    let error = Policy::from_toml("version = 1").unwrap_err().to_string();
    assert!(error.contains("allows no hardware"), "{error}");
    let long = " ".repeat(MAX_POLICY_BYTES + 1);
    assert!(matches!(
        Policy::from_toml(&long),
        Err(PolicyError::TooLong(_))
    ));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = Policy::from_toml(&text);
        let _ = Policy::from_toml(&format!("version = 1\n[sev_snp]\n{text}"));
    }
}

/// Whether two hosts are two is said by their configuration alone.
#[test]
fn shares_need_a_configuration_whose_hosts_are_known() {
    let digest = "00".repeat(32);
    let policy = |masking: &str, more: &str| {
        let text = format!(
            "version = 1\n[claims]\npayload_sha256 = [\"{digest}\"]\nmodel_digest = [\"{digest}\"]\n\
             masking = [{masking}]\n{more}"
        );
        Policy::from_toml(&text).map_err(|error| error.to_string())
    };
    let pinned = format!("host_configuration_digest = [\"{digest}\"]\n");
    for masking in ["\"shares\"", "\"module-lwe 512x5\", \"shares\""] {
        let error = policy(masking, "").unwrap_err();
        assert!(error.contains("host_configuration_digest"), "{error}");
        policy(masking, &pinned).unwrap();
    }
    policy("\"module-lwe 512x5\"", "").unwrap();
}
