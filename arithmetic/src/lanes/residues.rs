//! Residues element by element.

use super::padded;
use super::vector::{
    Lanes, add, add_pair, and, at_least, load, load_signed, mul, or, product_high, product_low,
    splat, splat_pair, store, store_pair, sub, subtract_above, top_bits, upper_words, widen_high,
    widen_low,
};
use crate::residue::{Factor, MONTGOMERY, P1, P2, Q};

/// `a = a + x mod p`, for `a < p < 2^31` and `|x| < p`.
///
/// # Panics
/// If the lengths differ.
pub fn add_small(a: &mut [u32], x: &[i32], p: u32) {
    let prime = splat(p);
    for_each(a, x, |a, x| {
        let x = load_signed(x);
        let x = add(x, and(prime, top_bits(x)));
        reduce(add(load(a), x), prime)
    });
}

/// `a = a + factor * x mod p`, for `a < p < 2^31` and `|x| < p`: [`Factor::times`], which has the reasons.
///
/// # Panics
/// If the lengths differ.
pub fn add_scaled(a: &mut [u32], x: &[i32], factor: Factor) {
    let (prime, value, quotient) = (splat(factor.p), splat(factor.value), splat(factor.quotient));
    for_each(a, x, |a, x| {
        let x = load_signed(x);
        let x = add(x, and(prime, top_bits(x)));
        let multiple = upper_words(product_low(x, quotient), product_high(x, quotient));
        let product = reduce(sub(mul(x, value), mul(multiple, prime)), prime);
        reduce(add(load(a), product), prime)
    });
}

/// `a mod p` for `a < 2p`.
#[inline(always)]
pub(super) fn reduce(a: Lanes, prime: Lanes) -> Lanes {
    let reduced = sub(a, prime);
    add(reduced, and(prime, top_bits(reduced)))
}

/// `a = a - b mod p` for `a, b < p < 2^31`; `u32::MAX` where either is not below p.
///
/// # Panics
/// If the lengths differ.
pub fn subtract(a: &mut [u32], b: &[u32], p: u32) {
    let prime = splat(p);
    for_each(a, b, |a, b| {
        let (a, b) = (load(a), load(b));
        let difference = sub(a, b);
        let reduced = add(difference, and(prime, top_bits(difference)));
        or(reduced, or(at_least(a, prime), at_least(b, prime)))
    });
}

/// The integers in `[-(Q-1)/2, (Q-1)/2]` with residues r1 modulo P1 and r2 modulo P2:
/// [`residue::signed_crt`](crate::residue::signed_crt), which has the reasons.
///
/// # Panics
/// If the lengths differ.
pub fn signed_crt(r1: &[u32], r2: &[u32], out: &mut [i64]) {
    assert!(
        r1.len() == r2.len() && r1.len() == out.len(),
        "{} and {} residues for {} integers",
        r1.len(),
        r2.len(),
        out.len()
    );
    let ((r1, rest1), (r2, rest2)) = (r1.as_chunks(), r2.as_chunks());
    let (out, rest) = out.as_chunks_mut();
    for ((r1, r2), out) in r1.iter().zip(r2).zip(out) {
        *out = signed_crt_of_four(r1, r2);
    }
    let integers = signed_crt_of_four(&padded(rest1), &padded(rest2));
    rest.copy_from_slice(&integers[..rest.len()]);
}

#[inline(always)]
fn signed_crt_of_four(r1: &[u32; 4], r2: &[u32; 4]) -> [i64; 4] {
    let (r1, r2) = (load(r1), load(r2));
    let p2 = splat(P2);
    // Garner's digit by Montgomery reduction: below 2 * P2 before the last subtraction.
    let difference = add(r2, sub(p2, r1));
    let factor = splat(MONTGOMERY.factor);
    let m = mul(difference, splat(MONTGOMERY.multiple));
    let quotient = upper_words(
        add_pair(product_low(difference, factor), product_low(m, p2)),
        add_pair(product_high(difference, factor), product_high(m, p2)),
    );
    let reduced = sub(quotient, p2);
    let digit = add(reduced, and(p2, top_bits(reduced)));
    let (p1, half, q) = (splat(P1), splat_pair((Q - 1) / 2), splat_pair(Q));
    let low = add_pair(widen_low(r1), product_low(digit, p1));
    let high = add_pair(widen_high(r1), product_high(digit, p1));
    let [a, b] = store_pair(subtract_above(low, half, q));
    let [c, d] = store_pair(subtract_above(high, half, q));
    [a as i64, b as i64, c as i64, d as i64]
}

