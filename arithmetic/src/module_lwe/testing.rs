//! What the tests of this module share.

use alloc::{vec, vec::Vec};

use super::field::FIELDS;
use super::{LANES, Parameters, ntt};
use crate::residue;

/// `a b mod (x^N + 1, p)` by the definition.
pub(super) fn schoolbook(a: &[u32], b: &[u32], p: u32) -> Vec<u32> {
    let degree = a.len();
    let mut product = vec![0; degree];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            let term = residue::mul(*x, *y, p);
            let at = (i + j) % degree;
            // x^N = -1.
            product[at] = if i + j < degree {
                residue::add(product[at], term, p)
            } else {
                residue::sub(product[at], term, p)
            };
        }
    }
    product
}

/// A block whose lane's polynomials (r, N) modulo Q are given; residues of each are taken and
/// transformed by the reference.
pub(super) fn block_of(parameters: &Parameters, lanes: &[Vec<u64>]) -> Vec<i32> {
    let (degree, rank) = (parameters.degree, parameters.rank);
    let mut block = vec![0; parameters.block_words()];
    for (i, field) in FIELDS.iter().enumerate() {
        let twiddles = ntt::forward_twiddles(field, degree);
        for (lane, polynomials) in lanes.iter().enumerate() {
            for (l, polynomial) in polynomials.chunks(degree).enumerate() {
                let reduce = |a: &u64| (a % u64::from(field.p)) as u32;
                let mut values: Vec<u32> = polynomial.iter().map(reduce).collect();
                ntt::forward(field, &twiddles, &mut values);
                for (point, value) in values.into_iter().enumerate() {
                    let at = ((i * degree + point) * rank + l) * LANES + lane;
                    block[at] = field.centre(value);
                }
            }
        }
    }
    block
}

/// Pearson's statistic against equal bins.
pub(super) fn chi_square(bins: &[u32]) -> f64 {
    let expected = f64::from(bins.iter().sum::<u32>()) / bins.len() as f64;
    let term = |bin: &u32| (f64::from(*bin) - expected) * (f64::from(*bin) - expected) / expected;
    bins.iter().map(term).sum()
}
