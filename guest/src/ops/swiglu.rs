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