#[inline(always)]
fn for_each<T: Copy + Default>(a: &mut [u32], b: &[T], f: impl Fn(&[u32; 4], &[T; 4]) -> Lanes) {
    assert!(a.len() == b.len(), "{} and {} elements", a.len(), b.len());
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks_mut(), b.as_chunks());
    for (a, b) in a.iter_mut().zip(b) {
        *a = store(f(a, b));
    }
    let last = store(f(&padded(rest_a), &padded(rest_b)));
    rest_a.copy_from_slice(&last[..rest_a.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PRIMES, residue};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_one_by_one(rows in prop::collection::vec((any::<u32>(), any::<u32>(), any::<i32>()), 0..30)) {
            for p in PRIMES {
                let a: Vec<u32> = rows.iter().map(|r| r.0 % p).collect();
                let b: Vec<u32> = rows.iter().map(|r| r.1 % p).collect();
                let x: Vec<i32> = rows.iter().map(|r| r.2 % p as i32).collect();

                let mut sum = a.clone();
                add_small(&mut sum, &x, p);
                let expected = a.iter().zip(&x).map(|(a, x)| residue::add(*a, residue::from_small(*x, p), p));
                prop_assert!(sum.iter().copied().eq(expected));

                for value in [0, 1, 1 << 24, 1 << 30, u64::MAX] {
                    let factor = Factor::new(value, p);
                    let mut sum = a.clone();
                    add_scaled(&mut sum, &x, factor);
                    let expected = a.iter().zip(&x).map(|(a, x)| residue::add(*a, factor.times(residue::from_small(*x, p)), p));
                    prop_assert!(sum.iter().copied().eq(expected));
                }

                let mut difference = a.clone();
                subtract(&mut difference, &b, p);
                let expected = a.iter().zip(&b).map(|(a, b)| residue::sub(*a, *b, p));
                prop_assert!(difference.iter().copied().eq(expected));
            }
        }

        #[test]
        fn differences_of_residues_out_of_range(len in 1usize..20, at: prop::sample::Index, above: u32, which: bool) {
            for p in PRIMES {
                let (mut a, mut b) = (alloc::vec![p - 1; len], alloc::vec![0; len]);
                let bad = if which { &mut a } else { &mut b };
                bad[at.index(len)] = p.saturating_add(above);
                subtract(&mut a, &b, p);
                for (i, found) in a.iter().enumerate() {
                    let expected = if i == at.index(len) { u32::MAX } else { p - 1 };
                    prop_assert_eq!(*found, expected);
                }
            }
        }

        #[test]
        fn integers(rows in prop::collection::vec((0..P1, 0..P2), 0..30)) {
            let (r1, r2): (Vec<u32>, Vec<u32>) = rows.iter().copied().unzip();
            let mut out = alloc::vec![0; rows.len()];
            signed_crt(&r1, &r2, &mut out);
            let expected = rows.iter().map(|(r1, r2)| residue::signed_crt(*r1, *r2));
            prop_assert!(out.iter().copied().eq(expected));
        }
    }

    #[test]
    fn integers_at_the_edges() {
        let half = ((Q - 1) / 2) as i64;
        let integers = [
            0,
            1,
            -1,
            half,
            -half,
            half - 1,
            1 - half,
            i64::from(P1),
            -i64::from(P2),
        ];
        let residues = |p| integers.map(|y| residue::from_i64(y, p));
        let mut out = [0; 9];
        signed_crt(&residues(P1), &residues(P2), &mut out);
        assert_eq!(out, integers);
    }
}
