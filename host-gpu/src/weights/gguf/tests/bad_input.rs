//! Hostile and broken files: a clear error, no panic, and no memory for what is not there.

use std::path::Path;

use talaria_wire::manifest::WeightFormat;

use super::vocabularies::with_bytes;
use super::writer::{
    File, bool_value, f32_array, f32_value, i32_array, string, text, texts, u32_value, written,
};
use crate::weights::LoadError;
use crate::weights::tests::checkpoint::Tiny;
use crate::weights::tests::load;

#[track_caller]
fn refused(path: &Path) -> String {
    match load(path, WeightFormat::Int16) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check(file: &File, expected: &[&str]) {
    let error = refused(file.write().path());
    for part in expected {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

fn plain() -> File {
    File::of(&Tiny::plain())
}

#[test]
fn not_gguf() {
    for bytes in [&b""[..], b"GG", b"{}", b"PK\x03\x04 zip"] {
        let error = refused(written(bytes).path());
        assert!(error.contains("no GGUF file"), "{error}");
    }
}

#[test]
fn versions_and_byte_orders() {
    let mut file = plain();
    for version in [0, 1, 4, 77] {
        file.version = version;
        check(&file, &[&format!("version {version}; supported: 2, 3")]);
    }
    file.version = 3u32.swap_bytes();
    check(&file, &["big-endian"]);
}

#[test]
fn truncated_anywhere() {
    let bytes = with_bytes("gpt-2").bytes();
    for length in 4..bytes.len() - 32 {
        match load(written(&bytes[..length]).path(), WeightFormat::Int16) {
            Err(LoadError::Truncated {
                expected, found, ..
            }) => assert!(expected > found),
            Err(other) => panic!("{length}: {other}"),
            Ok(_) => panic!("{length}: it was loaded"),
        }
    }
}

#[test]
fn counts_and_lengths_that_promise_more_than_there_is() {
    let mut file = plain();
    file.tensor_count = Some(u64::MAX);
    refused(file.write().path());
    file.tensor_count = None;
    file.pair_count = Some(u64::MAX);
    refused(file.write().path());
    file.pair_count = None;
    // A string of 2^63 bytes, an array of 2^61 u64, an array of 2^60 strings.
    let long_string = [&8u32.to_le_bytes()[..], &(1u64 << 63).to_le_bytes()].concat();
    let long_array = [&[9, 0, 0, 0, 10, 0, 0, 0][..], &(1u64 << 61).to_le_bytes()].concat();
    let many_strings = [&[9, 0, 0, 0, 8, 0, 0, 0][..], &(1u64 << 60).to_le_bytes()].concat();
    for value in [long_string, long_array, many_strings] {
        let mut file = plain();
        file.set("general.name", value);
        refused(file.write().path());
    }
}

#[test]
fn metadata_that_cannot_be() {
    let mut file = plain();
    file.pairs.push(("llama.block_count".into(), u32_value(1)));
    check(&file, &["llama.block_count twice"]);
    let mut file = plain();
    file.set("general.name", 13u32.to_le_bytes().to_vec());
    check(&file, &["general.name", "unknown type 13"]);
    let mut file = plain();
    file.set("llama.block_count", text("two"));
    check(&file, &["llama.block_count is no number"]);
    file.set("llama.block_count", i32_array(&[1, 2]));
    check(&file, &["llama.block_count that differs by layer"]);
    let mut file = plain();
    file.set("llama.rope.freq_base", f32_value(f32::NAN));
    check(&file, &["llama.rope.freq_base is no finite number"]);
    let mut file = plain();
    file.pairs
        .retain(|(key, _)| key != "llama.embedding_length");
    check(&file, &["it has no llama.embedding_length"]);
    for alignment in [0, 33, 1 << 30] {
        let mut file = plain();
        file.set("general.alignment", u32_value(alignment));
        check(&file, &["general.alignment"]);
    }
}

#[test]
fn what_is_not_computed() {
    let mut file = plain();
    file.set("general.architecture", text("gemma3"));
    check(&file, &["gemma3", "llama, qwen2, qwen3"]);
    let mut file = plain();
    file.set("llama.expert_count", u32_value(8));
    check(&file, &["llama.expert_count"]);
    let mut file = plain();
    file.set("llama.use_parallel_residual", bool_value(true));
    check(&file, &["llama.use_parallel_residual"]);
    let mut file = plain();
    file.set("llama.rope.dimension_count", u32_value(2));
    check(&file, &["partial_rotary_factor 0.5"]);
    let mut file = plain();
    file.set(
        "split.count",
        [2u32.to_le_bytes().to_vec(), 3u16.to_le_bytes().to_vec()].concat(),
    );
    check(&file, &["one of 3 parts", "--merge"]);
}

#[test]
fn tensors_that_cannot_be() {
    let change = |change: &dyn Fn(&mut super::writer::Stored), expected: &[&str]| {
        let mut file = plain();
        change(file.tensor("blk.0.ffn_up.weight"));
        check(&file, &[&["blk.0.ffn_up.weight"], expected].concat());
    };
    change(&|t| t.kind = 23, &["IQ4_XS", "Q4_1"]);
    change(&|t| t.kind = 1234, &["unknown type 1234"]);
    change(&|t| t.kind = 2, &["rows of 8 elements", "blocks of 32"]);
    change(&|t| t.dimensions = vec![8, 0], &["impossible dimensions"]);
    change(&|t| t.dimensions = vec![], &["impossible dimensions"]);
    change(
        &|t| t.dimensions = vec![1 << 40, 1 << 40],
        &["impossible dimensions"],
    );
    change(&|t| t.dimensions = vec![8; 5], &["5 dimensions"]);
    change(
        &|t| t.dimensions = vec![12, 8],
        &["shape [8, 12], expected [12, 8]"],
    );
    change(&|t| t.offset = Some(1), &["no multiple of 32"]);
    change(&|t| t.offset = Some(u64::MAX - 31), &["begins at"]);
    let mut file = plain();
    file.tensor("blk.0.ffn_up.weight").offset = Some(1 << 40);
    check(&file, &["truncated"]);
    let mut file = plain();
    file.tensor("blk.0.ffn_up.weight").name = "blk.0.ffn_gate.weight".into();
    check(&file, &["blk.0.ffn_gate.weight is described twice"]);
    let mut file = plain();
    file.tensors.retain(|t| t.name != "blk.1.attn_v.weight");
    check(&file, &["blk.1.attn_v.weight is missing"]);
    let mut file = plain();
    file.tensor("blk.1.attn_v.weight").name = "blk.1.ssm.weight".into();
    check(&file, &["is missing"]);
    file.tensors.push(super::writer::Stored {
        name: "blk.1.attn_v.weight".into(),
        dimensions: vec![8, 8],
        kind: 0,
        bytes: vec![0; 256],
        offset: None,
    });
    check(&file, &["blk.1.ssm.weight is not part of a llama model"]);
}

#[test]
fn scales_that_are_not_finite() {
    let mut file = plain();
    // One block of Q8_0 a row, which takes 32 elements.
    file.set("llama.embedding_length", u32_value(32));
    for tensor in &mut file.tensors {
        if tensor.dimensions[0] == 8 && tensor.dimensions.len() == 2 {
            let rows = tensor.dimensions[1] as usize;
            tensor.dimensions[0] = 32;
            tensor.kind = 8;
            tensor.bytes = vec![1; 34 * rows];
        } else if tensor.dimensions == [8] {
            tensor.dimensions = vec![32];
            tensor.kind = 0;
            tensor.bytes = 1f32.to_le_bytes().repeat(32);
        } else if tensor.dimensions.get(1) == Some(&8) {
            tensor.dimensions[1] = 32;
            tensor.bytes = tensor.bytes.repeat(4);
        }
    }
    load(file.write().path(), WeightFormat::Int16).unwrap_or_else(|e| panic!("{e}"));
    let nan = half::f16::NAN.to_le_bytes();
    file.tensor("blk.1.ffn_up.weight").bytes[68..70].copy_from_slice(&nan);
    check(&file, &["blk.1.ffn_up.weight is NaN at [2, 0]", "finite"]);
    // Query rows are stored in another order than they are named.
    file.tensor("blk.0.attn_q.weight").bytes[34..36].copy_from_slice(&nan);
    check(&file, &["blk.0.attn_q.weight is NaN at [2, 0]"]);
    file.tensor("token_embd.weight").bytes[..2].copy_from_slice(&nan);
    check(&file, &["token_embd.weight is NaN at [0, 0]"]);
}

#[test]
fn vocabularies_that_cannot_be() {
    let mut file = with_bytes("gpt-2");
    file.set("tokenizer.ggml.pre", text("klingon"));
    check(&file, &["tokenizer.ggml.pre klingon", "llama-bpe"]);
    let mut file = with_bytes("gpt-2");
    file.set("tokenizer.ggml.model", text("bert"));
    check(&file, &["tokenizer.ggml.model bert", "gpt2, llama"]);
    let mut file = with_bytes("gpt-2");
    file.set("tokenizer.ggml.merges", texts(&["a b", "a c"]));
    check(&file, &["the merge \"a c\""]);
    file.set("tokenizer.ggml.merges", texts(&["ab"]));
    check(&file, &["the merge \"ab\""]);
    let mut file = with_bytes("gpt-2");
    file.set("tokenizer.ggml.token_type", i32_array(&[1]));
    check(&file, &["20 tokens and 1 token types"]);
    let mut file = with_bytes("gpt-2");
    let broken = [
        &[9, 0, 0, 0, 8, 0, 0, 0][..],
        &1u64.to_le_bytes(),
        &string(b"\xff"),
    ]
    .concat();
    file.set("tokenizer.ggml.tokens", broken);
    check(&file, &["tokenizer.ggml.tokens is not UTF-8"]);
    // Ids that are no tokens are not taken.
    let mut file = with_bytes("gpt-2");
    file.set("tokenizer.ggml.eos_token_id", u32_value(u32::MAX));
    load(file.write().path(), WeightFormat::Int16).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn pieces_that_would_take_forever() {
    let mut file = with_bytes("gpt-2");
    file.set("tokenizer.ggml.model", text("llama"));
    check(&file, &["it has no tokenizer.ggml.scores"]);
    file.set("tokenizer.ggml.scores", f32_array(&[0.0; 2]));
    check(&file, &["20 tokens and 2 scores"]);
    file.set("tokenizer.ggml.scores", f32_array(&[f32::NAN; 20]));
    load(file.write().path(), WeightFormat::Int16).unwrap_or_else(|e| panic!("{e}"));
    let long = "a".repeat(1 << 20);
    let mut tokens = vec!["a"; 19];
    tokens.push(&long);
    file.set("tokenizer.ggml.tokens", texts(&tokens));
    file.set("tokenizer.ggml.token_type", i32_array(&[1; 20]));
    check(&file, &["token 19 has 1048576 bytes"]);
}
