//! Arithmetic modulo p on a few columns side by side.
//!
//! Values are canonical, in [0, p), between operations: p < 2^31 leaves no room for the lazy range
//! [0, 4p). A value `x` in (-p, p), as two's complement, is made canonical by `min(x, x + p)` on
//! unsigned words: if `x` is negative its word is above 2^31 > x + p, else `x < x + p`. The same for
//! `x` in [0, 2p) with `x - p`. So there is no branch.

use super::field::{Factor, Field};

pub(super) use plain::*;

/// In any machine's words, for the compiler to make vectors of.
mod plain {
    use super::{Factor, Field};

    /// Columns in a [`Lanes`].
    pub const WIDTH: usize = 16;

    /// One residue of each of [`WIDTH`] columns.
    pub type Lanes = [u32; WIDTH];
    /// A signed 64-bit sum for each of [`WIDTH`] columns.
    pub type Sums = [i64; WIDTH];

    /// A prime and its inverse.
    #[derive(Clone, Copy)]
    pub struct Modulus {
        p: u32,
        inverse: u32,
    }

    impl Modulus {
        #[inline(always)]
        pub fn new(field: &Field) -> Self {
            Self {
                p: field.p,
                inverse: field.inverse,
            }
        }
    }

    /// The first [`WIDTH`] of `words`.
    #[inline(always)]
    pub fn load(words: &[u32]) -> Lanes {
        core::array::from_fn(|i| words[i])
    }

    #[inline(always)]
    pub fn store(lanes: Lanes, words: &mut [u32]) {
        words[..WIDTH].copy_from_slice(&lanes);
    }

    #[inline(always)]
    pub fn splat_factor(factor: Factor) -> (Lanes, Lanes) {
        ([factor.w; WIDTH], [factor.w_inverse; WIDTH])
    }

    /// `a + b mod p`.
    #[inline(always)]
    pub fn add(a: Lanes, b: Lanes, modulus: Modulus) -> Lanes {
        core::array::from_fn(|i| {
            let sum = a[i].wrapping_add(b[i]);
            sum.min(sum.wrapping_sub(modulus.p))
        })
    }

    /// `a - b + p`, in (0, 2p), below 2^32.
    #[inline(always)]
    pub fn difference(a: Lanes, b: Lanes, modulus: Modulus) -> Lanes {
        core::array::from_fn(|i| a[i].wrapping_sub(b[i]).wrapping_add(modulus.p))
    }

    /// `v * factor mod p` for any v.
    #[inline(always)]
    pub fn mul(v: Lanes, (w, w_inverse): (Lanes, Lanes), modulus: Modulus) -> Lanes {
        core::array::from_fn(|i| {
            let m = v[i].wrapping_mul(w_inverse[i]);
            let x = high(v[i], w[i]).wrapping_sub(high(m, modulus.p));
            x.min(x.wrapping_add(modulus.p))
        })
    }

    /// `e mod p` for `|e| < p`.
    #[inline(always)]
    pub fn lift(e: [i32; WIDTH], modulus: Modulus) -> Lanes {
        e.map(|e| (e as u32).min((e as u32).wrapping_add(modulus.p)))
    }

    /// Sums of nothing.
    #[inline(always)]
    pub fn zero() -> Sums {
        [0; WIDTH]
    }

    /// `sums + a * s`, for the first [`WIDTH`] of `a`.
    #[inline(always)]
    pub fn mul_add(sums: Sums, a: &[i32], s: i32) -> Sums {
        core::array::from_fn(|i| sums[i].wrapping_add(i64::from(a[i]) * i64::from(s)))
    }

    /// `sums / R mod p` for `|sums| < R * p`.
    #[inline(always)]
    pub fn reduce(sums: Sums, modulus: Modulus) -> Lanes {
        sums.map(|sum| {
            let m = (sum as u32).wrapping_mul(modulus.inverse);
            let top = (sum >> 32) as u32;
            let top = top.min(top.wrapping_add(modulus.p));
            let x = top.wrapping_sub(high(m, modulus.p));
            x.min(x.wrapping_add(modulus.p))
        })
    }

    #[inline(always)]
    fn high(a: u32, b: u32) -> u32 {
        ((u64::from(a) * u64::from(b)) >> 32) as u32
    }
}
