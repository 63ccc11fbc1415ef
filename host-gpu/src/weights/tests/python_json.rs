//! Files that Python's `json` reads and RFC 8259 does not allow, or says otherwise.

use serde_json::json;

use super::checkpoint::Tiny;
use super::{load, load_tiny};
use crate::weights::LoadError;
use talaria_wire::manifest::{Generation, WeightFormat};

fn generation(text: &str) -> Generation {
    let mut tiny = Tiny::plain();
    let file = "generation_config.json".into();
    tiny.files.insert(file, text.into());
    load_tiny(&tiny).manifest.generation
}

/// Loads a llama whose config.json begins with these keys.
fn with_keys(keys: &str) -> Result<crate::weights::Model, LoadError> {
    let dir = Tiny::plain().write();
    let config = dir.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replacen('{', &format!("{{{keys}, "), 1)).unwrap();
    load(dir.path(), WeightFormat::Int8)
}

#[track_caller]
fn check_refused(keys: &str, expected: &[&str]) {
    let error = with_keys(keys).err().unwrap().to_string();
    for part in expected {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn top_k_minus_one_is_off() {
    let found = generation(r#"{"eos_token_id": 2, "top_k": -1, "do_sample": true}"#);
    assert_eq!(
        (found.eos_token_ids, found.top_k, found.do_sample),
        (vec![2], None, true)
    );
    assert_eq!(generation(r#"{"top_k": 0}"#).top_k, None);
    assert_eq!(generation(r#"{"top_k": 1e10}"#).top_k, None);
    assert_eq!(
        generation(r#"{"top_k": null, "do_sample": null}"#).top_k,
        None
    );
}

#[test]
fn floats_for_integers() {
    let found = generation(r#"{"eos_token_id": [2.0, 3], "top_k": 50.0, "temperature": 1}"#);
    assert_eq!((found.eos_token_ids, found.top_k), (vec![2, 3], Some(50)));
    assert_eq!(found.temperature, Some(1.0));
    let mut tiny = Tiny::of("mistral", safetensors::Dtype::BF16);
    tiny.set("sliding_window", json!(7.0))
        .set("hidden_size", json!(8.0));
    let windows = load_tiny(&tiny).manifest.layers;
    assert!(windows.iter().all(|layer| layer.sliding_window == Some(7)));
    tiny.set("sliding_window", json!(7.5));
    let error = load(tiny.write().path(), WeightFormat::Int8)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("sliding_window") && error.contains("7.5"),
        "{error}"
    );
}

#[test]
fn numbers_that_are_not_finite_where_nobody_reads_them() {
    with_keys(r#""x": NaN, "y": {"z": [Infinity, -Infinity, 1e999]}"#).unwrap();
    assert_eq!(
        generation(r#"{"length_penalty": Infinity, "top_k": 5}"#).top_k,
        Some(5)
    );
    check_refused(
        r#""partial_rotary_factor": NaN"#,
        &["partial_rotary_factor", "NaN"],
    );
    check_refused(
        r#""max_window_layers": Infinity"#,
        &["max_window_layers", "Infinity"],
    );
}

#[test]
fn of_a_key_twice_the_last_counts() {
    // The file's own hidden_size comes later.
    with_keys(r#""hidden_size": 4096, "architectures": ["MambaForCausalLM"]"#).unwrap();
    assert_eq!(generation(r#"{"top_k": 3, "top_k": 4}"#).top_k, Some(4));
}

#[test]
fn byte_order_mark_and_half_a_surrogate_pair() {
    let mut tiny = Tiny::plain();
    for (name, text) in [
        (
            "generation_config.json",
            "\u{feff}{\"top_k\": 3, \"_note\": \"\\ud83d\"}",
        ),
        (
            "tokenizer_config.json",
            "\u{feff}{\"a\": \"\\ud83d\", \"model_max_length\": Infinity}",
        ),
        ("special_tokens_map.json", "{\"a\": \"\\ud83d\\ude00\"}"),
    ] {
        tiny.files.insert(name.into(), text.into());
    }
    let manifest = load_tiny(&tiny).manifest;
    assert_eq!(manifest.generation.top_k, Some(3));
    let text = |name: &str| std::str::from_utf8(&manifest.text_files[name]).unwrap();
    assert_eq!(
        text("tokenizer_config.json"),
        r#"{"a": "\ufffd", "model_max_length": "Infinity"}"#
    );
    assert_eq!(text("special_tokens_map.json"), r#"{"a": "\ud83d\ude00"}"#);
}

#[test]
fn bos_outside_the_vocabulary_is_not_used() {
    let mut tiny = Tiny::plain();
    tiny.set("bos_token_id", json!(128_000));
    load_tiny(&tiny);
    tiny.set("bos_token_id", json!("<s>"));
    load_tiny(&tiny);
}

#[test]
fn eos_outside_the_vocabulary_ends_nothing() {
    let found = generation(r#"{"eos_token_id": [99, 3, -1]}"#);
    assert_eq!(found.eos_token_ids, [3]);
}
