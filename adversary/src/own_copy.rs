//! The attacker's own copy of the model: a GPU host has the weights, and the payload's code is public.
//!
//! It computes, for tokens that the attacker tries, the rows that would enter each projection. Structural operations
//! are the payload's; products are plain f32 over the same quantised weights, so rows agree with the payload's to
//! about five digits, and exactly at the input of the first layer.

use std::ops::Range;
use std::sync::Arc;

use nalgebra::{DMatrix, DMatrixView};
use talaria_arithmetic::exactness::{delta_bits, row_bits};
use talaria_arithmetic::fixed_point::power_of_two;
use talaria_guest::fixed_point::FixedRows;
use talaria_guest::ops::{Rope, Rotation, rms_norm, rms_norm_heads, swiglu};
use talaria_guest::projection::name;
use talaria_host_gpu::backend::BackendError;
use talaria_host_gpu::weights::Model;
use talaria_local::LocalError;
use talaria_wire::digest::ModelDigest;
use talaria_wire::manifest::{Manifest, Projection};

use crate::error::AdversaryError;

/// Outputs of a matrix read from the device at a time.
const READ_OUTPUTS: usize = 256;

/// A model as its attacker holds it.
pub struct OwnCopy {
    /// Dimensions, norms, biases.
    pub manifest: Manifest,
    /// Digest of manifest and weights.
    pub digest: ModelDigest,
    /// For each projection W^T (n,k), dequantised; activations are columns.
    weights: Vec<DMatrix<f32>>,
    /// Largest sum of weight magnitudes in a column of a plane, of each projection.
    plane_l1: Vec<u64>,
    rope: Rope,
}

/// Keys and values of the tokens before.
#[derive(Clone, Default)]
pub struct Prefix {
    len: usize,
    /// For each layer: keys and values, each a column (kv,) a position.
    layers: Vec<[Vec<f32>; 2]>,
}

/// What candidates for one position would bring.
pub struct Step {
    /// Rows entering qkv of layer 0, 1, ..: (hidden_size, candidates).
    pub qkv_inputs: Vec<DMatrix<f32>>,
    /// The residual stream after the last layer computed (hidden_size, candidates).
    pub hidden: DMatrix<f32>,
    /// For each layer computed: keys and values (kv, candidates).
    caches: Vec<[DMatrix<f32>; 2]>,
}

impl OwnCopy {
    /// Reads the weights back from a loaded checkpoint.
    ///
    /// # Errors
    /// The device's.
    pub fn new(model: &Arc<Model>) -> Result<Self, AdversaryError> {
        let device = |error: BackendError| AdversaryError::System(LocalError::from(error));
        let manifest = model.manifest.clone();
        let (mut weights, mut plane_l1) = (Vec::new(), Vec::new());
        for (index, projection) in manifest.projections.iter().enumerate() {
            let (matrix, l1) = read(model, index, projection).map_err(device)?;
            weights.push(matrix);
            plane_l1.push(l1);
        }
        Ok(Self {
            digest: model.digest().map_err(device)?,
            rope: Rope::new(&manifest.decoder.rope, manifest.decoder.head_dim as usize),
            weights,
            plane_l1,
            manifest,
        })
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.manifest.layers.len()
    }

    /// Index of qkv of a layer.
    pub fn qkv(&self, layer: usize) -> usize {
        1 + 4 * layer
    }

    /// `layer 3 qkv`, `embedding`.
    pub fn place(&self, projection: usize) -> String {
        self.manifest
            .projections
            .get(projection)
            .map(name)
            .unwrap_or_default()
    }

    /// Features of a row of a projection.
    pub fn features(&self, projection: usize) -> usize {
        self.manifest
            .projections
            .get(projection)
            .map_or(0, |p| p.k as usize)
    }

    /// Bits b_x of a row of a projection, sign included; none for the embedding.
    pub fn row_bits(&self, projection: usize) -> Option<u32> {
        let l1 = self.plane_l1.get(projection).filter(|_| projection > 0)?;
        row_bits(*l1)
    }

    /// Delta of a projection under module-lwe.
    pub fn delta(&self, projection: usize) -> u64 {
        1 << delta_bits(self.plane_l1.get(projection).copied().unwrap_or(0))
    }

