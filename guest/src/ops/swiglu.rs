//! Gated feed-forward activation.

use super::exp::exp;

/// `gate_up (rows, 2i) -> silu(gate) * up (rows, i)`: each row holds gate (i,), then up (i,).
/// silu(g) = g / (1 + exp(-g)).
pub fn swiglu(gate_up: &[f32], intermediate_size: usize) -> Vec<f32> {
    let width = 2 * intermediate_size;
    assert!(
        gate_up.len().is_multiple_of(width),
        "gate_up is not made of rows of {width}"
    );
    let mut out = vec![0.0; gate_up.len() / 2];
    let rows = out.chunks_exact_mut(intermediate_size);
    for (out, row) in rows.zip(gate_up.chunks_exact(width)) {
        let (gate, up) = row.split_at(intermediate_size);
        for ((out, g), u) in out.iter_mut().zip(gate).zip(up) {
            *out = g / (1.0 + exp(-g)) * u;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::self_test::Numbers;

    #[test]
    fn matches_f64() {
        let (rows, i) = (5, 37);
        let gate_up = Numbers(1).take(rows * 2 * i, 20.0);
        let out = swiglu(&gate_up, i);
        for (at, y) in out.iter().enumerate() {
            let (row, column) = (at / i, at % i);
            let gate = f64::from(gate_up[row * 2 * i + column]);
            let up = f64::from(gate_up[row * 2 * i + i + column]);
            let exact = gate / (1.0 + (-gate).exp()) * up;
            assert!(
                (f64::from(*y) - exact).abs() <= 4e-7 * exact.abs(),
                "{y} and {exact}"
            );
        }
    }

    #[test]
    fn saturates_without_nan() {
        let gate_up = [-1e30, -200.0, 200.0, 1e30, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(swiglu(&gate_up, 4), [0.0, 0.0, 200.0, 1e30]);
    }
}
