//! The attacker's own copy of the model: a GPU host has the weights, and the payload's code is public.
//!
//! It computes, for tokens that the attacker tries, the rows that would enter each projection. The decoder is the
//! payload's; products are plain f32 over the same quantised weights, so rows agree with the payload's to
//! about five digits, and exactly at the input of the first layer.

use std::convert::Infallible;
use std::sync::Arc;

use nalgebra::{DMatrix, DMatrixView};
use talaria_arithmetic::exactness::{delta_bits, row_bits};
use talaria_guest::fixed_point::{FixedRows, Row};
use talaria_guest::models::{Decoder, Input, Products, State};
use talaria_guest::ops::{KvMemory, rms_norm};
use talaria_host_gpu::backend::BackendError;
use talaria_host_gpu::weights::Model;
use talaria_local::LocalError;
use talaria_wire::digest::ModelDigest;
use talaria_wire::manifest::{Manifest, Place, Projection, Role};

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
    decoder: Decoder,
}

/// Tokens before the one in question.
#[derive(Clone)]
pub struct Prefix {
    len: usize,
    state: State,
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
            decoder: Decoder::new(&manifest),
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
        self.index(Role::Qkv.of(layer as u32))
    }

    fn index(&self, place: Place) -> usize {
        let index = self.manifest.index_of(place);
        index.expect("attacks and decoder ask for what the structure has")
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
        let entry = self.manifest.projections.get(projection)?;
        match entry.place {
            Place::EMBEDDING => None,
            _ => row_bits(*self.plane_l1.get(projection)?),
        }
    }

    /// Delta of a projection under module-lwe.
    pub fn delta(&self, projection: usize) -> u64 {
        1 << delta_bits(self.plane_l1.get(projection).copied().unwrap_or(0))
    }

    /// Embedding of every token (hidden_size, vocab).
    pub fn embeddings(&self) -> &DMatrix<f32> {
        &self.weights[self.index(Place::EMBEDDING)]
    }

    /// W^T (n,k) of a projection, dequantised.
    pub fn weights(&self, projection: usize) -> &DMatrix<f32> {
        &self.weights[projection]
    }

    /// What every token sends to qkv of layer 0, which depends on nothing else (hidden_size, vocab).
    pub fn first_rows(&self) -> DMatrix<f32> {
        let x = self.embeddings();
        let rows = rms_norm(x.as_slice(), x.nrows(), self.manifest.decoder.rms_norm_eps);
        DMatrix::from_vec(x.nrows(), x.ncols(), rows)
    }

    /// Columns of `rows` (k,count) as the payload quantises rows of a projection: X, exactly.
    pub fn quantised(&self, projection: usize, rows: &DMatrix<f32>) -> Option<Vec<Vec<i32>>> {
        let fixed = FixedRows::quantise(rows.as_slice(), rows.nrows(), self.row_bits(projection)?);
        let of = |row: Row<'_>| match row {
            Row::Integers(x) => Some(x.to_vec()),
            Row::OneHot(_) => None,
        };
        fixed.ok()?.iter().map(of).collect()
    }

    /// No tokens.
    pub fn begin(&self) -> Prefix {
        Prefix {
            len: 0,
            state: self.decoder.state(&KvMemory::default()),
        }
    }

    /// Rows that would enter qkv of a layer if one of `candidates` came after `prefix`: (hidden_size, candidates).
    pub fn rows_at(&self, layer: usize, prefix: &Prefix, candidates: &[u32]) -> DMatrix<f32> {
        let mut states = vec![prefix.state.clone(); candidates.len()];
        let tokens = candidates.chunks(1);
        let mut inputs: Vec<Input<'_>> = tokens
            .zip(&mut states)
            .map(|(tokens, state)| prefix.input(tokens, state, 0))
            .collect();
        let place = Role::Qkv.of(layer as u32);
        let mut products = UpTo { copy: self, place };
        let ran = self
            .decoder
            .hidden_states(&mut inputs, &mut products, &mut |_, _| {});
        ran.expect_err("every pass comes to qkv of each layer")
    }

    /// Appends a token to the prefix: logits (vocab,) of what comes next.
    pub fn advance(&self, prefix: &mut Prefix, token: u32) -> Vec<f32> {
        let mut state = prefix.state.clone();
        let input = prefix.input(std::slice::from_ref(&token), &mut state, 1);
        let Ok(logits) = self.decoder.forward(&mut [input], &mut Plain(self));
        prefix.state = state;
        prefix.len += 1;
        logits
    }

    /// y (rows,n) of x (rows,k).
    fn product(&self, place: Place, x: &[f32]) -> Vec<f32> {
        let index = self.index(place);
        let (weights, bias) = (&self.weights[index], &self.manifest.projections[index].bias);
        let k = weights.ncols();
        let mut y = weights * DMatrixView::from_slice(x, k, x.len() / k);
        if !bias.is_empty() {
            for mut column in y.column_iter_mut() {
                column.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        }
        y.data.into()
    }

    /// Rows of the embedding table (tokens,hidden).
    fn table(&self, tokens: &[u32]) -> Vec<f32> {
        let columns: Vec<usize> = tokens.iter().map(|token| *token as usize).collect();
        self.embeddings().select_columns(&columns).data.into()
    }
}

impl Prefix {
    fn input<'a>(&self, tokens: &'a [u32], state: &'a mut State, logits: usize) -> Input<'a> {
        Input {
            tokens,
            position: self.len,
            length: self.len + tokens.len(),
            state,
            logits,
        }
    }
}

/// Products as they are.
struct Plain<'c>(&'c OwnCopy);

impl Products for Plain<'_> {
    type Error = Infallible;

    fn project(&mut self, place: Place, x: &[f32]) -> Result<Vec<f32>, Infallible> {
        Ok(self.0.product(place, x))
    }

    fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Infallible> {
        Ok(self.0.table(tokens))
    }
}

/// Products up to a place: what would enter it ends the pass.
struct UpTo<'c> {
    copy: &'c OwnCopy,
    place: Place,
}

impl Products for UpTo<'_> {
    /// (k, rows)
    type Error = DMatrix<f32>;

    fn project(&mut self, place: Place, x: &[f32]) -> Result<Vec<f32>, DMatrix<f32>> {
        if place == self.place {
            let k = self.copy.features(self.copy.index(place));
            return Err(DMatrix::from_column_slice(k, x.len() / k, x));
        }
        Ok(self.copy.product(place, x))
    }

    fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, DMatrix<f32>> {
        Ok(self.copy.table(tokens))
    }
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
                let scale = f64::from(projection.scales[first + c]) * factor;
                for (w, plane) in matrix.column_mut(first + c).iter_mut().zip(output) {
                    *w += (f64::from(*plane) * scale) as f32;
                }
            }
        }
    }
    Ok((matrix.transpose(), l1))
}
