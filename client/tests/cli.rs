//! `talaria verify` as a user runs it: output, JSON and exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};
use serde_json::Value;
use talaria_evidence::{Attestation, Claims, DevelopmentAttestation, Evidence, FORMAT};

const SNP_DATA: &str = "d447b55d197491bfe15cf298f9de9986b7a7c4be2468b4f6e2d53b71d7c645810b0f2cdfca0040433be063fc1a8293f0f3f8dae7b79fecb3d1cd82bd6a93ebfd";
const TDX_DATA: &str = "9a9d48e7f6799642d3d1b34e1e5e1742d4bb02dd6ddd551862c1211d35c304f9eca3efdbb481601c163cf52493d6e44aed55d51ec39b7e518fadb92c2b523f20";

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(name)
}

fn verify(evidence: &Path, policy: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_talaria"))
        .arg("verify")
        .arg("--evidence")
        .arg(evidence)
        .arg("--policy")
        .arg(policy)
        .args(more)
        .output()
        .unwrap()
}

fn vectors(evidence: &str, more: &[&str]) -> Output {
    verify(&vector(evidence), &vector("policy.toml"), more)
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn evidence_of_real_hardware_passes() {
    for (evidence, at, data) in [
        ("milan.evidence.json", "2024-01-01T00:00:00Z", SNP_DATA),
        ("tdx.evidence.json", "1750329147", TDX_DATA),
    ] {
        let output = vectors(evidence, &["--at", at, "--report-data", data]);
        let out = text(&output.stdout);
        assert_eq!(code(&output), 0, "{out}");
        assert!(!out.contains("REFUSED"));
        assert!(out.contains("PASSED, platform only"), "{out}");

        let output = vectors(evidence, &["--at", at, "--report-data", data, "--json"]);
        let document = json(&output);
        assert_eq!(document["passed"], true);
        assert_eq!(document["scope"], "platform");
        assert_eq!(document["claims"], Value::Null);
        let steps = document["steps"].as_array().unwrap();
        assert!(steps.len() > 10);
        assert!(steps.iter().all(|step| step["verdict"] == "passed"));
    }
}

#[test]
fn claims_that_the_hardware_did_not_sign_are_refused() {
    let output = vectors(
        "milan.evidence.json",
        &["--at", "2024-01-01T00:00:00Z", "--json"],
    );
    assert_eq!(code(&output), 1);
    let document = json(&output);
    assert_eq!(document["passed"], false);
    assert_eq!(document["scope"], "claims");
    assert_eq!(document["claims"], Value::Null);
    let last = document["steps"].as_array().unwrap().last().unwrap();
    assert_eq!(last["name"], "report_data");
    assert_eq!(last["refusal"], "report-data");
    assert!(last["reason"].as_str().unwrap().contains(SNP_DATA));
}

#[test]
fn time_decides() {
    let output = vectors(
        "milan.evidence.json",
        &["--at", "2031-01-01T00:00:00Z", "--report-data", SNP_DATA],
    );
    assert_eq!(code(&output), 1);
    let out = text(&output.stdout);
    assert!(out.contains("REFUSED  signing key"), "{out}");
    assert!(out.contains("certificate-expired: VCEK or VLEK was valid until 2030-04-03T19:23:43Z"));
    assert!(out.ends_with("REFUSED, 1 step.\n"), "{out}");
}

#[test]
fn collateral_of_the_verifier_comes_first() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("collateral.json");
    let original = std::fs::read_to_string(vector("tdx_quote_collateral.json")).unwrap();
    std::fs::write(&other, original.replacen("UpToDate", "OutOfDate", 1)).unwrap();
    let at = [
        "--at",
        "1750329147",
        "--report-data",
        TDX_DATA,
        "--collateral",
    ];
    let with = |path: &Path| {
        vectors(
            "tdx.evidence.json",
            &[&at[..], &[path.to_str().unwrap()]].concat(),
        )
    };
    assert_eq!(code(&with(&vector("tdx_quote_collateral.json"))), 0);
    let refused = with(&other);
    assert_eq!(code(&refused), 1);
    assert!(text(&refused.stdout).contains("REFUSED  quote's signatures"));
}

