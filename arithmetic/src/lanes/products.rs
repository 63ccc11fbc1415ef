//! Sums of products modulo a prime.

use super::padded;
use super::vector::{
    Lanes, Pairs, add, add_pair, and, at_least, load, load_signed, lower, or, product_high,
    product_low, splat, splat_pair, store, store_pair, top_bits, upper,
};
use crate::residue::from_halves;

/// Products of one row with two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dots {
    /// `x . v[0]` and `x . v[1]`, modulo p; without meaning if an element is out of range.
    pub sums: [u32; 2],
    /// Zero if and only if every element of x is below p.
    pub out_of_range: u32,
}

/// Elements between two splits of the sums: four products in each lane. `4 * (2^31 - 1)^2 < 2^64`.
const BLOCK: usize = 8;

/// `(x . v[0], x . v[1]) mod p`, for `v < p < 2^31` and any x: what is not below p is told.
///
/// # Panics
/// If the lengths differ, or are 2^32 or more.
pub fn dot(x: &[u32], v: [&[u32]; 2], p: u32) -> Dots {
    sum_products(x, v, p, load)
}

/// As [`dot`] for integers `|x| < p`, modulo p.
///
/// # Panics
/// As [`dot`].
pub fn dot_small(x: &[i32], v: [&[u32]; 2], p: u32) -> Dots {
    let prime = splat(p);
    sum_products(x, v, p, |x| {
        let x = load_signed(x);
        add(x, and(prime, top_bits(x)))
    })
}

/// The halves of each block's sum are summed apart: blocks are fewer than 2^32, so neither overflows.
struct Halves {
    low: Pairs,
    high: Pairs,
}

impl Halves {
    #[inline(always)]
    fn add(&mut self, x: [Lanes; 2], v: &[u32; BLOCK]) {
        let ([v0, v1], []) = v.as_chunks::<4>() else {
            unreachable!("a block is two vectors")
        };
        let (v0, v1) = (load(v0), load(v1));
        let sum = add_pair(
            add_pair(product_low(x[0], v0), product_high(x[0], v0)),
            add_pair(product_low(x[1], v1), product_high(x[1], v1)),
        );
        self.low = add_pair(self.low, lower(sum));
        self.high = add_pair(self.high, upper(sum));
    }

    fn modulo(self, p: u32) -> u32 {
        let sum = |pairs| store_pair(pairs).into_iter().fold(0, u64::wrapping_add);
        from_halves(sum(self.low), sum(self.high), p)
    }
}

#[inline(always)]
fn sum_products<T: Copy + Default>(
    x: &[T],
    v: [&[u32]; 2],
    p: u32,
    load_x: impl Fn(&[T; 4]) -> Lanes,
) -> Dots {
    assert!(
        v.iter().all(|v| v.len() == x.len()) && (x.len() as u64) < 1 << 32,
        "{} elements, vectors of {} and {}",
        x.len(),
        v[0].len(),
        v[1].len()
    );
    let prime = splat(p);
    let mut sums = [(); 2].map(|()| Halves {
        low: splat_pair(0),
        high: splat_pair(0),
    });
    let mut out_of_range = splat(0);
    let mut block = |x: &[T; BLOCK], v0: &[u32; BLOCK], v1: &[u32; BLOCK]| {
        let ([a, b], []) = x.as_chunks::<4>() else {
            unreachable!("a block is two vectors")
        };
        let x = [load_x(a), load_x(b)];
        let beyond = or(at_least(x[0], prime), at_least(x[1], prime));
        out_of_range = or(out_of_range, beyond);
        sums[0].add(x, v0);
        sums[1].add(x, v1);
    };
    let ((x, rest), (v0, rest0), (v1, rest1)) = (x.as_chunks(), v[0].as_chunks(), v[1].as_chunks());
    for ((x, v0), v1) in x.iter().zip(v0).zip(v1) {
        block(x, v0, v1);
    }
    block(&padded(rest), &padded(rest0), &padded(rest1));
    Dots {
        sums: sums.map(|sums| sums.modulo(p)),
        out_of_range: store(out_of_range)
            .into_iter()
            .fold(0, |any, lane| any | lane),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PRIMES, residue};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn reference(x: &[u32], v: &[u32], p: u32) -> u32 {
        x.iter().zip(v).fold(0, |sum, (x, v)| {
            residue::add(sum, residue::mul(*x, *v, p), p)
        })
    }

    proptest! {
        #[test]
        fn equals_one_by_one(
            rows in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>(), any::<i32>()), 0..100),
        ) {
            for p in PRIMES {
                let column = |of: fn(&(u32, u32, u32, i32)) -> u32| -> Vec<u32> { rows.iter().map(|row| of(row) % p).collect() };
                let (x, a, b) = (column(|r| r.0), column(|r| r.1), column(|r| r.2));
                let expected = Dots { sums: [reference(&x, &a, p), reference(&x, &b, p)], out_of_range: 0 };
                prop_assert_eq!(dot(&x, [&a, &b], p), expected);

                let small: Vec<i32> = rows.iter().map(|r| r.3 % p as i32).collect();
                let x: Vec<u32> = small.iter().map(|x| residue::from_small(*x, p)).collect();
                let expected = Dots { sums: [reference(&x, &a, p), reference(&x, &b, p)], out_of_range: 0 };
                prop_assert_eq!(dot_small(&small, [&a, &b], p), expected);
            }
        }

        #[test]
        fn every_residue_out_of_range_is_told(len in 1usize..40, at: prop::sample::Index, above: u32) {
            for p in PRIMES {
                let mut x = alloc::vec![p - 1; len];
                let v = alloc::vec![p - 1; len];
                prop_assert_eq!(dot(&x, [&v, &v], p).out_of_range, 0);
                x[at.index(len)] = p.saturating_add(above);
                prop_assert_ne!(dot(&x, [&v, &v], p).out_of_range, 0);
            }
        }
    }

    #[test]
    #[should_panic = "3 elements, vectors of 3 and 4"]
    fn vectors_of_another_length_are_refused() {
        dot(&[1; 3], [&[1; 3], &[1; 4]], PRIMES[0]);
    }

    #[test]
    fn largest_values_do_not_overflow() {
        for p in PRIMES {
            let x = alloc::vec![p - 1; 1 << 16];
            // (p-1)^2 = 1 modulo p.
            assert_eq!(dot(&x, [&x, &x], p).sums, [1 << 16; 2]);
        }
    }
}
