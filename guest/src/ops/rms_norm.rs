//! Root mean square normalisation (Zhang and Sennrich, 2019, arXiv 1910.07467).

use super::lanes::sum_of_squares;

/// `x (rows, h) -> x / sqrt(mean(x^2) + eps)` row by row. No gain: gains of norms before a matrix are
/// folded into the matrix.
pub fn rms_norm(x: &[f32], hidden_size: usize, eps: f32) -> Vec<f32> {
    assert!(
        x.len().is_multiple_of(hidden_size),
        "x is not made of rows of {hidden_size}"
    );
    let mut out = x.to_vec();
    for row in out.chunks_exact_mut(hidden_size) {
        let scale = inverse_rms(row, eps);
        row.iter_mut().for_each(|x| *x *= scale);
    }
    out
}

/// Query or key norm in place: `x (rows, heads, head_dim)`, each head normalised by itself and
/// multiplied by `gain (head_dim,)`. An empty gain leaves x as it is: the family has no such norm.
pub fn rms_norm_heads(x: &mut [f32], gain: &[f32], eps: f32) {
    if gain.is_empty() {
        return;
    }
    assert!(
        x.len().is_multiple_of(gain.len()),
        "x is not made of heads of {}",
        gain.len()
    );
    for head in x.chunks_exact_mut(gain.len()) {
        let scale = inverse_rms(head, eps);
        for (x, g) in head.iter_mut().zip(gain) {
            *x = *x * scale * g;
        }
    }
}

fn inverse_rms(row: &[f32], eps: f32) -> f32 {
    let mean_square = sum_of_squares(row) / row.len() as f32;
    1.0 / (mean_square + eps).sqrt()
}
