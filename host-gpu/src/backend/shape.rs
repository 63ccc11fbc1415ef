//! Shapes of matrices, and what fits them.

use super::BackendError;
use talaria_wire::manifest::WeightFormat;

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

impl MatrixShape {
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
