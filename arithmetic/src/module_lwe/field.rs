//! One of the two residue fields, in Montgomery's form with `R = 2^32`.
//!
//! Notation: `p < 2^31` the prime, `p' = p^-1 mod 2^32`, `hi(t)` and `lo(t)` the halves of a 64-bit
//! number. Reduction subtracts: with `m = lo(t) * p' mod 2^32`, `t - m * p` is divisible by 2^32, so
//! `t / R = hi(t) - hi(m * p) mod p`. A constant factor w is kept with `w' = w * p' mod 2^32`, so
//! that `m = lo(v * w')` does not wait for `t = v * w` (Shoup's trick in Montgomery's form, after
//! Seiler, IACR ePrint 2018/039).

use crate::PRIMES;

/// A prime with what its arithmetic needs.
#[derive(Clone, Copy)]
pub(super) struct Field {
    /// `p < 2^31`.
    pub p: u32,
    /// `p^-1 mod 2^32`.
    pub inverse: u32,
    /// `R^2 mod p`: multiplied by this, an element gains a factor R.
    r_squared: u32,
    /// The smallest quadratic non-residue.
    non_residue: u32,
}

/// The fields of [`PRIMES`], in that order.
pub(super) const FIELDS: [Field; 2] = [Field::new(PRIMES[0]), Field::new(PRIMES[1])];

/// A constant factor, ready for products with any `v < 2^32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Factor {
    /// `w * R mod p`.
    pub w: u32,
    /// `(w * R mod p) * p^-1 mod 2^32`.
    pub w_inverse: u32,
}

impl Field {
    const fn new(p: u32) -> Self {
        // Newton's iteration doubles the number of correct bits: 3, 6, 12, 24, 48.
        let mut inverse = p;
        let mut i = 0;
        while i < 4 {
            inverse = inverse.wrapping_mul(2u32.wrapping_sub(p.wrapping_mul(inverse)));
            i += 1;
        }
        let r = (1u64 << 32) % p as u64;
        let mut field = Self {
            p,
            inverse,
            r_squared: (r * r % p as u64) as u32,
            non_residue: 2,
        };
        // Euler's criterion.
        while field.pow(field.non_residue, (p - 1) / 2) != p - 1 {
            field.non_residue += 1;
        }
        field
    }

    /// The factor w < p.
    pub(super) const fn factor(&self, w: u32) -> Factor {
        let w = self.mul(w, self.r_squared);
        Factor {
            w,
            w_inverse: w.wrapping_mul(self.inverse),
        }
    }

    /// `a * b / R mod p`, below p, for `a < 2^32` and `b < p`, without a branch.
    pub(super) const fn mul(&self, a: u32, b: u32) -> u32 {
        let t = a as u64 * b as u64;
        let m = (t as u32).wrapping_mul(self.inverse);
        // hi(t) < b < p and hi(m * p) < p: the difference lies in (-p, p).
        let high = ((t >> 32) as u32).wrapping_sub(((m as u64 * self.p as u64) >> 32) as u32);
        self.lift(high)
    }

    /// `x mod p` for `x` in (-p, p) as two's complement, without a branch.
    const fn lift(&self, x: u32) -> u32 {
        x.wrapping_add(self.p & ((x as i32) >> 31) as u32)
    }

    /// The representative of `a < p` in `[-(p-1)/2, (p-1)/2]`, without a branch.
    pub(super) const fn centre(&self, a: u32) -> i32 {
        // All ones where a > (p-1)/2.
        let above = (((self.p - 1) / 2) as i32 - a as i32) >> 31;
        a as i32 - (self.p as i32 & above)
    }

    /// `base^exponent mod p`; for constants, as its time depends on the exponent.
    pub(super) const fn pow(&self, base: u32, mut exponent: u32) -> u32 {
        let (mut square, mut result) = (base as u64, 1u64);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result * square % self.p as u64;
            }
            square = square * square % self.p as u64;
            exponent >>= 1;
        }
        result as u32
    }

    /// `a^-1 mod p` of a constant.
    pub(super) const fn invert(&self, a: u32) -> u32 {
        self.pow(a, self.p - 2)
    }

    /// A primitive root of unity of order `2 * degree`, a power of two that divides `p - 1`: with a
    /// non-residue g, `psi = g^((p-1) / (2 * degree))` has `psi^degree = g^((p-1)/2) = -1`.
    pub(super) const fn root(&self, degree: usize) -> u32 {
        self.pow(self.non_residue, (self.p - 1) / (2 * degree as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::residue;
    use proptest::prelude::*;

    #[test]
    fn constants() {
        for field in FIELDS {
            assert_eq!(field.p.wrapping_mul(field.inverse), 1);
            for degree in [256, 512, 1024] {
                let psi = field.root(degree);
                assert_eq!(field.pow(psi, degree as u32), field.p - 1);
                assert_eq!(residue::mul(psi, field.invert(psi), field.p), 1);
            }
        }
    }

    proptest! {
        #[test]
        fn multiplication(a: u32, b: u32) {
            for field in FIELDS {
                let (p, b) = (field.p, b % field.p);
                let factor = field.factor(b);
                let expected = (u64::from(a) * u64::from(b) % u64::from(p)) as u32;
                prop_assert_eq!(field.mul(a, factor.w), expected);
            }
        }

        #[test]
        fn centred_representatives(a: u32) {
            for field in FIELDS {
                for a in [a % field.p, 0, (field.p - 1) / 2, field.p.div_ceil(2), field.p - 1] {
                    let centred = field.centre(a);
                    prop_assert!(centred.unsigned_abs() <= (field.p - 1) / 2);
                    prop_assert_eq!(residue::from_small(centred, field.p), a);
                }
            }
        }
    }
}
