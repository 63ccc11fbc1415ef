//! Residues modulo two NTT-friendly primes, and the way back to signed integers.
//!
//! `P1 - 1` and `P2 - 1` are divisible by 2^27 and 2^24: both fields have roots of unity for
//! negacyclic transforms of any size that module-LWE masks use. Both primes are below 2^31, so a sum
//! of two residues fits 32 bits and a product 62.

/// First prime, 15 * 2^27 + 1.
pub const P1: u32 = 15 * (1 << 27) + 1;
/// Second prime, 127 * 2^24 + 1.
pub const P2: u32 = 127 * (1 << 24) + 1;
/// Both primes, in the order in which residues travel.
pub const PRIMES: [u32; 2] = [P1, P2];
/// Modulus of the residue number system, about 2^61.896.
pub const Q: u64 = P1 as u64 * P2 as u64;

/// Bytes of one residue on the wire.
pub const RESIDUE_BYTES: usize = 4;

/// `P1^-1 mod P2`.
const P1_INVERSE: u64 = pow(P1 as u64 % P2 as u64, P2 as u64 - 2, P2 as u64);
/// `P1^-1 * 2^32 mod P2`: multiplied by this, Montgomery reduction gives a product with `P1^-1`.
const P1_INVERSE_MONTGOMERY: u64 = (P1_INVERSE << 32) % P2 as u64;
/// `-P2^-1 mod 2^32`.
const P2_NEGATED_INVERSE: u32 = {
    // Newton's iteration doubles the number of correct bits: 3, 6, 12, 24, 48.
    let mut inverse = P2;
    let mut i = 0;
    while i < 4 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(P2.wrapping_mul(inverse)));
        i += 1;
    }
    inverse.wrapping_neg()
};

/// Constants of the Montgomery reduction in [`signed_crt`], for more of them at a time.
pub(crate) struct Montgomery {
    pub factor: u32,
    /// `t * P2_NEGATED_INVERSE mod 2^32` is `difference * multiple mod 2^32`.
    pub multiple: u32,
}

pub(crate) const MONTGOMERY: Montgomery = Montgomery {
    factor: P1_INVERSE_MONTGOMERY as u32,
    multiple: (P1_INVERSE_MONTGOMERY as u32).wrapping_mul(P2_NEGATED_INVERSE),
};

const fn pow(base: u64, mut exponent: u64, p: u64) -> u64 {
    let (mut square, mut result) = (base, 1);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * square % p;
        }
        square = square * square % p;
        exponent >>= 1;
    }
    result
}

/// `a + b mod p` for `a, b < p < 2^31`, without a branch.
#[inline(always)]
pub const fn add(a: u32, b: u32, p: u32) -> u32 {
    let sum = a + b;
    let reduced = sum.wrapping_sub(p);
    // The borrow of `sum - p` is its top bit, as both are below 2^32 and p < 2^31.
    reduced.wrapping_add(p & mask_of_top_bit(reduced))
}

/// `a - b mod p` for `a, b < p < 2^31`, without a branch.
#[inline(always)]
pub const fn sub(a: u32, b: u32, p: u32) -> u32 {
    let difference = a.wrapping_sub(b);
    difference.wrapping_add(p & mask_of_top_bit(difference))
}

/// `a * b mod p`.
#[inline(always)]
pub const fn mul(a: u32, b: u32, p: u32) -> u32 {
    (a as u64 * b as u64 % p as u64) as u32
}

/// A public factor, prepared for products with residues that are secret: no division, no branch (Shoup).
#[derive(Clone, Copy, Debug)]
pub struct Factor {
    pub(crate) value: u32,
    /// `floor(value * 2^32 / p)`.
    pub(crate) quotient: u32,
    pub(crate) p: u32,
}

impl Factor {
    /// `value mod p`.
    pub const fn new(value: u64, p: u32) -> Self {
        let value = (value % p as u64) as u32;
        let quotient = (((value as u64) << 32) / p as u64) as u32;
        Self { value, quotient, p }
    }

    /// `a * value mod p` for any `a < 2^32`.
    #[inline(always)]
    pub const fn times(self, a: u32) -> u32 {
        // floor(a * quotient / 2^32) is floor(a * value / p) or one less: the rest lies in [0, 2p), below 2^32.
        let multiple = ((a as u64 * self.quotient as u64) >> 32) as u32;
        let rest = a
            .wrapping_mul(self.value)
            .wrapping_sub(multiple.wrapping_mul(self.p));
        let reduced = rest.wrapping_sub(self.p);
        // rest - p is in [-p, p): negative exactly if its top bit is set, as p < 2^31.
        reduced.wrapping_add(self.p & mask_of_top_bit(reduced))
    }
}

/// `low + 2^32 high mod p` for sums of the lower and of the upper halves of products that are secret: no division but of
/// p's own powers, whose operands are public.
#[inline]
pub const fn from_halves(low: u64, high: u64, p: u32) -> u32 {
    let word = (1 << 32) % p as u64;
    let words = [
        Factor::new(1, p).times(low as u32),
        Factor::new(word, p).times((low >> 32) as u32),
        Factor::new(word, p).times(high as u32),
        Factor::new(word * word, p).times((high >> 32) as u32),
    ];
    add(add(words[0], words[1], p), add(words[2], words[3], p), p)
}

/// All ones if the top bit of `x` is set, else zero.
#[inline(always)]
const fn mask_of_top_bit(x: u32) -> u32 {
    ((x as i32) >> 31) as u32
}