#[test]
fn what_cannot_be_read_is_an_error_also_in_json() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.toml");
    std::fs::write(&policy, "version = 1\nmeasurments = []\n").unwrap();
    let evidence = vector("milan.evidence.json");
    for (evidence, policy, expected) in [
        (
            Path::new("/nowhere.json"),
            &vector("policy.toml"),
            "cannot read /nowhere.json",
        ),
        (
            &vector("vcek_milan.der"),
            &vector("policy.toml"),
            "evidence does not parse",
        ),
        (&evidence, &policy, "unknown field `measurments`"),
        (&evidence, &vector("vcek_milan.der"), "not UTF-8"),
    ] {
        let output = verify(evidence, policy, &[]);
        assert_eq!(code(&output), 1);
        let err = text(&output.stderr);
        assert!(
            err.starts_with("error: ") && err.contains(expected),
            "{err}"
        );
        let output = verify(evidence, policy, &["--json"]);
        assert_eq!(code(&output), 1);
        let document = json(&output);
        assert_eq!(document["passed"], false);
        assert!(document["error"].as_str().unwrap().contains(expected));
    }
}

#[test]
fn a_wrong_command_line_is_told_apart() {
    for more in [
        &["--at", "yesterday"][..],
        &["--report-data", "00"],
        &["--nonce", "xy"],
        &["--accept-development-evidence"],
    ] {
        assert_eq!(code(&vectors("milan.evidence.json", more)), 2, "{more:?}");
    }
}

#[test]
fn development_evidence_needs_its_flag_and_is_shouted_about() {
    let directory = tempfile::tempdir().unwrap();
    let (evidence, policy) = (
        directory.path().join("e.json"),
        directory.path().join("p.toml"),
    );
    let claims = Claims {
        nonce: [1; 32],
        channel_public_key: [2; 32],
        payload_sha256: [3; 32],
        model_digest: [4; 32],
        masking: "shares".into(),
        host_configuration_digest: [6; 32],
        receipt_public_key: [7; 32],
    };
    let key = SigningKey::from_slice(&[9; 48]).unwrap();
    let signature: Signature = key.sign(&DevelopmentAttestation::message(&claims.report_data()));
    let document = Evidence {
        format: FORMAT,
        attestation: Attestation::Development(DevelopmentAttestation {
            public_key: key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            signature: signature.to_vec(),
        }),
        claims,
    };
    std::fs::write(&evidence, document.to_json()).unwrap();
    let allowed = |byte: u8| hex::encode([byte; 32]);
    let text_of_policy = format!(
        "version = 1\n[claims]\npayload_sha256 = [\"{}\"]\nmodel_digest = [\"{}\"]\nmasking = [\"shares\"]\n\
         host_configuration_digest = [\"{}\"]\n",
        allowed(3),
        allowed(4),
        allowed(6)
    );
    std::fs::write(&policy, text_of_policy).unwrap();

    let refused = verify(&evidence, &policy, &[]);
    assert_eq!(code(&refused), 1);
    assert!(text(&refused.stdout).contains("development-not-allowed"));

    let flag = "--dangerous-accept-development-evidence";
    let nonce = allowed(1);
    let accepted = verify(&evidence, &policy, &[flag, "--nonce", &nonce]);
    assert_eq!(code(&accepted), 0);
    assert!(text(&accepted.stderr).contains("WARNING: DEVELOPMENT EVIDENCE ACCEPTED"));
    assert!(text(&accepted.stdout).contains("NO HARDWARE"));
    let document = json(&verify(&evidence, &policy, &[flag, "--json"]));
    assert_eq!(document["claims"]["model_digest"], allowed(4));

    let replay = verify(&evidence, &policy, &[flag, "--nonce", &allowed(7)]);
    assert_eq!(code(&replay), 1);
    assert!(text(&replay.stdout).contains("the evidence is a replay"));
}
