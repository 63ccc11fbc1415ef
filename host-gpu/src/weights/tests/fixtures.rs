//! The repository's checkpoints, against values computed by Hugging Face transformers.

use safetensors::SafeTensors;
use serde_json::Value;
use talaria_wire::manifest::{Manifest, RopeFrequencies, WeightFormat};

use super::{fixture, load};
use crate::weights::{Model, digest_dir};

const ALL: [&str; 4] = ["demo-qwen3", "tiny-qwen2", "tiny-llama", "tiny-mistral"];

#[test]
fn all_load_and_the_offline_digest_is_that_of_the_device() {
    for name in ALL {
        for format in [WeightFormat::Int16, WeightFormat::Int8] {
            let model = load(&fixture(name), format).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(
                Manifest::from_bytes(&model.manifest_bytes).unwrap(),
                model.manifest
            );
            let digest = digest_dir(&fixture(name), format, &mut |_| ()).unwrap();
            assert_eq!(model.digest().unwrap(), digest, "{name}");
        }
    }
}

#[test]
fn features_of_each() {
    let manifest = |name: &str| load(&fixture(name), WeightFormat::Int8).unwrap().manifest;
    let frequencies = |manifest: &Manifest| match &manifest.decoder.rope.frequencies {
        RopeFrequencies::Fixed(all) => all.clone(),
        other => panic!("{other:?}"),
    };
    let demo = manifest("demo-qwen3");
    assert!(
        demo.layers
            .iter()
            .all(|l| l.q_norm.len() == 32 && l.sliding_window.is_none())
    );
    assert_eq!(demo.generation.eos_token_ids, [4095, 4093]);
    assert_eq!(demo.generation.temperature, Some(0.7));
    assert!(demo.text_files.contains_key("tokenizer.json"));
    let qwen2 = manifest("tiny-qwen2");
    assert!(qwen2.layers.iter().all(|l| l.sliding_window.is_none()));
    assert_eq!(qwen2.decoder.rope.attention_factor, 1.0);
    // 1e6^(-14/16)
    let slowest = frequencies(&qwen2)[7];
    assert!((slowest * 1e6f32.powf(0.875) - 1.0).abs() < 1e-6);
    assert_eq!(qwen2.decoder.head_dim, 16);
    assert_eq!(qwen2.projections[1].bias.len(), 96 + 2 * 32);
    let llama = manifest("tiny-llama");
    // Scaled: 5e5^(-30/32) / 8.
    let slowest = frequencies(&llama)[15];
    assert!((slowest * 8.0 * 5e5f32.powf(0.9375) - 1.0).abs() < 1e-6);
    let mistral = manifest("tiny-mistral");
    assert!(mistral.layers.iter().all(|l| l.sliding_window == Some(32)));
    assert_eq!(mistral.projections[2].k, 64);
}

/// Hidden states of the first layer's input are rows of the embedding.
#[test]
fn embedding_rows_are_those_of_transformers() {
    for name in ALL {
        let model = load(&fixture(name), WeightFormat::Int16).unwrap();
        let golden = std::fs::read(fixture(name).join("golden.safetensors")).unwrap();
        let golden = SafeTensors::deserialize(&golden).unwrap();
        let ids = golden.tensor("p1.input_ids").unwrap();
        let hidden = golden.tensor("p1.hidden.0").unwrap();
        let ids: Vec<u64> = bytemuck::pod_collect_to_vec(ids.data());
        let hidden: Vec<f32> = bytemuck::pod_collect_to_vec(hidden.data());
        let width = model.manifest.decoder.hidden_size as usize;
        assert_eq!(hidden.len(), ids.len() * width);
        for (row, id) in hidden.chunks(width).zip(&ids) {
            for (c, (expected, found)) in
                row.iter().zip(embedding(&model, *id as usize)).enumerate()
            {
                let unit = f64::from(model.manifest.projections[0].scales[c]);
                let error = (f64::from(*expected) - found).abs();
                assert!(
                    error <= unit / 2.0,
                    "{name}: token {id}, {c}: {expected}, found {found}"
                );
            }
        }
    }
}

/// The dequantised row of a token.
fn embedding(model: &Model, id: usize) -> Vec<f64> {
    let projection = &model.manifest.projections[0];
    let element = |(c, scale): (usize, &f32)| {
        let digit = |plane| i32::from(model.backend.read(0, plane, c, 1).unwrap()[id]);
        f64::from(256 * digit(0) + digit(1)) * f64::from(*scale)
    };
    projection.scales.iter().enumerate().map(element).collect()
}

#[test]
fn stop_tokens_are_those_of_the_golden_file() {
    for name in ALL {
        let golden = std::fs::read(fixture(name).join("golden.json")).unwrap();
        let golden: Value = serde_json::from_slice(&golden).unwrap();
        let expected: Vec<u32> = (golden["stop_token_ids"].as_array().unwrap().iter())
            .map(|id| id.as_u64().unwrap() as u32)
            .collect();
        let mut found = load(&fixture(name), WeightFormat::Int8)
            .unwrap()
            .manifest
            .generation
            .eos_token_ids;
        found.sort_unstable();
        let mut sorted = expected.clone();
        sorted.sort_unstable();
        assert_eq!(found, sorted, "{name}");
    }
}
