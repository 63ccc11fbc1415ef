//! Root mean square normalisation (Zhang and Sennrich, 2019, arXiv 1910.07467).

use super::lanes::{map_in_place, sum_of_squares};

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
        map_in_place(row, |x| x * scale);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::self_test::Numbers;

    fn reference(row: &[f32], eps: f64) -> Vec<f64> {
        let squares: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
        let rms = (squares / row.len() as f64 + eps).sqrt();
        row.iter().map(|x| f64::from(*x) / rms).collect()
    }

    fn close(computed: f32, exact: f64) -> bool {
        (f64::from(computed) - exact).abs() <= 2e-6 * exact.abs()
    }

    proptest! {
        #[test]
        fn matches_f64(rows in 0usize..4, hidden_size in 1usize..2100, seed: u64) {
            let x = Numbers(seed).take(rows * hidden_size, 7.0);
            let out = rms_norm(&x, hidden_size, 1e-6);
            prop_assert_eq!(out.len(), x.len());
            for (x, out) in x.chunks(hidden_size).zip(out.chunks(hidden_size)) {
                for (y, exact) in out.iter().zip(reference(x, f64::from(1e-6f32))) {
                    prop_assert!(close(*y, exact), "{} and {}", y, exact);
                }
            }
        }

        #[test]
        fn heads_match_f64(heads in 1usize..5, head_dim in 1usize..200, seed: u64) {
            let mut numbers = Numbers(seed);
            let (x, gain) = (numbers.take(heads * head_dim, 7.0), numbers.take(head_dim, 2.0));
            let mut out = x.clone();
            rms_norm_heads(&mut out, &gain, 1e-5);
            for (x, out) in x.chunks(head_dim).zip(out.chunks(head_dim)) {
                for ((y, exact), g) in out.iter().zip(reference(x, f64::from(1e-5f32))).zip(&gain) {
                    prop_assert!(close(*y, exact * f64::from(*g)), "{} and {}", y, exact);
                }
            }
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        assert_eq!(rms_norm(&[0.0; 8], 4, 1e-6), [0.0; 8]);
    }

    #[test]
    fn without_gain_nothing_changes() {
        let mut x = [1.0, 2.0, 3.0];
        rms_norm_heads(&mut x, &[], 1e-6);
        assert_eq!(x, [1.0, 2.0, 3.0]);
    }
}
