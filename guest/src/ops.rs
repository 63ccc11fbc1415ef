//! Structural decoding: every operation of a decoder that needs no weight matrix, in f32.
//!
//! # Determinism
//!
//! The same inputs give the same bits natively and in Wasm, for any batch and any cut of a prompt
//! into chunks. Every function here keeps to these rules:
//!
//! 1. A row's result depends on that row alone (attention: on its position, its window and the
//!    cached rows it sees), never on what else is in the call.
//! 2. Only `+ - * /`, square roots, comparisons and integer operations: IEEE 754 rounds them alike
//!    everywhere. No fused multiply-add: Rust never contracts `a * b + c`, and relaxed SIMD stays
//!    off.
//! 3. Sums have one written-down order. A sum over a row goes to [`LANES`] partial sums, element i
//!    to partial sum `i % LANES`, then [`lanes::sum`]'s tree. Attention scores add over `head_dim`
//!    in order; weighted values add within blocks of [`LANES`] positions in order, then over
//!    blocks in order, block borders being multiples of [`LANES`] counted from position 0.
//! 4. [`exp`](exp::exp) is our own; `pow`, `sin` and `cos` are crate `libm`'s, in f64, rounded once.
//!
//! Bits of NaNs are outside the promise: Wasm leaves their payload open. [`self_test_digest`]
//! hashes every operation on made-up inputs, so that two builds can be compared.
//!
//! # Side channels
//!
//! No branch and no address depends on a value: only on shapes and positions, which are public.

pub mod attention;
pub mod exp;
pub mod lanes;
pub mod rms_norm;
pub mod rope;
mod self_test;
pub mod swiglu;

pub use attention::{Heads, KvCache, KvMemory};
pub use lanes::LANES;
pub use rms_norm::{rms_norm, rms_norm_heads};
pub use rope::{Rope, Rotation};
pub use self_test::self_test_digest;
pub use swiglu::swiglu;

/// Adds to the residual stream: `x (rows,h) += y (rows,h)`.
pub fn add(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "residual and addend differ in length");
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Adds a bias to every row: `x (rows,n) += bias (n,)`. An empty bias adds nothing.
pub fn add_bias(x: &mut [f32], bias: &[f32]) {
    if bias.is_empty() {
        return;
    }
    assert!(
        x.len().is_multiple_of(bias.len()),
        "rows are not as long as the bias"
    );
    for row in x.chunks_exact_mut(bias.len()) {
        add(row, bias);
    }
}

#[cfg(test)]
mod tests;
