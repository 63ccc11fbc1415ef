//! Tokenizers made from metadata.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use talaria_wire::manifest::WeightFormat;

use super::writer::{File, bool_value, f32_array, i32_array, text, texts, u32_value};
use crate::weights::tests::checkpoint::{Tiny, VOCAB};
use crate::weights::tests::load;

/// `pieces.json`: a vocabulary and its merges by transformers.
#[derive(Deserialize)]
struct Pieces {
    tokens: Vec<String>,
    scores: Vec<f32>,
    types: Vec<i32>,
    merges: Value,
}

fn text_files(file: &File) -> BTreeMap<String, Value> {
    let written = file.write();
    let model = load(written.path(), WeightFormat::Int8).unwrap_or_else(|e| panic!("{e}"));
    let files = model.manifest.text_files.into_iter();
    files
        .map(|(name, bytes)| (name, serde_json::from_slice(&bytes).unwrap()))
        .collect()
}

/// A model with the smallest byte-level vocabulary.
pub(super) fn with_bytes(pre: &str) -> File {
    let mut file = File::of(&Tiny::plain());
    let mut tokens = vec![
        "<s>",
        "</s>",
        "<|eot_id|>",
        "<|im_end|>",
        "a",
        "b",
        "ab",
        "[PAD7]",
        "User:",
    ];
    tokens.resize(VOCAB, "[PAD]");
    let mut types = vec![3, 3, 3, 1, 1, 1, 1, 5, 4];
    types.resize(VOCAB, 5);
    file.set("tokenizer.ggml.model", text("gpt2"));
    file.set("tokenizer.ggml.pre", text(pre));
    file.set("tokenizer.ggml.tokens", texts(&tokens));
    file.set("tokenizer.ggml.token_type", i32_array(&types));
    file.set("tokenizer.ggml.merges", texts(&["a b"]));
    file.set("tokenizer.ggml.bos_token_id", u32_value(0));
    file.set("tokenizer.ggml.eos_token_id", u32_value(1));
    file.set("tokenizer.chat_template", text("{{ messages[0].content }}"));
    file
}

#[test]
fn byte_level() {
    let mut file = with_bytes("llama-bpe");
    let files = text_files(&file);
    let tokenizer = &files["tokenizer.json"];
    assert_eq!(tokenizer["model"]["merges"], json!([["a", "b"]]));
    assert_eq!(tokenizer["model"]["vocab"]["ab"], 6);
    assert_eq!(tokenizer["model"]["ignore_merges"], true);
    assert_eq!(tokenizer["model"]["vocab"]["[PAD7]"], Value::Null);
    let added = tokenizer["added_tokens"].as_array().unwrap();
    let added: Vec<_> = added
        .iter()
        .map(|t| (t["content"].as_str().unwrap(), t["special"] == true))
        .collect();
    let expected = [
        ("<s>", true),
        ("</s>", true),
        ("<|eot_id|>", true),
        ("User:", false),
    ];
    assert_eq!(added, expected);
    // Llama 3 begins with bos although this file does not say so.
    assert_eq!(
        tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"],
        "<s>"
    );
    let config = &files["tokenizer_config.json"];
    assert_eq!(config["bos_token"], "<s>");
    assert_eq!(config["eos_token"], "</s>");
    assert_eq!(config["chat_template"], "{{ messages[0].content }}");
    file.set("tokenizer.ggml.add_bos_token", bool_value(false));
    assert_eq!(
        text_files(&file)["tokenizer.json"]["post_processor"],
        Value::Null
    );
}

#[test]
fn every_token_that_ends_a_turn_ends_a_reply() {
    let mut file = with_bytes("gpt-2");
    let ends = |file: &File| {
        let model = load(file.write().path(), WeightFormat::Int8).unwrap();
        model.manifest.generation.eos_token_ids
    };
    // <|im_end|> is an ordinary token here.
    assert_eq!(ends(&file), [1, 2]);
    file.set("tokenizer.ggml.eot_token_id", u32_value(3));
    assert_eq!(ends(&file), [1, 3, 2]);
}

#[test]
fn sentence_piece_merges_are_those_of_transformers() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/gguf");
    let pieces = std::fs::read(fixtures.join("pieces.json")).unwrap();
    let pieces: Pieces = serde_json::from_slice(&pieces).unwrap();
    let mut tiny = Tiny::plain();
    let vocab = pieces.tokens.len();
    tiny.set("vocab_size", json!(vocab));
    for name in ["model.embed_tokens.weight", "lm_head.weight"] {
        tiny.add(name, &[vocab, 8], safetensors::Dtype::F32);
    }
    let mut file = File::of(&tiny);
    let tokens: Vec<&str> = pieces.tokens.iter().map(String::as_str).collect();
    file.set("tokenizer.ggml.model", text("llama"));
    file.set("tokenizer.ggml.tokens", texts(&tokens));
    file.set("tokenizer.ggml.scores", f32_array(&pieces.scores));
    file.set("tokenizer.ggml.token_type", i32_array(&pieces.types));
    file.set("tokenizer.ggml.unknown_token_id", u32_value(0));
    file.set("tokenizer.ggml.bos_token_id", u32_value(1));
    let tokenizer = &text_files(&file)["tokenizer.json"];
    assert_eq!(tokenizer["model"]["merges"], pieces.merges);
    assert_eq!(tokenizer["model"]["unk_token"], "<unk>");
    assert_eq!(tokenizer["normalizer"]["normalizers"][0]["prepend"], "▁");
    assert_eq!(
        tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"],
        "<s>"
    );
    file.set("tokenizer.ggml.add_space_prefix", bool_value(false));
    let tokenizer = &text_files(&file)["tokenizer.json"];
    assert_eq!(
        tokenizer["normalizer"]["normalizers"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_file_without_a_vocabulary_serves_token_ids() {
    assert!(text_files(&File::of(&Tiny::plain())).is_empty());
}
