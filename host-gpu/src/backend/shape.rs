//! Shapes of matrices and of their products, and what fits them.

use super::BackendError;
use talaria_arithmetic::residue::RESIDUE_BYTES;
use talaria_wire::manifest::{Manifest, WeightFormat};

/// What a product does with the planes of its matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planes {
    /// One output a column: `y = 256 * (x @ hi) + x @ lo`.
    #[default]
    Joined,
    /// One output a column and plane: `x @ hi`, then `x @ lo`. The product of a matrix with planes x n
    /// columns; for matrices of one plane the same as joined.
    Apart,
}

/// Shape and format of one weight matrix `W (k,n)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixShape {
    /// Input features.
    pub k: usize,
    /// Outputs.
    pub n: usize,
    /// Planes an element.
    pub format: WeightFormat,
}

impl Planes {
    /// Outputs a column.
    pub const fn parts(self, format: WeightFormat) -> usize {
        match self {
            Planes::Joined => 1,
            Planes::Apart => format.planes(),
        }
    }
}

impl MatrixShape {
    /// Of every projection of a manifest, in order.
    pub fn of_manifest(manifest: &Manifest) -> Vec<Self> {
        let projections = manifest.projections.iter();
        projections
            .map(|p| Self {
                k: p.k as usize,
                n: p.n as usize,
                format: manifest.weights,
            })
            .collect()
    }

    /// Residues of a row of a product modulo one prime: n, or planes x n.
    pub const fn outputs(self, planes: Planes) -> usize {
        planes.parts(self.format) * self.n
    }

    /// Bytes of rows: k residues modulo each of two primes.
    pub const fn input_bytes(self, rows: usize) -> usize {
        rows * 2 * self.k * RESIDUE_BYTES
    }

    /// Bytes of products: [`MatrixShape::outputs`] residues modulo each of two primes.
    pub const fn output_bytes(self, rows: usize, planes: Planes) -> usize {
        rows * 2 * self.outputs(planes) * RESIDUE_BYTES
    }

    /// Weights are no more than this many bytes, so that no size computed from a shape overflows.
    const MAX_WEIGHTS: usize = 1 << 44;

    /// Refuses empty matrices and those with more than `max_k` inputs.
    pub(super) fn validate(self, max_k: usize) -> Result<(), BackendError> {
        let MatrixShape { k, n, .. } = self;
        let fits = k.checked_mul(n).is_some_and(|kn| kn <= Self::MAX_WEIGHTS);
        if k == 0 || n == 0 || k > max_k || !fits {
            return Err(BackendError::Usage(format!(
                "matrices have 1 to {max_k} inputs and at least one output: {k} x {n}"
            )));
        }
        Ok(())
    }

    /// `weights` elements from output `first` on are whole outputs of a plane that exists.
    pub(super) fn check_weights(
        self,
        plane: usize,
        first: usize,
        weights: usize,
    ) -> Result<(), BackendError> {
        let MatrixShape { k, n, format } = self;
        let planes = format.planes();
        let end = first.saturating_add(weights / k);
        if plane >= planes || end > n || !weights.is_multiple_of(k) {
            return Err(BackendError::Usage(format!(
                "{weights} weights of plane {plane} from output {first} on: \
                 the matrix has {planes} planes of {n} outputs with {k} weights each"
            )));
        }
        Ok(())
    }

    /// `length` is that of at least one row: rows x 2 x k.
    pub(super) fn check_rows(self, rows: usize, length: usize) -> Result<(), BackendError> {
        let k = self.k;
        let expected = rows.checked_mul(2 * k);
        if rows == 0 || expected != Some(length) {
            return Err(BackendError::Usage(format!(
                "{length} residues for {rows} rows: at least one row, 2 x {k} residues each"
            )));
        }
        Ok(())
    }
}
