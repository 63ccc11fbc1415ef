//! `talaria-local` as a user meets it: JSON objects, and every bad input with its error.

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use talaria_tests::{
    golden::{copy_of, golden, model_dir},
    program,
};

fn run(arguments: &[&str], model: &Path) -> Output {
    let mut command = Command::new(program("talaria-local"));
    command
        .arg("run")
        .arg("--model")
        .arg(model)
        .args(["--backend", "cpu"])
        .args(arguments);
    command.output().expect("talaria-local starts")
}

fn json(arguments: &[&str]) -> Value {
    let output = run(arguments, &model_dir("demo-qwen3"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Runs into an error: exit code not 0, no panic, and a message with this in it.
fn refused(arguments: &[&str], model: &Path, expected: &str) {
    let output = run(arguments, model);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{arguments:?} must fail");
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{arguments:?}: {:?}",
        output.status
    );
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    assert!(
        stderr.contains(expected),
        "{arguments:?}: expected {expected:?} in {stderr:?}"
    );
}

#[test]
fn the_json_object_is_complete_and_equal_for_every_masking() {
    let prompt = golden("demo-qwen3")
        .prompts
        .into_iter()
        .find(|p| p.name == "p4")
        .expect("p4");
    let messages = prompt.messages.expect("a chat");
    let chat = &messages[0].content;
    let mut digests = Vec::new();
    for masking in ["shares", "module-lwe", "remo", "dangerous-plaintext"] {
        let found = json(&[
            "--chat",
            chat,
            "--masking",
            masking,
            "--max-new-tokens",
            "8",
            "--json",
        ]);
        for key in [
            "prompt_ids",
            "token_ids",
            "text",
            "finish_reason",
            "logits_digest",
            "payload_sha256",
            "model_digest",
            "masking",
            "backend",
            "weights",
            "counters",
            "seconds",
        ] {
            assert!(!found[key].is_null(), "{masking}: {key}");
        }
        for key in ["projections", "rows", "bytes_up", "bytes_down", "checks"] {
            assert!(
                found["counters"][key].as_u64().is_some_and(|n| n > 0),
                "{masking}: {key}"
            );
        }
        for key in ["setup", "prefill", "decode"] {
            assert!(
                found["seconds"][key].as_f64().is_some_and(|s| s >= 0.0),
                "{masking}: {key}"
            );
        }
        assert_eq!(found["prompt_ids"], serde_json::json!(prompt.ids));
        assert_eq!(
            found["token_ids"],
            serde_json::json!(prompt.greedy_ids[..8])
        );
        digests.push(found["logits_digest"].clone());
    }
    assert!(
        digests.iter().all(|digest| *digest == digests[0]),
        "{digests:?}"
    );
}

/// The JSON object of a subcommand that takes the demo model.
fn demo_json(arguments: &[&str]) -> Value {
    let output = Command::new(program("talaria-local"))
        .args(arguments)
        .arg("--model")
        .arg(model_dir("demo-qwen3"))
        .arg("--json")
        .output()
        .expect("talaria-local starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn bench_measures_every_masking() {
    let load = [
        "--sessions",
        "1",
        "--new-tokens",
        "4",
        "--prompt-tokens",
        "2",
        "--repeats",
        "1",
    ];
    let maskings = [
        "--masking",
        "shares",
        "--masking",
        "module-lwe",
        "--masking",
        "remo",
    ];
    let found = demo_json(&[&["bench", "--backend", "cpu"], &load[..], &maskings].concat());
    let runs = found["runs"].as_array().expect("runs");
    let names: Vec<_> = runs.iter().map(|run| run["masking"].as_str()).collect();
    let expected = ["dangerous-plaintext", "shares", "module-lwe", "remo"];
    assert_eq!(names, expected.map(Some));
    for run in runs {
        for key in ["prefill_tokens_per_second", "decode_tokens_per_second"] {
            assert!(run[key].as_f64().is_some_and(|rate| rate > 0.0), "{run}");
        }
    }
}

#[test]
fn masking_tells_what_each_scheme_takes() {
    let found = demo_json(&["masking"]);
    let schemes = found["schemes"].as_array().expect("schemes");
    // Three without parameters, three parameter sets.
    assert_eq!(schemes.len(), 6, "{found}");
    for scheme in schemes {
        let minted = scheme["masking"] == "module-lwe";
        assert_eq!(scheme["security_bits"].is_null(), !minted, "{scheme}");
        for key in ["r_pub_bytes", "pool_bytes"] {
            assert_eq!(scheme[key].as_u64() > Some(0), minted, "{key}: {scheme}");
        }
        assert!(scheme["online_ms"].as_f64() > Some(0.0), "{scheme}");
    }
    for matrix in found["matrices"].as_array().expect("matrices") {
        assert!(matrix["row_bits"].as_u64() > Some(0), "{matrix}");
        assert!(matrix["delta_bits"].as_u64() > Some(0), "{matrix}");
    }
}

#[test]
fn requests_that_make_no_sense() {
    let demo = model_dir("demo-qwen3");
    let vocab = ["--prompt-ids", "1,4096", "--max-new-tokens", "1"];
    refused(&vocab, &demo, "outside the vocabulary");
    refused(&["--prompt", "", "--max-new-tokens", "1"], &demo, "empty");
    refused(
        &["--prompt", "x", "--max-new-tokens", "0"],
        &demo,
        "max-new-tokens",
    );
    refused(
        &["--prompt", "x", "--chat", "y"],
        &demo,
        "cannot be used with",
    );
    refused(&["--prompt", "x", "--frobnicate"], &demo, "--frobnicate");
    refused(&["--prompt", "x", "--temperature=-1"], &demo, "temperature");
    let long = vec!["1"; 1024].join(",");
    refused(
        &["--prompt-ids", &long, "--max-new-tokens", "1"],
        &demo,
        "1024",
    );
    let here = ["--prompt", "x", "--gpu", "http://127.0.0.1:1"];
    let shares = [&here[..], &["--masking", "shares"]].concat();
    refused(&shares, &demo, "needs 2 GPU hosts");
    // One host: module-lwe.
    refused(&here, &demo, "127.0.0.1:1");
    let set = ["--mask-parameters", "64x2"];
    refused(&[&here[..], &set].concat(), &demo, "512x5");
    let little = [
        "--prompt",
        "x",
        "--masking",
        "module-lwe",
        "--mask-memory",
        "0.1",
    ];
    refused(&little, &demo, "256x10");
    let away = [
        "--prompt",
        "x",
        "--gpu",
        "http://127.0.0.1:1",
        "--gpu",
        "http://127.0.0.1:2",
    ];
    refused(&away, &demo, "127.0.0.1:1");
    let digest = "00".repeat(32);
    refused(
        &["--prompt", "x", "--expect-digest", &digest],
        &demo,
        &digest,
    );
}

/// Such templates were refused: the payload has no clock.
#[test]
fn a_template_that_prints_the_date_is_told_it() {
    let dir = copy_of("demo-qwen3");
    let template = include_str!("../guest/src/chat_template/tests/date.jinja");
    fs::write(dir.path().join("chat_template.jinja"), template).expect("write");
    let prompt_ids = |arguments: &[&str]| {
        let more = [
            "--max-new-tokens",
            "1",
            "--masking",
            "dangerous-plaintext",
            "--json",
        ];
        let output = run(&[arguments, &more].concat(), dir.path());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        let mut json: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        json["prompt_ids"].take()
    };
    let rendered = "<|im_start|>system\nToday is 26 Jul 2026<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n\
                    <|im_start|>assistant\n";
    let expected = prompt_ids(&["--prompt", rendered]);
    assert_eq!(
        prompt_ids(&["--chat", "hi", "--date", "2026-07-26"]),
        expected
    );
    assert_ne!(
        prompt_ids(&["--chat", "hi", "--date", "2026-07-27"]),
        expected
    );
    assert!(prompt_ids(&["--chat", "hi"]).is_array(), "today");
}

/// A copy of a fixture with one file changed.
fn broken(
    fixture: &str,
    file: &str,
    change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>,
) -> tempfile::TempDir {
    let dir = copy_of(fixture);
    let path = dir.path().join(file);
    match change(fs::read(&path).expect("the file")) {
        Some(bytes) => fs::write(path, bytes).expect("write"),
        None => fs::remove_file(path).expect("remove"),
    }
    dir
}

fn replace(from: &str, to: &str) -> impl FnOnce(Vec<u8>) -> Option<Vec<u8>> {
    move |bytes| {
        let text = String::from_utf8(bytes).expect("text");
        assert!(text.contains(from), "{from}");
        Some(text.replace(from, to).into_bytes())
    }
}

const ASK: [&str; 4] = ["--prompt", "a", "--max-new-tokens", "2"];

#[test]
fn broken_checkpoints() {
    let refuse = |fixture, file, change: Box<dyn FnOnce(Vec<u8>) -> Option<Vec<u8>>>, expected| {
        let dir = broken(fixture, file, change);
        refused(&ASK, dir.path(), expected);
    };
    let weights = "model.safetensors";
    refuse(
        "tiny-llama",
        weights,
        Box::new(|_| None),
        "model.safetensors",
    );
    refuse(
        "tiny-llama",
        weights,
        Box::new(|b| Some(b[..b.len() - 1].to_vec())),
        "truncated",
    );
    refuse(
        "tiny-llama",
        weights,
        Box::new(|b| Some(b[..5].to_vec())),
        "model.safetensors",
    );
    let huge = |mut b: Vec<u8>| {
        b[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        Some(b)
    };
    refuse("tiny-llama", weights, Box::new(huge), "header");
    let nan = |mut b: Vec<u8>| {
        let end = b.len();
        b[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        Some(b)
    };
    refuse("tiny-llama", weights, Box::new(nan), "NaN");
    let shard = "model-00002-of-00002.safetensors";
    refuse("tiny-mistral", shard, Box::new(|_| None), shard);
    refuse(
        "tiny-llama",
        "config.json",
        Box::new(replace("LlamaForCausalLM", "GPT2LMHeadModel")),
        "GPT2LMHeadModel",
    );
    refuse(
        "tiny-llama",
        "config.json",
        Box::new(replace("224", "225")),
        "expected",
    );
    refuse(
        "tiny-llama",
        "config.json",
        Box::new(|_| Some(b"{".to_vec())),
        "config.json",
    );
    refuse(
        "tiny-llama",
        "config.json",
        Box::new(|_| None),
        "config.json",
    );
    refuse(
        "tiny-llama",
        "tokenizer.json",
        Box::new(|_| None),
        "tokenizer.json",
    );
    refuse(
        "tiny-llama",
        "tokenizer.json",
        Box::new(|b| Some(b[..b.len() / 2].to_vec())),
        "tokenizer.json",
    );
    let empty_model = |_| Some(br#"{"model": {}}"#.to_vec());
    refuse(
        "tiny-llama",
        "tokenizer.json",
        Box::new(empty_model),
        "tokenizer",
    );
}

#[test]
fn broken_templates() {
    let demo = "tokenizer_config.json";
    let ask = ["--chat", "a", "--max-new-tokens", "2"];
    let dir = broken("demo-qwen3", demo, replace("endfor", "endwhile"));
    refused(&ask, dir.path(), "template");
    let dir = broken("demo-qwen3", demo, |_| Some(b"{}".to_vec()));
    refused(&ask, dir.path(), "no chat template");
}

#[test]
fn the_demo_answers_and_shows_what_each_party_saw() {
    let output = Command::new(program("talaria-local"))
        .arg("demo")
        .output()
        .expect("starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for expected in ["payload", "checks", "model"] {
        assert!(stdout.contains(expected), "{expected} in {stdout}");
    }
}
