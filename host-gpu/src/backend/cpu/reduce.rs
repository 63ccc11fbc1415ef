//! From sums of planes to residues.

use super::layout::LANES;
use super::path::Sums;
use talaria_arithmetic::residue::from_small;
use talaria_arithmetic::{P1, P2};

/// Largest k: `|sum| <= (p - 1) * 128 * k < p * 2^31` for it, see [`centre`].
pub(super) const MAX_K: usize = 1 << 24;

/// `out[unit] = sum of 256^(planes - 1 - plane) * sums[plane][unit]` modulo the prime of each unit, for the
/// units from `first_unit` on: `sums` is (planes, units).
#[inline(always)]
pub(super) fn reduce(first_unit: usize, sums: &[Sums], out: &mut [[u32; LANES]]) {
    let units = out.len();
    for (i, out) in out.iter_mut().enumerate() {
        let planes = sums[i..].iter().step_by(units);
        // The primes as constants: one loop each.
        *out = match (first_unit + i) % 2 {
            0 => residues::<P1>(planes),
            _ => residues::<P2>(planes),
        };
    }
}

#[inline(always)]
fn residues<'a, const P: u32>(planes: impl Iterator<Item = &'a Sums>) -> [u32; LANES] {
    let mut residues = [0; LANES];
    for sums in planes {
        for (residue, sum) in residues.iter_mut().zip(sums) {
            *residue = centre::<P>(*sum + 256 * i64::from(*residue));
        }
    }
    residues.map(|residue| from_small(residue, P))
}

/// `v mod p`, below `p` in magnitude, for `|v| < p * 2^32`. No division, so that loops vectorise.
///
/// `v - q * p` is right modulo p for any q, so rounding only matters for the range. f64 gives `v / p` with
/// three relative errors of 2^-53, so the nearest integer q is within `1/2 + 3 * 2^-53 * 2^32` of it and
/// `|v - q * p| < 0.6 * p < 2^31`: 32 bits hold the difference.
#[inline(always)]
fn centre<const P: u32>(v: i64) -> i32 {
    // Adding 1.5 * 2^52 rounds to an integer (|q| < 2^33) and leaves its low bits in the mantissa.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let q = (v as f64 * (1.0 / P as f64) + MAGIC).to_bits() as u32;
    (v as u32).wrapping_sub(q.wrapping_mul(P)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check<const P: u32>(v: i64) {
        let r = centre::<P>(v);
        assert!(r.unsigned_abs() < P);
        assert_eq!(from_small(r, P), v.rem_euclid(i64::from(P)) as u32, "{v}");
    }

    #[test]
    fn around_multiples_of_the_primes() {
        for multiple in [0, 1, 2, 1 << 20, (1 << 31) - 1, 1 << 31, 3 << 30] {
            for offset in -2..=2 {
                for v in [multiple, -multiple] {
                    check::<P1>(v * i64::from(P1) + offset);
                    check::<P2>(v * i64::from(P2) + offset);
                    // Halfway, where q may be either.
                    check::<P1>(v * i64::from(P1) + i64::from(P1 / 2) + offset);
                    check::<P2>(v * i64::from(P2) + i64::from(P2 / 2) + offset);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_sum(v in -(i64::from(P1) << 32) + 1..i64::from(P1) << 32) {
            check::<P1>(v);
            check::<P2>(v);
        }
    }
}
