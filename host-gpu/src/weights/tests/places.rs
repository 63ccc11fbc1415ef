//! Checkpoints that keep their tensors under other names and in other files.

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use serde_json::json;
use talaria_wire::manifest::WeightFormat;

use super::checkpoint::{HIDDEN, Tiny};
use super::{load, load_tiny};

const INDEX: &str = "model.safetensors.index.json";
const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";

#[track_caller]
fn check_refused(dir: &Path, expected: &[&str]) {
    let error = load(dir, WeightFormat::Int16).err().unwrap().to_string();
    for part in expected {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

/// The same tensors under other names.
fn renamed(tiny: &Tiny, rename: impl Fn(&str) -> String) -> Tiny {
    let mut renamed = tiny.clone();
    let tensors = tiny.tensors.iter();
    renamed.tensors = tensors.map(|(name, t)| (rename(name), t.clone())).collect();
    renamed
}

#[test]
fn stored_rotary_and_cache_scales_are_passed_over() {
    let mut tiny = Tiny::plain();
    let digest = load_tiny(&tiny).digest().unwrap();
    for (name, length) in [
        ("model.rotary_emb.inv_freq", 2),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", 2),
        ("model.layers.1.self_attn.k_scale", 1),
        ("model.layers.1.self_attn.v_scale", 1),
        ("model.layers.2.mlp.up_proj.weight", 2),
        ("score.weight", 2),
    ] {
        tiny.add(name, &[length], Dtype::F32);
    }
    tiny.add("model.layers.0.mlp.up_proj.bias", &[12], Dtype::F16);
    tiny.tensor("model.layers.0.mlp.up_proj.bias")
        .values
        .fill(0.0);
    assert_eq!(load_tiny(&tiny).digest().unwrap(), digest);
}

#[test]
fn names_of_other_prefixes() {
    let tiny = Tiny::of("qwen3", Dtype::BF16);
    let digest = load_tiny(&tiny).digest().unwrap();
    let inner = |name: &str| name.strip_prefix("model.").map(String::from);
    for prefix in [
        "",
        "model.language_model.",
        "model.text_model.",
        "language_model.",
    ] {
        let of_prefix = |name: &str| inner(name).map_or(name.into(), |n| format!("{prefix}{n}"));
        let mut other = renamed(&tiny, of_prefix);
        // Of another part of the model.
        other.add("vision_tower.layers.0.mlp.fc1.weight", &[3], Dtype::F32);
        other.add(
            "model.vision_tower.layers.0.mlp.fc1.weight",
            &[3],
            Dtype::F32,
        );
        assert_eq!(load_tiny(&other).digest().unwrap(), digest, "{prefix:?}");
    }
    let other = renamed(&tiny, |name| format!("language_model.{name}"));
    assert_eq!(load_tiny(&other).digest().unwrap(), digest);
}

#[test]
fn errors_name_the_tensor_as_it_is_stored() {
    let mut tiny = renamed(&Tiny::plain(), |name| format!("language_model.{name}"));
    tiny.tensor("language_model.model.layers.1.mlp.up_proj.weight")
        .values[HIDDEN] = f32::NAN;
    check_refused(
        tiny.write().path(),
        &["language_model.model.layers.1.mlp.up_proj.weight is NaN at [1, 0]"],
    );
}

#[test]
fn text_part_of_a_multimodal_model() {
    let plain = Tiny::of("mistral", Dtype::BF16);
    let digest = load_tiny(&plain).digest().unwrap();
    let mut tiny = renamed(&plain, |name| format!("language_model.{name}"));
    let mut text = plain.config.clone();
    let text_keys = text.as_object_mut().unwrap();
    for key in ["architectures", "eos_token_id", "tie_word_embeddings"] {
        text_keys.remove(key);
    }
    tiny.config = json!({
        "architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3",
        "text_config": text, "vision_config": {"hidden_size": 3}, "eos_token_id": 1,
        "tie_word_embeddings": false,
    });
    assert_eq!(load_tiny(&tiny).digest().unwrap(), digest);
    tiny.config["text_config"]["model_type"] = json!("gemma3_text");
    check_refused(
        tiny.write().path(),
        &["Mistral3ForConditionalGeneration is not supported"],
    );
}

#[test]
fn shards_without_an_index() {
    let tiny = Tiny::plain();
    let digest = load_tiny(&tiny).digest().unwrap();
    let dir = tiny.write_sharded();
    fs::remove_file(dir.path().join(INDEX)).unwrap();
    let found = load(dir.path(), WeightFormat::Int16).unwrap();
    assert_eq!(found.digest().unwrap(), digest);

    fs::rename(dir.path().join(SECOND), dir.path().join("kept")).unwrap();
    check_refused(
        dir.path(),
        &[SECOND, "is missing", FIRST, "download it again"],
    );
    fs::rename(dir.path().join("kept"), dir.path().join(SECOND)).unwrap();
    fs::remove_file(dir.path().join(FIRST)).unwrap();
    check_refused(dir.path(), &[FIRST, "is missing", SECOND]);
}

#[test]
fn shards_that_overlap() {
    let dir = Tiny::plain().write_sharded();
    fs::remove_file(dir.path().join(INDEX)).unwrap();
    fs::copy(dir.path().join(FIRST), dir.path().join(SECOND)).unwrap();
    check_refused(dir.path(), &[FIRST, SECOND, "is in", "too"]);
}

#[test]
fn one_file_of_another_name() {
    let tiny = Tiny::plain();
    let digest = load_tiny(&tiny).digest().unwrap();
    let dir = tiny.write();
    let path = |name: &str| dir.path().join(name);
    fs::rename(path("model.safetensors"), path("weights.fp16.safetensors")).unwrap();
    fs::write(path("adapter_model.safetensors"), "not looked at").unwrap();
    let found = load(dir.path(), WeightFormat::Int16).unwrap();
    assert_eq!(found.digest().unwrap(), digest);
    fs::copy(path("weights.fp16.safetensors"), path("other.safetensors")).unwrap();
    check_refused(
        dir.path(),
        &[
            "several files",
            "other.safetensors, weights.fp16.safetensors",
            INDEX,
        ],
    );
    fs::remove_file(path("other.safetensors")).unwrap();
    fs::rename(
        path("weights.fp16.safetensors"),
        path("consolidated.safetensors"),
    )
    .unwrap();
    fs::remove_file(path("adapter_model.safetensors")).unwrap();
    check_refused(dir.path(), &["only consolidated.safetensors"]);
}

#[test]
fn only_an_adapter() {
    let dir = Tiny::plain().write();
    let path = |name: &str| dir.path().join(name);
    fs::rename(path("model.safetensors"), path("adapter_model.safetensors")).unwrap();
    check_refused(dir.path(), &["only an adapter", "merge"]);
}

#[test]
fn git_lfs_pointers() {
    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
        oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    for file in [
        "model.safetensors",
        "tokenizer.json",
        "config.json",
        "generation_config.json",
    ] {
        let dir = Tiny::plain().write();
        fs::write(dir.path().join(file), POINTER).unwrap();
        check_refused(dir.path(), &[file, "is a Git LFS pointer", "git lfs pull"]);
    }
    let dir = Tiny::plain().write_sharded();
    fs::write(dir.path().join(SECOND), POINTER).unwrap();
    check_refused(dir.path(), &[SECOND, "is a Git LFS pointer"]);
}
