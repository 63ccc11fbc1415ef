//! Rows that are zero but for a one, without such a row: its place is compared with, element by element.
//!
//! Memory of a confidential VM is encrypted block by block with a key that stays, so a block that did not change
//! keeps its ciphertext. A row of zeros and a one that lies in memory, or is added to a mask in place, would tell by the
//! one block that is different where the one is. Here the sum is written once, to a place of its own.

use super::products::Dots;
use super::residues::reduce;
use super::vector::{Lanes, add, and, at_least, load, or, splat, store};

/// All ones in the lane whose place is `hot`.
#[inline(always)]
fn lane_of(places: Lanes, hot: Lanes) -> Lanes {
    and(at_least(places, hot), at_least(hot, places))
}

/// `out = a + one * e mod p`, e the row with a 1 at `hot`, for `a, one < p < 2^31`.
///
/// # Panics
/// If the lengths differ, or are 2^32 or more.
pub fn add_one_hot(a: &[u32], hot: u32, one: u32, p: u32, out: &mut [u32]) {
    assert!(
        a.len() == out.len() && (a.len() as u64) < 1 << 32,
        "{} and {} elements",
        a.len(),
        out.len()
    );
    let (prime, one, hot, four) = (splat(p), splat(one), splat(hot), splat(4));
    let mut places = load(&[0, 1, 2, 3]);
    let mut sum = |a: &[u32; 4]| {
        let sum = reduce(add(load(a), and(one, lane_of(places, hot))), prime);
        places = add(places, four);
        store(sum)
    };
    let ((a, rest), (out, rest_out)) = (a.as_chunks(), out.as_chunks_mut());
    for (a, out) in a.iter().zip(out) {
        *out = sum(a);
    }
    let last = sum(&super::padded(rest));
    rest_out.copy_from_slice(&last[..rest_out.len()]);
}

/// `(e . v[0], e . v[1])`, e the row with a 1 at `hot`: the elements there, zero beyond the end.
///
/// # Panics
/// If the lengths differ, or are 2^32 or more.
pub fn dot_one_hot(hot: u32, v: [&[u32]; 2]) -> Dots {
    assert!(
        v[0].len() == v[1].len() && (v[0].len() as u64) < 1 << 32,
        "vectors of {} and {}",
        v[0].len(),
        v[1].len()
    );
    let sums = v.map(|v| {
        let (hot, four) = (splat(hot), splat(4));
        let (mut places, mut found) = (load(&[0, 1, 2, 3]), splat(0));
        let (v, rest) = v.as_chunks();
        for v in v.iter().chain([&super::padded(rest)]) {
            found = or(found, and(load(v), lane_of(places, hot)));
            places = add(places, four);
        }
        store(found).into_iter().fold(0, |found, lane| found | lane)
    });
    Dots {
        sums,
        out_of_range: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::{add_small, dot_small};
    use crate::{PRIMES, residue};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_the_same_with_such_a_row(
            elements in prop::collection::vec((any::<u32>(), any::<u32>()), 1..50),
            hot: prop::sample::Index,
            one: u32,
        ) {
            let hot = hot.index(elements.len());
            let mut row = alloc::vec![0i32; elements.len()];
            row[hot] = 1;
            for p in PRIMES {
                let a: Vec<u32> = elements.iter().map(|e| e.0 % p).collect();
                let b: Vec<u32> = elements.iter().map(|e| e.1 % p).collect();
                let mut expected = a.clone();
                add_small(&mut expected, &row, p);
                let mut out = alloc::vec![7; a.len()];
                add_one_hot(&a, hot as u32, 1, p, &mut out);
                prop_assert_eq!(&out, &expected);

                expected.clone_from(&a);
                expected[hot] = residue::add(a[hot], one % p, p);
                add_one_hot(&a, hot as u32, one % p, p, &mut out);
                prop_assert_eq!(&out, &expected);

                prop_assert_eq!(dot_one_hot(hot as u32, [&a, &b]), dot_small(&row, [&a, &b], p));
            }
        }
    }

    #[test]
    fn beyond_the_end_there_is_nothing() {
        let v = [5, 6, 7, 8, 9];
        for hot in [5, 6, 7, 8, u32::MAX] {
            assert_eq!(dot_one_hot(hot, [&v, &v]).sums, [0, 0]);
            let mut out = [0; 5];
            add_one_hot(&v, hot, 1, 31, &mut out);
            assert_eq!(out, v);
        }
    }
}