    /// Embedding of every token (hidden_size, vocab).
    pub fn embeddings(&self) -> &DMatrix<f32> {
        &self.weights[0]
    }

    /// W^T (n,k) of a projection, dequantised.
    pub fn weights(&self, projection: usize) -> &DMatrix<f32> {
        &self.weights[projection]
    }

    /// What every token sends to qkv of layer 0, which depends on nothing else (hidden_size, vocab).
    pub fn first_rows(&self) -> DMatrix<f32> {
        self.normed(self.embeddings())
    }

    /// Columns of `rows` (k,count) as the payload quantises rows of a projection: X, exactly.
    pub fn quantised(&self, projection: usize, rows: &DMatrix<f32>) -> Option<Vec<Vec<i32>>> {
        let fixed = FixedRows::quantise(rows.as_slice(), rows.nrows(), self.row_bits(projection)?);
        Some(fixed.ok()?.iter().map(<[i32]>::to_vec).collect())
    }

    /// Computes `candidates` at the position after `prefix`, through the first `layers` layers.
    pub fn step(&self, prefix: &Prefix, candidates: &[u32], layers: usize) -> Step {
        let columns: Vec<usize> = candidates.iter().map(|t| *t as usize).collect();
        let mut x = self.embeddings().select_columns(&columns);
        let rotation = self.rope.rotation(prefix.len);
        let mut step = Step {
            qkv_inputs: vec![self.normed(&x)],
            hidden: DMatrix::zeros(0, 0),
            caches: Vec::new(),
        };
        for layer in 0..layers {
            let at = self.qkv(layer);
            // (hidden_size, c) -> (q + 2 kv, c) -> (q, c) -> (hidden_size, c)
            let qkv = self.product(at, &step.qkv_inputs[layer]);
            let (attended, cache) = self.attend(prefix, layer, &rotation, qkv);
            x += self.product(at + 1, &attended);
            // (hidden_size, c) -> (2 i, c) -> (i, c) -> (hidden_size, c)
            let gate_up = self.product(at + 2, &self.normed(&x));
            let width = self.manifest.decoder.intermediate_size as usize;
            let product = swiglu(gate_up.as_slice(), width);
            x += self.product(at + 3, &DMatrix::from_vec(width, x.ncols(), product));
            step.caches.push(cache);
            step.qkv_inputs.push(self.normed(&x));
        }
        step.hidden = x;
        step
    }

    /// Appends candidate `chosen` of a step to the prefix. The step must have gone through as many layers as all
    /// later ones will.
    pub fn advance(&self, prefix: &mut Prefix, step: &Step, chosen: usize) {
        prefix
            .layers
            .resize_with(step.caches.len(), Default::default);
        for (layer, cache) in prefix.layers.iter_mut().zip(&step.caches) {
            for (all, new) in layer.iter_mut().zip(cache) {
                all.extend_from_slice(new.column(chosen).as_slice());
            }
        }
        prefix.len += 1;
    }

    /// Logits (vocab, c) of hidden states after the last layer (hidden_size, c).
    pub fn logits(&self, hidden: &DMatrix<f32>) -> DMatrix<f32> {
        self.product(self.weights.len() - 1, &self.normed(hidden))
    }

    fn normed(&self, x: &DMatrix<f32>) -> DMatrix<f32> {
        let rows = rms_norm(x.as_slice(), x.nrows(), self.manifest.decoder.rms_norm_eps);
        DMatrix::from_vec(x.nrows(), x.ncols(), rows)
    }

