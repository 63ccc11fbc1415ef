//! What tests of several modules share: a [`memory`] backend, and a small model on it.

pub(crate) mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use talaria_wire::manifest::{
    self, Decoder, Generation, LayerExtras, Manifest, Place, Projection, Rope, RopeFrequencies,
    Structure, WeightFormat,
};

use crate::backend::Backend;
use crate::weights::Model;
use memory::{Control, Memory};

/// Longest wait for anything in tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A valid manifest of one layer: projections 16x8, 8x16, 8x8, 8x24, 12x8, 8x16.
pub(crate) fn tiny_manifest() -> Manifest {
    manifest_of(16)
}

/// The same with another vocabulary: the embedding's k and the LM head's n, 16 in the tiny one.
pub(crate) fn manifest_of(vocab_size: u32) -> Manifest {
    let decoder = Decoder {
        model_type: "qwen3".into(),
        hidden_size: 8,
        intermediate_size: 12,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 4,
        vocab_size,
        max_position_embeddings: 32,
        rms_norm_eps: 1e-6,
        rope: Rope {
            frequencies: RopeFrequencies::Fixed(vec![1.0, 0.01]),
            attention_factor: 1.0,
        },
    };
    let structure = Structure::PreNorm;
    let shapes = structure.shapes(&decoder, 1);
    let layer = LayerExtras {
        q_norm: vec![1.0; 4],
        k_norm: vec![1.0; 4],
        sliding_window: None,
    };
    Manifest {
        format: manifest::FORMAT,
        structure,
        decoder,
        weights: WeightFormat::Int16,
        projections: shapes.into_iter().map(projection).collect(),
        layers: vec![layer],
        generation: Generation::default(),
        text_files: BTreeMap::from([("tokenizer.json".into(), b"{}".to_vec())]),
    }
}

fn projection((place, k, n): (Place, u32, u32)) -> Projection {
    Projection {
        place,
        k,
        n,
        scales: vec![1.0; n as usize],
        bias: vec![],
    }
}

/// A model of pseudo-random weights and the control of its backend.
pub(crate) fn model(manifest: Manifest) -> (Arc<Model>, Arc<Control>) {
    manifest.validate().unwrap();
    let mut backend = Memory::default();
    let control = Arc::clone(&backend.control);
    let mut state = 1u32;
    for p in &manifest.projections {
        let shape = p.shape(manifest.weights);
        let matrix = backend.add_matrix(shape).unwrap();
        for plane in 0..manifest.weights.planes() {
            let weights: Vec<i8> = (0..shape.k * shape.n).map(|_| next(&mut state)).collect();
            backend.store(matrix, plane, 0, &weights).unwrap();
        }
    }
    let model = Model {
        manifest_bytes: manifest.to_bytes(),
        manifest,
        backend: Box::new(backend),
    };
    (Arc::new(model), control)
}

/// A linear congruential generator's upper byte.
fn next(state: &mut u32) -> i8 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*state >> 24) as i8
}

/// Residues of `rows` rows with k features, distinct for each `salt`.
pub(crate) fn some_rows(rows: usize, k: usize, salt: u32) -> Vec<u32> {
    let seed = [salt as u8; 32];
    talaria_arithmetic::keystream::expand_rows(&seed, rows, k)
}
