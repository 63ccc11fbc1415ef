//! Arithmetic modulo p on a few columns side by side.
//!
//! Values are canonical, in [0, p), between operations: p < 2^31 leaves no room for the lazy range
//! [0, 4p). A value `x` in (-p, p), as two's complement, is made canonical by `min(x, x + p)` on
//! unsigned words: if `x` is negative its word is above 2^31 > x + p, else `x < x + p`. The same for
//! `x` in [0, 2p) with `x - p`. So there is no branch.

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
pub(super) use plain::*;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) use simd128::*;

/// In any machine's words, for the compiler to make vectors of.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod plain {
    use super::super::LANES;
    use super::super::field::{Factor, Field};

    /// Columns in a [`Lanes`].
    pub(crate) const WIDTH: usize = 8;

    /// One word of each of [`WIDTH`] columns.
    pub(crate) type Lanes = [u32; WIDTH];
    /// A [`Factor`] for every column.
    pub(crate) type Factors = (Lanes, Lanes);

    /// A prime and its inverse.
    #[derive(Clone, Copy)]
    pub(crate) struct Modulus {
        p: u32,
        inverse: u32,
    }

    impl Modulus {
        #[inline(always)]
        pub(crate) fn new(field: &Field) -> Self {
            Self {
                p: field.p,
                inverse: field.inverse,
            }
        }

        /// The factor for every column.
        #[inline(always)]
        pub(crate) fn splat(self, factor: Factor) -> Factors {
            ([factor.w; WIDTH], [factor.w_inverse; WIDTH])
        }

        /// Both unchanged: here, nothing needs to be veiled.
        #[inline(always)]
        pub(crate) fn veil<const N: usize>(
            self,
            factors: [Factors; N],
            _data: Lanes,
        ) -> (Self, [Factors; N]) {
            (self, factors)
        }
    }

    /// The first [`WIDTH`] of `words`.
    #[inline(always)]
    pub(crate) fn load(words: &[u32]) -> Lanes {
        let words = &words[..WIDTH];
        core::array::from_fn(|i| words[i])
    }

    #[inline(always)]
    pub(crate) fn store(lanes: Lanes, words: &mut [u32]) {
        words[..WIDTH].copy_from_slice(&lanes);
    }

    /// `a + b mod p`.
    #[inline(always)]
    pub(crate) fn add(a: Lanes, b: Lanes, modulus: Modulus) -> Lanes {
        core::array::from_fn(|i| {
            let sum = a[i].wrapping_add(b[i]);
            sum.min(sum.wrapping_sub(modulus.p))
        })
    }

    /// `a - b + p`, in (0, 2p), below 2^32.
    #[inline(always)]
    pub(crate) fn difference(a: Lanes, b: Lanes, modulus: Modulus) -> Lanes {
        core::array::from_fn(|i| a[i].wrapping_sub(b[i]).wrapping_add(modulus.p))
    }

    /// `v * factor mod p` for any v.
    #[inline(always)]
    pub(crate) fn mul(v: Lanes, (w, w_inverse): Factors, modulus: Modulus) -> Lanes {
        core::array::from_fn(|i| {
            let m = v[i].wrapping_mul(w_inverse[i]);
            let x = high(v[i], w[i]).wrapping_sub(high(m, modulus.p));
            x.min(x.wrapping_add(modulus.p))
        })
    }

    /// Bits `shift` to `shift + bits` of the words, less `2^(bits - 1)`, modulo p.
    #[inline(always)]
    pub(crate) fn centred_bits(words: Lanes, shift: u32, bits: u32, modulus: Modulus) -> Lanes {
        words.map(|word| {
            let x = ((word >> shift) & ((1 << bits) - 1)).wrapping_sub(1 << (bits - 1));
            x.min(x.wrapping_add(modulus.p))
        })
    }

    /// `sum of a_l * s_l / R mod p` for a (l, LANES) and s (l), at most eight centred terms, to row (LANES).
    ///
    /// Written for compilers: they make vectors of columns where the number of terms is known and small, and results
    /// go where they belong at once, because a vector that is read back in other pieces than it was stored in has
    /// to wait for the cache.
    #[inline(always)]
    pub(crate) fn product(a: &[i32], s: &[i32], modulus: Modulus, row: &mut [u32]) {
        let mut sums = [0; LANES];
        let (a, _) = a.as_chunks();
        add_products::<4>(&mut sums, a, s);
        let rest = s.len() & !3;
        add_products::<1>(&mut sums, &a[rest..], &s[rest..]);
        let (sums, _) = sums.as_chunks();
        for (x, sum) in row.chunks_exact_mut(WIDTH).zip(sums) {
            store(reduce(sum, modulus), x);
        }
    }

    /// Adds `a_l * s_l`, TERMS terms at a time, as long as there are so many.
    #[inline(always)]
    fn add_products<const TERMS: usize>(sums: &mut [i64; LANES], a: &[[i32; LANES]], s: &[i32]) {
        let (a, _) = a.as_chunks::<TERMS>();
        let (s, _) = s.as_chunks::<TERMS>();
        for (a, s) in a.iter().zip(s) {
            *sums = core::array::from_fn(|i| {
                let terms = a.iter().zip(s);
                terms.fold(sums[i], |sum, (a, s)| {
                    sum.wrapping_add(i64::from(a[i]) * i64::from(*s))
                })
            });
        }
    }

    /// `sum / R mod p`.
    #[inline(always)]
    fn reduce(sum: &[i64; WIDTH], modulus: Modulus) -> Lanes {
        core::array::from_fn(|i| {
            let m = (sum[i] as u32).wrapping_mul(modulus.inverse);
            let top = (sum[i] >> 32) as u32;
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

/// Four columns in a v128.
///
/// Cranelift makes one machine multiplication of a widening product (`extmul`) only if it sees both
/// factors being widened, the same halves of four lanes. LLVM breaks that form up where it knows that
/// all lanes of a factor are equal, that they were just loaded, or that a factor stays the same in a
/// loop, out of which it then moves the widening. So factors are veiled: xored with zeros that LLVM
/// cannot see through, in loops with zeros that seem to depend on the data.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128 {
    use super::super::LANES;
    use super::super::field::{Factor, Field};
    use core::arch::wasm32::{
        i32x4_add, i32x4_mul, i32x4_shuffle, i32x4_sub, i64x2_add, i64x2_extmul_high_i32x4,
        i64x2_extmul_low_i32x4, i64x2_splat, i64x2_sub, u32x4, u32x4_extract_lane, u32x4_min,
        u32x4_shr, u32x4_splat, u64x2_extmul_high_u32x4, u64x2_extmul_low_u32x4, v128, v128_and,
        v128_xor,
    };

    pub(crate) const WIDTH: usize = 4;

    pub(crate) type Lanes = v128;
    pub(crate) type Factors = (Lanes, Lanes);

    #[derive(Clone, Copy)]
    pub(crate) struct Modulus {
        p: v128,
        inverse: v128,
        zeros: v128,
    }

    impl Modulus {
        #[inline(always)]
        pub(crate) fn new(field: &Field) -> Self {
            Self {
                p: u32x4_splat(field.p),
                inverse: u32x4_splat(field.inverse),
                zeros: core::hint::black_box(u32x4_splat(0)),
            }
        }

        #[inline(always)]
        pub(crate) fn splat(self, factor: Factor) -> Factors {
            (u32x4_splat(factor.w), u32x4_splat(factor.w_inverse))
        }

        /// Both unchanged, as if they depended on the data.
        #[inline(always)]
        pub(crate) fn veil<const N: usize>(
            self,
            factors: [Factors; N],
            data: Lanes,
        ) -> (Self, [Factors; N]) {
            let zeros = v128_and(data, self.zeros);
            let p = v128_xor(self.p, zeros);
            let factors = factors.map(|(w, w_inverse)| (v128_xor(w, zeros), w_inverse));
            (Self { p, ..self }, factors)
        }
    }

    #[inline(always)]
    pub(crate) fn load(words: &[u32]) -> Lanes {
        let words = &words[..WIDTH];
        u32x4(words[0], words[1], words[2], words[3])
    }

    #[inline(always)]
    pub(crate) fn store(lanes: Lanes, words: &mut [u32]) {
        words[..WIDTH].copy_from_slice(&[
            u32x4_extract_lane::<0>(lanes),
            u32x4_extract_lane::<1>(lanes),
            u32x4_extract_lane::<2>(lanes),
            u32x4_extract_lane::<3>(lanes),
        ]);
    }

    #[inline(always)]
    pub(crate) fn add(a: Lanes, b: Lanes, modulus: Modulus) -> Lanes {
        let sum = i32x4_add(a, b);
        u32x4_min(sum, i32x4_sub(sum, modulus.p))
    }

    #[inline(always)]
    pub(crate) fn difference(a: Lanes, b: Lanes, modulus: Modulus) -> Lanes {
        i32x4_add(i32x4_sub(a, b), modulus.p)
    }

    #[inline(always)]
    pub(crate) fn mul(v: Lanes, (w, w_inverse): Factors, modulus: Modulus) -> Lanes {
        let m = i32x4_mul(v, w_inverse);
        // Low halves are equal and cancel, so the high halves are the difference of high halves.
        let low = i64x2_sub(
            u64x2_extmul_low_u32x4(v, w),
            u64x2_extmul_low_u32x4(m, modulus.p),
        );
        let high = i64x2_sub(
            u64x2_extmul_high_u32x4(v, w),
            u64x2_extmul_high_u32x4(m, modulus.p),
        );
        lift(high_words(low, high), modulus)
    }

    #[inline(always)]
    pub(crate) fn centred_bits(words: Lanes, shift: u32, bits: u32, modulus: Modulus) -> Lanes {
        let field = v128_and(u32x4_shr(words, shift), u32x4_splat((1 << bits) - 1));
        lift(i32x4_sub(field, u32x4_splat(1 << (bits - 1))), modulus)
    }

    #[inline(always)]
    pub(crate) fn product(a: &[i32], s: &[i32], modulus: Modulus, row: &mut [u32]) {
        let mut sums = [[i64x2_splat(0); 2]; LANES / WIDTH];
        for (a, s) in a.chunks_exact(LANES).zip(s) {
            let s = v128_xor(u32x4_splat(*s as u32), modulus.zeros);
            for ([low, high], a) in sums.iter_mut().zip(a.chunks_exact(WIDTH)) {
                let a = u32x4(a[0] as u32, a[1] as u32, a[2] as u32, a[3] as u32);
                let a = v128_xor(a, modulus.zeros);
                *low = i64x2_add(*low, i64x2_extmul_low_i32x4(a, s));
                *high = i64x2_add(*high, i64x2_extmul_high_i32x4(a, s));
            }
        }
        let (modulus, []) = modulus.veil([], sums[0][0]);
        for (x, [low, high]) in row.chunks_exact_mut(WIDTH).zip(sums) {
            let m = i32x4_mul(low_words(low, high), modulus.inverse);
            let top = lift(high_words(low, high), modulus);
            let low = u64x2_extmul_low_u32x4(m, modulus.p);
            let high = u64x2_extmul_high_u32x4(m, modulus.p);
            let reduced = lift(i32x4_sub(top, high_words(low, high)), modulus);
            store(reduced, x);
        }
    }

    /// Of a word in (-p, p), its residue.
    #[inline(always)]
    fn lift(x: v128, modulus: Modulus) -> v128 {
        u32x4_min(x, i32x4_add(x, modulus.p))
    }

    /// The low words of four double words.
    #[inline(always)]
    fn low_words(low: v128, high: v128) -> v128 {
        i32x4_shuffle::<0, 2, 4, 6>(low, high)
    }

    /// The high words of four double words.
    #[inline(always)]
    fn high_words(low: v128, high: v128) -> v128 {
        i32x4_shuffle::<1, 3, 5, 7>(low, high)
    }
}
