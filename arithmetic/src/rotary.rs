//! Frequencies of rotary position embeddings (Su et al., 2021, arXiv 2104.09864), with the float32 roundings of
//! Hugging Face transformers.
//!
//! Loaders compute them for the manifest; the payload does where they depend on the length of a sequence. `pow` is
//! crate libm's, so that both get the same bits on every machine.

/// `base^(2i / head_dim)` for i below head_dim / 2: the exponent and the power are rounded to f32.
pub fn powers(base: f32, head_dim: usize) -> impl Iterator<Item = f32> {
    (0..head_dim / 2).map(move |i| power(base, (2 * i) as f32 / head_dim as f32))
}

/// `base^(-2i / head_dim)`, radians a position: one over [`powers`].
pub fn frequencies(base: f32, head_dim: usize) -> impl Iterator<Item = f32> {
    powers(base, head_dim).map(|power| 1.0 / power)
}

/// The base of dynamic NTK scaling for a sequence of `length` tokens, more than `original` of them:
/// `base * (factor * length / original - (factor - 1))^(d / (d - 2))` for heads of d > 2 elements; every operation is
/// rounded to f32.
pub fn dynamic_base(base: f32, factor: f64, length: f32, original: f32, head_dim: usize) -> f32 {
    let d = head_dim as f64;
    let stretch = factor as f32 * length / original - (factor - 1.0) as f32;
    base * power(stretch, (d / (d - 2.0)) as f32)
}

fn power(base: f32, exponent: f32) -> f32 {
    libm::pow(f64::from(base), f64::from(exponent)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn frequencies_of_the_formula() {
        for (theta, d) in [(1e4f32, 64usize), (1e6, 128), (5e5, 2), (1e6, 80)] {
            let found: Vec<f32> = frequencies(theta, d).collect();
            assert_eq!(found.len(), d / 2);
            for (i, found) in found.into_iter().enumerate() {
                let exact = libm::pow(f64::from(theta), -2.0 * i as f64 / d as f64);
                // An exponent rounded to f32 moves the power by ln(theta) * 2^-25 at most.
                assert!((f64::from(found) - exact).abs() <= 6e-7 * exact);
            }
        }
    }

    #[test]
    fn the_dynamic_base_grows_from_the_base() {
        let base = |length: f32| dynamic_base(1e4, 4.0, length, 512.0, 64);
        assert_eq!(base(512.0), 1e4);
        let exact = |length: f64| 1e4 * libm::pow(4.0 * length / 512.0 - 3.0, 64.0 / 62.0);
        for length in [513.0, 600.0, 1024.0, 2048.0] {
            let error = f64::from(base(length as f32)) / exact(length) - 1.0;
            assert!(error.abs() < 1e-6, "{length}: {error}");
        }
    }
}