    fn product(&self, projection: usize, x: &DMatrix<f32>) -> DMatrix<f32> {
        let mut y = &self.weights[projection] * x;
        let bias = &self.manifest.projections[projection].bias;
        if !bias.is_empty() {
            for mut column in y.column_iter_mut() {
                column.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
        y
    }

    /// Attention of each candidate over the prefix and itself; its key and value.
    fn attend(
        &self,
        prefix: &Prefix,
        layer: usize,
        rotation: &Rotation,
        qkv: DMatrix<f32>,
    ) -> (DMatrix<f32>, [DMatrix<f32>; 2]) {
        let d = &self.manifest.decoder;
        let (q_size, kv_size) = (d.q_size() as usize, d.kv_size() as usize);
        let extras = &self.manifest.layers[layer];
        let mut queries = qkv.rows(0, q_size).into_owned();
        let mut keys = qkv.rows(q_size, kv_size).into_owned();
        let values = qkv.rows(q_size + kv_size, kv_size).into_owned();
        for (rows, gain) in [(&mut queries, &extras.q_norm), (&mut keys, &extras.k_norm)] {
            rms_norm_heads(rows.as_mut_slice(), gain, d.rms_norm_eps);
            for mut column in rows.column_iter_mut() {
                rotation.apply(column.as_mut_slice());
            }
        }
        let seen = match extras.sliding_window {
            Some(window) => (prefix.len + 1).saturating_sub(window as usize)..prefix.len,
            None => 0..prefix.len,
        };
        let no_cache = [Vec::new(), Vec::new()];
        let [old_keys, old_values] = prefix.layers.get(layer).unwrap_or(&no_cache);
        let old = |all: &[f32]| all[seen.start * kv_size..seen.end * kv_size].to_vec();
        let old_keys = DMatrix::from_vec(kv_size, seen.len(), old(old_keys));
        let old_values = DMatrix::from_vec(kv_size, seen.len(), old(old_values));
        let mut out = DMatrix::zeros(q_size, queries.ncols());
        let head_dim = d.head_dim as usize;
        let group = (d.num_attention_heads / d.num_key_value_heads) as usize;
        for head in 0..d.num_attention_heads as usize {
            let of = |head: usize| head * head_dim..(head + 1) * head_dim;
            let (q, kv) = (of(head), of(head / group));
            let attended = attend_head(
                rows(&queries, &q),
                [rows(&old_keys, &kv), rows(&old_values, &kv)],
                [rows(&keys, &kv), rows(&values, &kv)],
            );
            out.rows_mut(q.start, head_dim).copy_from(&attended);
        }
        (out, [keys, values])
    }
}

fn rows<'m>(matrix: &'m DMatrix<f32>, range: &Range<usize>) -> Rows<'m> {
    matrix.rows(range.start, range.len())
}

/// Some rows of a matrix.
type Rows<'m> = DMatrixView<'m, f32, nalgebra::U1, nalgebra::Dyn>;

/// One head: queries (d,c) over old keys and values (d,t) and the candidate's own (d,c): (d,c).
fn attend_head(q: Rows<'_>, old: [Rows<'_>; 2], own: [Rows<'_>; 2]) -> DMatrix<f32> {
    let scale = 1.0 / (q.nrows() as f32).sqrt();
    let mut scores = old[0].transpose() * q * scale;
    let mut out = DMatrix::zeros(q.nrows(), q.ncols());
    for (c, mut scores) in scores.column_iter_mut().enumerate() {
        let own_score = q.column(c).dot(&own[0].column(c)) * scale;
        let max = scores.iter().fold(own_score, |m, s| m.max(*s));
        scores.apply(|s| *s = (*s - max).exp());
        let own_weight = (own_score - max).exp();
        let sum = scores.sum() + own_weight;
        let mixed = old[1] * &scores + own[1].column(c) * own_weight;
        out.column_mut(c).copy_from(&(mixed / sum));
    }
    out
}

/// W^T (n,k) of a projection and its largest sum of magnitudes in a column of a plane.
fn read(
    model: &Model,
    index: usize,
    projection: &Projection,
) -> Result<(DMatrix<f32>, u64), BackendError> {
    let (k, n) = (projection.k as usize, projection.n as usize);
    let planes = model.manifest.weights.planes();
    // (k,n): an output is a column.
    let mut matrix = DMatrix::zeros(k, n);
    let mut l1 = 0;
    for first in (0..n).step_by(READ_OUTPUTS) {
        let count = READ_OUTPUTS.min(n - first);
        for plane in 0..planes {
            let factor = if plane + 1 < planes { 256.0 } else { 1.0 };
            let read = model.backend.read(index, plane, first, count)?;
            for (c, output) in read.chunks_exact(k).enumerate() {
                let magnitudes = output.iter().map(|w| u64::from(w.unsigned_abs()));
                l1 = l1.max(magnitudes.sum());
                let scale = power_of_two(-i32::from(projection.exponents[first + c])) * factor;
                for (w, plane) in matrix.column_mut(first + c).iter_mut().zip(output) {
                    *w += (f64::from(*plane) * scale) as f32;
                }
            }
        }
    }
    Ok((matrix.transpose(), l1))
}
