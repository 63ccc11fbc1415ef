//! Captures that are cut short, mixed or of another model: the program says what to do, and does not panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{CACHE_HOME, Lab, fixture_dir};
use serde_json::Value;
use talaria_adversary::commands::game;
use talaria_host_cvm::{Masking, Prompt};

const MODEL: &str = "tiny-llama";

fn attack(model: &Path, capture: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talaria-adversary"));
    command
        .arg("attack")
        .arg("--model")
        .arg(model)
        .arg("--capture")
        .arg(capture)
        .args(more);
    command.output().expect("the program starts")
}

/// Fails with exit code 1, no panic, and a message that has all of this in it.
fn refused(model: &Path, capture: &Path, expected: &[&str]) {
    let output = attack(model, capture, &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for part in expected {
        assert!(stderr.contains(part), "{part:?} is not in {stderr:?}");
    }
    assert!(output.stdout.is_empty());
}

/// A copy of a capture, to be damaged.
fn copy(from: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => drop(copy(&path, &target)),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
    to.to_owned()
}

fn record(capture: &Path, host: usize) -> PathBuf {
    let dir = capture.join(format!("host{host}"));
    fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
}

fn change(capture: &Path, file: &str, change: impl FnOnce(&mut Value)) {
    let path = capture.join(file);
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(&path, serde_json::to_vec(&value).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_defect_of_a_capture_is_named() {
    let lab = Lab::new(MODEL).await;
    let model = fixture_dir(MODEL);
    let dir = tempfile::tempdir().unwrap();
    let asks = || game(&[Prompt::Ids(vec![1, 2]), Prompt::Ids(vec![3, 4])], 4, 2, 1);
    let (shares, plain) = (dir.path().join("shares"), dir.path().join("plain"));
    lab.write(Masking::Shares, asks(), &shares).await;
    lab.write(Masking::DangerousPlaintext, asks(), &plain).await;

    let output = attack(&model, &plain, &["--json", "--attack", "nearest"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let outcomes: Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &outcomes.as_array().unwrap()[0];
    assert_eq!(first["attack"], "largest element");
    assert_eq!(first["measure"]["tokens"]["top1"]["rate"], 1.0);

    let mut nth = 0;
    let mut damaged = |from: &Path| {
        nth += 1;
        copy(from, &dir.path().join(nth.to_string()))
    };

    refused(
        &model,
        &dir.path().join("nowhere"),
        &["capture.json", "talaria-adversary capture"],
    );

    // Cut inside the last entry, inside the header, and at set-up.
    let cut = |capture: &Path, length: u64| {
        let file = fs::File::options()
            .write(true)
            .open(record(capture, 1))
            .unwrap();
        file.set_len(length).unwrap();
    };
    let length = fs::metadata(record(&plain, 1)).unwrap().len();
    let capture = damaged(&plain);
    cut(&capture, length - 3);
    refused(
        &model,
        &capture,
        &["ends inside its entry", "capture again"],
    );
    let capture = damaged(&plain);
    cut(&capture, 11);
    refused(
        &model,
        &capture,
        &["ends inside its header", "capture again"],
    );
    let capture = damaged(&plain);
    change(&capture, "capture.json", |facts| {
        facts["setup_sends"][0] = 100_000.into()
    });
    refused(&model, &capture, &["of set-up", "capture again"]);

    // Of another model.
    refused(
        &fixture_dir("tiny-qwen2"),
        &plain,
        &["captured with the model", "give the checkpoint"],
    );

    // Masked otherwise than it says.
    let capture = damaged(&plain);
    change(&capture, "capture.json", |facts| {
        facts["masking"] = "module-lwe".into()
    });
    refused(&model, &capture, &["under module-lwe", "capture again"]);
    let capture = damaged(&plain);
    change(&capture, "capture.json", |facts| {
        facts["masking"] = "shares".into()
    });
    refused(&model, &capture, &["shares has 2 hosts", "capture again"]);
    let capture = damaged(&plain);
    change(&capture, "capture.json", |facts| {
        facts["masking"] = "rot13".into()
    });
    refused(&model, &capture, &["rot13", "capture again"]);

    // Parts of two captures.
    let capture = damaged(&shares);
    let first = record(&capture, 1);
    fs::remove_file(&first).unwrap();
    fs::copy(record(&shares, 2), &first).unwrap();
    refused(
        &model,
        &capture,
        &["host 1 gets under shares", "capture again"],
    );
    let capture = damaged(&shares);
    fs::copy(record(&plain, 1), capture.join("host2/another.record")).unwrap();
    refused(&model, &capture, &["2 records", "capture again"]);
    let capture = damaged(&shares);
    fs::remove_dir_all(capture.join("host2")).unwrap();
    refused(&model, &capture, &["lost a host", "capture again"]);
    let capture = damaged(&plain);
    change(&capture, "labels.json", |labels| {
        labels["requests"].as_array_mut().unwrap().pop();
    });
    refused(&model, &capture, &["4 requests, 3 labels", "capture again"]);
    let capture = damaged(&plain);
    change(&capture, "labels.json", |labels| {
        labels["requests"][1]["prompt_ids"] = Value::Array(vec![1.into()]);
    });
    refused(&model, &capture, &["request 1 has", "capture again"]);
    let capture = damaged(&plain);
    change(&capture, "capture.json", |facts| {
        facts["begins"] = Value::Array(Vec::new())
    });
    refused(&model, &capture, &["capture again"]);

    // Not a capture's files at all.
    let capture = damaged(&plain);
    fs::write(capture.join("capture.json"), b"{").unwrap();
    refused(&model, &capture, &["capture.json", "capture again"]);
    let capture = damaged(&plain);
    fs::write(record(&capture, 1), b"something else entirely").unwrap();
    refused(&model, &capture, &["not a record", "capture again"]);
    let capture = damaged(&plain);
    change(&capture, "labels.json", |labels| {
        labels["format"] = 9.into()
    });
    refused(&model, &capture, &["format 9", "capture again"]);
}

#[test]
fn a_capture_and_an_attack_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let (own, others) = (dir.path().join("own"), dir.path().join("others"));
    fs::write(&own, "a b c\n\nd e f g\n").unwrap();
    fs::write(&others, "one two three four five six seven\n").unwrap();
    let (model, out) = (fixture_dir(MODEL), dir.path().join("capture"));
    let capture = |out: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_talaria-adversary"));
        command.args(["capture", "--masking", "remo", "--new-tokens", "20"]);
        command
            .arg("--model")
            .arg(&model)
            .arg("--prompts")
            .arg(&others);
        command.arg("--own-prompts").arg(&own).arg("--out").arg(out);
        command
            .env("XDG_CACHE_HOME", CACHE_HOME)
            .output()
            .expect("the program starts")
    };
    let output = capture(&out);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = attack(
        &model,
        &out,
        &["--attack", "null-space", "--attack", "traffic"],
    );
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<&str> = stdout
        .lines()
        .filter(|line| line.contains("null space, exact"))
        .collect();
    assert_eq!(lines.len(), 2, "{stdout}");
    assert!(
        lines.iter().all(|line| line.contains("top-1 100.00 %")),
        "{stdout}"
    );
    assert!(
        lines.iter().all(|line| line.ends_with("RECOVERED")),
        "{stdout}"
    );

    let again = capture(&out);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("give --out another directory"));
}

#[test]
fn wrong_command_lines_are_refused() {
    for arguments in [
        &[
            "attack",
            "--model",
            "m",
            "--capture",
            "c",
            "--attack",
            "magic",
        ][..],
        &[
            "capture",
            "--model",
            "m",
            "--masking",
            "rot13",
            "--prompts",
            "p",
            "--out",
            "o",
        ],
        &["report"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_talaria-adversary"));
        let output = command
            .args(arguments)
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
