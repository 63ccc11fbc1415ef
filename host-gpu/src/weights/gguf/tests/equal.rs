//! A GGUF file and the Hugging Face directory that it was made from are the same model.

use safetensors::Dtype;
use serde_json::json;
use talaria_wire::manifest::{RopeFrequencies, WeightFormat};

use super::writer::{File, Stored, bool_value, f32_value, text, u32_value};
use crate::weights::tests::checkpoint::{HEAD_DIM, HEADS, HIDDEN, KV_HEADS, Tiny};
use crate::weights::tests::load;
use crate::weights::{Model, digest_dir};

fn planes(model: &Model) -> Vec<u8> {
    let mut all = Vec::new();
    let _whole = model
        .stream_planes(1 << 20, &mut |bytes| {
            all.extend_from_slice(bytes);
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    all
}

/// The same manifest but for tokens, and the same integers.
#[track_caller]
fn assert_equal(tiny: &Tiny, file: &File) {
    let (dir, file) = (tiny.write(), file.write());
    let expected = load(dir.path(), WeightFormat::Int16).unwrap();
    let found = load(file.path(), WeightFormat::Int16).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found.manifest.decoder, expected.manifest.decoder);
    assert_eq!(found.manifest.layers, expected.manifest.layers);
    assert_eq!(found.manifest.projections, expected.manifest.projections);
    assert_eq!(planes(&found), planes(&expected));
    let offline = digest_dir(file.path(), WeightFormat::Int16, &mut |_| ()).unwrap();
    assert_eq!(found.digest().unwrap(), offline);
}

#[test]
fn every_architecture_and_plain_type() {
    for family in ["llama", "qwen2", "qwen3"] {
        for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
            let tiny = Tiny::of(family, dtype);
            assert_equal(&tiny, &File::of(&tiny));
        }
    }
}

#[test]
fn version_two() {
    let tiny = Tiny::plain();
    let mut file = File::of(&tiny);
    file.version = 2;
    assert_equal(&tiny, &file);
}

#[test]
fn biases_of_llama_are_permuted_too() {
    let mut tiny = Tiny::plain();
    tiny.set("attention_bias", json!(true));
    for layer in 0..2 {
        let at = |name: &str| format!("model.layers.{layer}.self_attn.{name}_proj.bias");
        tiny.add(&at("q"), &[HEADS * HEAD_DIM], Dtype::F32);
        tiny.add(&at("k"), &[KV_HEADS * HEAD_DIM], Dtype::F32);
        tiny.add(&at("v"), &[KV_HEADS * HEAD_DIM], Dtype::F32);
        tiny.add(&at("o"), &[HIDDEN], Dtype::F32);
    }
    assert_equal(&tiny, &File::of(&tiny));
}

#[test]
fn without_output_the_embedding_is_tied() {
    let mut tiny = Tiny::plain();
    tiny.set("tie_word_embeddings", json!(true));
    tiny.tensors.remove("lm_head.weight");
    assert_equal(&tiny, &File::of(&tiny));
}

#[test]
fn linear_scaling() {
    let mut tiny = Tiny::plain();
    tiny.set(
        "rope_scaling",
        json!({"rope_type": "linear", "factor": 4.0}),
    );
    let mut file = File::of(&tiny);
    file.set("llama.rope.scaling.type", text("linear"));
    file.set("llama.rope.scaling.factor", f32_value(4.0));
    assert_equal(&tiny, &file);
}

/// Llama 3.1 and later: files have what its rescaling divides each frequency by, in place of its parameters.
#[test]
fn factors_of_llama3_are_a_tensor() {
    let tiny = Tiny::plain();
    let plain = load(tiny.write().path(), WeightFormat::Int16).unwrap();
    let RopeFrequencies::Fixed(plain) = plain.manifest.decoder.rope.frequencies else {
        panic!("no scaling is none");
    };
    let factors = [1.0_f32, 8.0];
    let mut file = File::of(&tiny);
    file.tensors.push(Stored {
        name: "rope_freqs.weight".into(),
        dimensions: vec![HEAD_DIM as u64 / 2],
        kind: 0,
        bytes: factors.iter().flat_map(|f| f.to_le_bytes()).collect(),
        offset: None,
    });
    let found = load(file.write().path(), WeightFormat::Int16).unwrap_or_else(|e| panic!("{e}"));
    let rope = found.manifest.decoder.rope;
    let divided = plain.iter().zip(factors).map(|(f, by)| f / by);
    assert_eq!(rope.frequencies, RopeFrequencies::Fixed(divided.collect()));
    assert_eq!(rope.attention_factor, 1.0);
}

#[test]
fn keys_that_change_nothing() {
    let tiny = Tiny::plain();
    let mut file = File::of(&tiny);
    file.set("general.alignment", u32_value(32));
    file.set("llama.expert_count", u32_value(0));
    file.set("llama.use_parallel_residual", bool_value(false));
    file.set("llama.rope.scaling.type", text("none"));
    file.set("llama.rope.dimension_count", u32_value(HEAD_DIM as u32));
    file.set(
        "llama.attention.head_count_kv",
        super::writer::i32_array(&[KV_HEADS as i32; 2]),
    );
    assert_equal(&tiny, &file);
}
