//! What fits the shape of a matrix.

use super::{BackendError, MatrixShape};

/// Weights are no more than this many bytes, so that no size computed from a shape overflows.
const MAX_WEIGHTS: usize = 1 << 44;

/// Refuses empty matrices and those with more than `max_k` inputs.
pub(super) fn validate(shape: MatrixShape, max_k: usize) -> Result<(), BackendError> {
    let MatrixShape { k, n, .. } = shape;
    let fits = k.checked_mul(n).is_some_and(|kn| kn <= MAX_WEIGHTS);
    if k == 0 || n == 0 || k > max_k || !fits {
        return Err(BackendError::Usage(format!(
            "matrices have 1 to {max_k} inputs and at least one output: {k} x {n}"
        )));
    }
    Ok(())
}

/// `weights` elements from output `first` on are whole outputs of a plane that exists.
pub(super) fn check_weights(
    shape: MatrixShape,
    plane: usize,
    first: usize,
    weights: usize,
) -> Result<(), BackendError> {
    let MatrixShape { k, n, format } = shape;
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
pub(super) fn check_rows(
    shape: MatrixShape,
    rows: usize,
    length: usize,
) -> Result<(), BackendError> {
    let k = shape.k;
    let expected = rows.checked_mul(2 * k);
    if rows == 0 || expected != Some(length) {
        return Err(BackendError::Usage(format!(
            "{length} residues for {rows} rows: at least one row, 2 x {k} residues each"
        )));
    }
    Ok(())
}
