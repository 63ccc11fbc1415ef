use talaria_wire::manifest::WeightFormat;
use tempfile::TempDir;

use super::*;
use crate::weights::digest_dir;

const TINY: Size = Size {
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 16,
    vocab_size: 300,
    max_position_embeddings: 128,
};

fn written(size: &Size, seed: u64) -> TempDir {
    let dir = TempDir::new().unwrap();
    write(dir.path(), size, seed).unwrap();
    dir
}

#[test]
fn loads_and_depends_on_the_seed_only() {
    let digest = |seed: u64| {
        let dir = written(&TINY, seed);
        digest_dir(dir.path(), WeightFormat::Int16, &mut |_| ()).unwrap()
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn sizes_are_those_promised() {
    let parameters = |preset: Preset| preset.size().parameters();
    assert_eq!(parameters(Preset::Small) / 1_000_000, 9);
    assert_eq!(parameters(Preset::Medium) / 1_000_000, 297);
    assert_eq!(parameters(Preset::Large) / 1_000_000, 596);
    let dir = written(&TINY, 0);
    let file = fs::metadata(dir.path().join("model.safetensors")).unwrap();
    let data = 2 * TINY.parameters();
    assert!((data..data + 8192).contains(&file.len()));
}

#[test]
fn values_have_the_deviation_asked_for() {
    for tensor in tensors::all(&TINY) {
        let mut bytes = Vec::new();
        tensor.write(&mut Random::new(7), &mut bytes).unwrap();
        assert_eq!(bytes.len(), 2 * tensor.elements());
        if tensor.shape.len() < 2 {
            continue;
        }
        let values = bytes
            .chunks(2)
            .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f64());
        let variance = values.map(|v| v * v).sum::<f64>() / tensor.elements() as f64;
        let k = tensor.shape[1] as f64;
        let factor = match tensor.name.as_str() {
            name if name.contains("embed") => 4.0,
            name if name.contains("o_proj") || name.contains("down") => 0.5,
            _ => 1.0,
        };
        let found = variance.sqrt() * k.sqrt();
        assert!(
            (found / factor - 1.0).abs() < 0.05,
            "{}: {found}",
            tensor.name
        );
    }
}

#[test]
fn every_byte_has_a_character_of_its_own() {
    let tokenizer = tokenizer::tokenizer();
    let vocab = tokenizer["model"]["vocab"].as_object().unwrap();
    assert_eq!(vocab.len(), 256);
    // As byte-level BPE of every published checkpoint has it.
    for (character, byte) in [
        ("!", 33),
        ("~", 126),
        ("Ġ", 32),
        ("Ċ", 10),
        ("Ā", 0),
        ("ÿ", 255),
    ] {
        assert_eq!(vocab[character], byte);
    }
    assert_eq!(vocab["Ń"], 0xad);
}

#[test]
fn sizes_that_make_no_model() {
    let dir = TempDir::new().unwrap();
    let small = Size {
        vocab_size: 258,
        ..TINY
    };
    let refused = write(dir.path(), &small, 0).unwrap_err().to_string();
    assert!(
        refused.contains("vocab_size 258 is below the 259"),
        "{refused}"
    );
    let empty = Size {
        intermediate_size: 0,
        ..TINY
    };
    let refused = write(dir.path(), &empty, 0).unwrap_err().to_string();
    assert!(refused.contains("gate_proj"), "{refused}");
}