/// `x mod p` for `|x| < p`, without a branch.
#[inline(always)]
pub const fn from_small(x: i32, p: u32) -> u32 {
    (x as u32).wrapping_add(p & mask_of_top_bit(x as u32))
}

/// `x mod p` for any x; for weights and tests, not for secrets.
#[inline]
pub const fn from_i64(x: i64, p: u32) -> u32 {
    x.rem_euclid(p as i64) as u32
}

/// The integer in `[-(Q-1)/2, (Q-1)/2]` with the given residues, without a branch or a division (whose
/// time depends on the operands on many processors).
///
/// Garner: `y = r1 + P1 * ((r2 - r1) * P1^-1 mod P2)`, then centred; the product modulo P2 is
/// Montgomery's with R = 2^32.
#[inline(always)]
pub const fn signed_crt(r1: u32, r2: u32) -> i64 {
    // P1 < P2, so this lies in (0, 2^32).
    let difference = r2 + (P2 - r1);
    // Below 2^32 * P2.
    let t = difference as u64 * P1_INVERSE_MONTGOMERY;
    let m = (t as u32).wrapping_mul(P2_NEGATED_INVERSE);
    // t + m * P2 < 2^32 * 2 * P2 < 2^64, divisible by 2^32; the quotient is below 2 * P2 < 2^32.
    let quotient = ((t + m as u64 * P2 as u64) >> 32) as u32;
    let reduced = quotient.wrapping_sub(P2);
    let digit = reduced.wrapping_add(P2 & mask_of_top_bit(reduced));
    let y = (r1 as u64 + P1 as u64 * digit as u64) as i64;
    let half = ((Q - 1) / 2) as i64;
    let above = (half - y) >> 63;
    y - (Q as i64 & above)
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigInt;
    use proptest::prelude::*;

    fn big_mod(x: &BigInt, p: u64) -> u64 {
        let p = BigInt::from(p);
        let r = ((x % &p) + &p) % &p;
        r.try_into().unwrap()
    }

    #[test]
    fn constants() {
        assert_eq!((P1, P2), (2_013_265_921, 2_130_706_433));
        assert_eq!((P1 - 1) % (1 << 27), 0);
        assert_eq!((P2 - 1) % (1 << 24), 0);
        assert!((Q as f64).log2() > 61.89 && (Q as f64).log2() < 61.9);
        assert_eq!(P1 as u64 * P1_INVERSE % P2 as u64, 1);
        for p in PRIMES {
            let root = (2..=(p as f64).sqrt() as u32).find(|d| p.is_multiple_of(*d));
            assert_eq!(root, None, "{p} is prime");
        }
    }

    #[test]
    fn sums_and_differences_at_the_edges() {
        for p in PRIMES {
            assert_eq!([add(1, p - 1, p), add(0, 0, p)], [0, 0]);
            assert_eq!([add(p - 1, p - 1, p), add(0, p - 1, p)], [p - 2, p - 1]);
            assert_eq!([sub(0, p - 1, p), sub(p - 1, p - 1, p)], [1, 0]);
        }
    }

    #[test]
    fn crt_at_the_edges() {
        let half = ((Q - 1) / 2) as i64;
        for y in [
            0,
            1,
            -1,
            half,
            -half,
            half - 1,
            1 - half,
            P1 as i64,
            -(P2 as i64),
        ] {
            assert_eq!(signed_crt(from_i64(y, P1), from_i64(y, P2)), y);
        }
    }

    proptest! {
        #[test]
        fn field_operations(a in 0..P1, b in 0..P1, c in 0..P2, d in 0..P2) {
            for (x, y, p) in [(a, b, P1), (c, d, P2)] {
                let (bx, by) = (BigInt::from(x), BigInt::from(y));
                prop_assert_eq!(add(x, y, p) as u64, big_mod(&(&bx + &by), p as u64));
                prop_assert_eq!(sub(x, y, p) as u64, big_mod(&(&bx - &by), p as u64));
                prop_assert_eq!(mul(x, y, p) as u64, big_mod(&(bx * by), p as u64));
            }
        }

        #[test]
        fn public_factors(a: u32, value: u64) {
            for p in PRIMES {
                let expected = (u128::from(a) * u128::from(value) % u128::from(p)) as u32;
                prop_assert_eq!(Factor::new(value, p).times(a), expected);
            }
        }

        #[test]
        fn halves_of_sums(low: u64, high: u64) {
            for p in PRIMES {
                let sum = u128::from(low) + (u128::from(high) << 32);
                prop_assert_eq!(from_halves(low, high, p), (sum % u128::from(p)) as u32);
            }
        }

        #[test]
        fn small_signed(x in -(P1 as i32 - 1)..P1 as i32) {
            for p in PRIMES {
                prop_assert_eq!(from_small(x, p), from_i64(x as i64, p));
                prop_assert_eq!(from_i64(x as i64, p) as u64, big_mod(&BigInt::from(x), p as u64));
            }
        }

        #[test]
        fn crt_inverts_reduction(y in -(((Q - 1) / 2) as i64)..=((Q - 1) / 2) as i64) {
            prop_assert_eq!(signed_crt(from_i64(y, P1), from_i64(y, P2)), y);
        }

        #[test]
        fn crt_has_the_given_residues(r1 in 0..P1, r2 in 0..P2) {
            let y = BigInt::from(signed_crt(r1, r2));
            prop_assert_eq!(big_mod(&y, P1 as u64), r1 as u64);
            prop_assert_eq!(big_mod(&y, P2 as u64), r2 as u64);
        }
    }
}
