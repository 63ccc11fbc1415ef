//! A backend in memory that tests can hold, count and break, and models on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use talaria_arithmetic::{PRIMES, residue};
use talaria_wire::manifest::{
    self, Decoder, Generation, LayerExtras, Manifest, Projection, Role, Rope, RopeScaling,
    WeightFormat,
};

use crate::backend::{Backend, BackendError, MatrixShape};
use crate::weights::Model;

/// Longest wait for anything in tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What tests know and steer of a [`Memory`] backend.
#[derive(Default)]
pub struct Control {
    /// Matrix and rows of every product begun.
    dispatches: Mutex<Vec<(usize, usize)>>,
    begun: Condvar,
    held: Mutex<bool>,
    released: Condvar,
    /// Products are errors.
    pub broken: AtomicBool,
    /// Products panic.
    pub panics: AtomicBool,
    /// Products lack their last residue.
    pub short: AtomicBool,
}

impl Control {
    /// Lets products begin, but not end.
    pub fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    /// Lets products end.
    pub fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    /// Waits until so many products have begun since the start, and gives all of them.
    pub fn wait_for_dispatches(&self, count: usize) -> Vec<(usize, usize)> {
        let dispatches = self.dispatches.lock().unwrap();
        let (dispatches, timeout) = self
            .begun
            .wait_timeout_while(dispatches, PATIENCE, |d| d.len() < count)
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "{} of {count} dispatches",
            dispatches.len()
        );
        dispatches.clone()
    }

    fn pass(&self, matrix: usize, rows: usize) {
        self.dispatches.lock().unwrap().push((matrix, rows));
        self.begun.notify_all();
        let held = self.held.lock().unwrap();
        let (_held, timeout) = self
            .released
            .wait_timeout_while(held, PATIENCE, |held| *held)
            .unwrap();
        assert!(!timeout.timed_out(), "never released");
    }
}

/// Matrices as plain integers.
#[derive(Default)]
pub struct Memory {
    matrices: Vec<(MatrixShape, Vec<Vec<i8>>)>,
    control: Arc<Control>,
}

impl Backend for Memory {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn name(&self) -> &'static str {
        "memory"
    }

    fn add_matrix(&mut self, shape: MatrixShape) -> Result<usize, BackendError> {
        let plane = vec![0; shape.k * shape.n];
        let planes = vec![plane; shape.format.planes()];
        self.matrices.push((shape, planes));
        Ok(self.matrices.len() - 1)
    }

    fn store(
        &mut self,
        matrix: usize,
        plane: usize,
        first: usize,
        weights: &[i8],
    ) -> Result<(), BackendError> {
        let (shape, planes) = &mut self.matrices[matrix];
        planes[plane][first * shape.k..][..weights.len()].copy_from_slice(weights);
        Ok(())
    }

    fn read(
        &self,
        matrix: usize,
        plane: usize,
        first: usize,
        count: usize,
    ) -> Result<Vec<i8>, BackendError> {
        let (shape, planes) = &self.matrices[matrix];
        Ok(planes[plane][first * shape.k..][..count * shape.k].to_vec())
    }

    fn project(&self, matrix: usize, rows: usize, x: &[u32]) -> Result<Vec<u32>, BackendError> {
        self.control.pass(matrix, rows);
        assert!(
            !self.control.panics.load(Ordering::Relaxed),
            "as the test wants"
        );
        if self.control.broken.load(Ordering::Relaxed) {
            return Err(BackendError::Device("unplugged".into()));
        }
        let (shape, planes) = &self.matrices[matrix];
        assert_eq!(x.len(), rows * 2 * shape.k);
        let mut y = product(*shape, planes, x);
        if self.control.short.load(Ordering::Relaxed) {
            y.pop();
        }
        Ok(y)
    }

    fn weight_bytes(&self) -> u64 {
        let planes = self.matrices.iter().flat_map(|(_, planes)| planes);
        planes.map(|plane| plane.len() as u64).sum()
    }
}

/// The definition, element by element.
fn product(shape: MatrixShape, planes: &[Vec<i8>], x: &[u32]) -> Vec<u32> {
    let weight = |j: usize, c: usize| {
        planes
            .iter()
            .fold(0, |w, plane| 256 * w + i64::from(plane[c * shape.k + j]))
    };
    let element = |half: &[u32], c: usize, p: u32| {
        let term = |(j, x): (usize, &u32)| residue::mul(residue::from_i64(weight(j, c), p), *x, p);
        half.iter()
            .enumerate()
            .map(term)
            .fold(0, |sum, term| residue::add(sum, term, p))
    };
    x.chunks_exact(shape.k)
        .enumerate()
        .flat_map(|(half, x)| (0..shape.n).map(move |c| element(x, c, PRIMES[half % 2])))
        .collect()
}

/// A valid manifest of one layer: projections 16x8, 8x16, 8x8, 8x24, 12x8, 8x16.
pub fn tiny_manifest() -> Manifest {
    let decoder = Decoder {
        model_type: "qwen3".into(),
        hidden_size: 8,
        intermediate_size: 12,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 4,
        vocab_size: 16,
        max_position_embeddings: 32,
        rms_norm_eps: 1e-6,
        rope: Rope {
            theta: 1e4,
            scaling: RopeScaling::None,
        },
    };
    let shapes = decoder.shapes(1);
    let layer = LayerExtras {
        q_norm: vec![1.0; 4],
        k_norm: vec![1.0; 4],
        sliding_window: None,
    };
    Manifest {
        format: manifest::FORMAT,
        decoder,
        weights: WeightFormat::Int16,
        projections: shapes.into_iter().map(projection).collect(),
        layers: vec![layer],
        generation: Generation::default(),
        text_files: BTreeMap::from([("tokenizer.json".into(), b"{}".to_vec())]),
    }
}

fn projection((role, layer, k, n): (Role, u32, u32, u32)) -> Projection {
    Projection {
        role,
        layer,
        k,
        n,
        exponents: vec![0; n as usize],
        bias: vec![],
    }
}

/// A model of pseudo-random weights and the control of its backend.
pub fn model(manifest: Manifest) -> (Arc<Model>, Arc<Control>) {
    manifest.validate().unwrap();
    let mut backend = Memory::default();
    let control = Arc::clone(&backend.control);
    let mut state = 1u32;
    for p in &manifest.projections {
        let shape = MatrixShape {
            k: p.k as usize,
            n: p.n as usize,
            format: manifest.weights,
        };
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
pub fn some_rows(rows: usize, k: usize, salt: u32) -> Vec<u32> {
    let seed = [salt as u8; 32];
    talaria_arithmetic::keystream::expand_rows(&seed, rows, k)
}
