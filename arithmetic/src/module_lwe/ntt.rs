//! Negacyclic number-theoretic transforms: R = Z_p[x]/(x^N + 1) to N values and back.
//!
//! Notation: `psi` a primitive 2N-th root of unity, `brv` the reversal of log2(N) bits. The forward
//! transform (Cooley-Tukey) takes coefficients in natural order; layer by layer it splits
//! `x^(2 len) - z^2` into `x^len - z` and `x^len + z`, with `z = psi^brv(blocks + b)` for block b of
//! `blocks = N / (2 len)`. So it leaves the values in bit-reversed order, which nobody needs to know:
//! products are taken value by value. The inverse (Gentleman-Sande) undoes layer after layer, last
//! first, and leaves out the factor 1/2 of each; [`super::Secret`] carries 1/N instead.
//!
//! Forward transforms are few (r a secret) and are scalar; inverse transforms are one a mask
//! polynomial, 16 side by side.

use alloc::vec::Vec;

use super::LANES;
use super::field::{Factor, Field};
use super::lanes::{self, Lanes, Modulus, WIDTH};

/// Powers of psi or of its inverse at `brv(i)` for i in 0..N; index `blocks + b` is block b's.
pub(super) type Twiddles = Vec<Factor>;

/// Twiddles of the forward transform.
pub(super) fn forward_twiddles(field: &Field, degree: usize) -> Twiddles {
    twiddles(field, degree, field.root(degree))
}

/// Twiddles of the inverse transform.
pub(super) fn inverse_twiddles(field: &Field, degree: usize) -> Twiddles {
    twiddles(field, degree, field.invert(field.root(degree)))
}

fn twiddles(field: &Field, degree: usize, psi: u32) -> Twiddles {
    let step = field.factor(psi).w;
    let powers = core::iter::successors(Some(1), |power| Some(field.mul(*power, step)));
    let powers: Vec<u32> = powers.take(degree).collect();
    let unused_bits = usize::BITS - degree.trailing_zeros();
    let at = |i: usize| i.reverse_bits().unbounded_shr(unused_bits);
    (0..degree).map(|i| field.factor(powers[at(i)])).collect()
}

/// Coefficients (N,) to values (N,), below p, in place.
pub(super) fn forward(field: &Field, twiddles: &Twiddles, values: &mut [u32]) {
    let p = field.p;
    let mut len = values.len() / 2;
    while len > 0 {
        let blocks = values.len() / (2 * len);
        for (b, block) in values.chunks_exact_mut(2 * len).enumerate() {
            let z = twiddles[blocks + b].w;
            let (low, high) = block.split_at_mut(len);
            for (x, y) in low.iter_mut().zip(high) {
                let t = field.mul(*y, z);
                *y = crate::residue::sub(*x, t, p);
                *x = crate::residue::add(*x, t, p);
            }
        }
        len /= 2;
    }
}

/// Values (N, LANES) to N times the coefficients (N, LANES), below p, in place.
pub(super) fn inverse(field: &Field, twiddles: &Twiddles, rows: &mut [u32]) {
    let modulus = Modulus::new(field);
    let degree = rows.len() / LANES;
    let mut len = 1;
    while len < degree {
        let blocks = degree / (2 * len);
        for (b, block) in rows.chunks_exact_mut(2 * len * LANES).enumerate() {
            let z = lanes::splat_factor(twiddles[blocks + b]);
            let (low, high) = block.split_at_mut(len * LANES);
            for (x, y) in low
                .chunks_exact_mut(WIDTH)
                .zip(high.chunks_exact_mut(WIDTH))
            {
                let (a, b) = butterfly(lanes::load(x), lanes::load(y), z, modulus);
                lanes::store(a, x);
                lanes::store(b, y);
            }
        }
        len *= 2;
    }
}

/// `(a + b, (a - b) * z)`.
#[inline(always)]
fn butterfly(a: Lanes, b: Lanes, z: (Lanes, Lanes), modulus: Modulus) -> (Lanes, Lanes) {
    let sum = lanes::add(a, b, modulus);
    let difference = lanes::difference(a, b, modulus);
    (sum, lanes::mul(difference, z, modulus))
}

#[cfg(test)]
mod tests {
    use super::super::field::FIELDS;
    use super::*;
    use crate::residue;
    use alloc::vec;
    use proptest::prelude::*;

    fn reduced(field: &Field, words: &[u32]) -> Vec<u32> {
        words.iter().map(|word| word % field.p).collect()
    }

    fn transformed(field: &Field, polynomial: &[u32]) -> Vec<u32> {
        let mut values = polynomial.to_vec();
        forward(field, &forward_twiddles(field, values.len()), &mut values);
        values
    }

    /// N times the coefficients, computed in lane `lane` among other numbers.
    fn inverted(field: &Field, values: &[u32], lane: usize) -> Vec<u32> {
        let mut rows = vec![1; values.len() * LANES];
        for (row, value) in rows.chunks_mut(LANES).zip(values) {
            row[lane] = *value;
        }
        inverse(field, &inverse_twiddles(field, values.len()), &mut rows);
        rows.chunks(LANES).map(|row| row[lane]).collect()
    }

    #[test]
    fn values_are_evaluations_at_odd_powers_of_psi() {
        let degree = 256;
        let x: Vec<u32> = (0..degree).map(|i| u32::from(i == 1)).collect();
        for field in FIELDS {
            let psi = field.root(degree);
            let mut expected: Vec<u32> = (0..degree as u32)
                .map(|i| field.pow(psi, 2 * i + 1))
                .collect();
            let mut values = transformed(&field, &x);
            expected.sort_unstable();
            values.sort_unstable();
            assert_eq!(values, expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn inverse_undoes_forward(
            words in proptest::collection::vec(any::<u32>(), 1024),
            log_degree in 8..11u32,
            lane in 0..LANES,
        ) {
            let degree = 1usize << log_degree;
            for field in FIELDS {
                let polynomial = reduced(&field, &words[..degree]);
                let back = inverted(&field, &transformed(&field, &polynomial), lane);
                for (x, y) in polynomial.iter().zip(back) {
                    prop_assert_eq!(residue::mul(*x, degree as u32, field.p), y);
                }
            }
        }

        #[test]
        fn extremes(ends in proptest::collection::vec(any::<bool>(), 512)) {
            for field in FIELDS {
                let values: Vec<u32> =
                    ends.iter().map(|end| if *end { field.p - 1 } else { 0 }).collect();
                let back = inverted(&field, &transformed(&field, &values), 3);
                for (x, y) in values.iter().zip(back) {
                    prop_assert_eq!(residue::mul(*x, 512, field.p), y);
                }
            }
        }

        #[test]
        fn products_are_negacyclic(
            a in proptest::collection::vec(any::<u32>(), 256),
            b in proptest::collection::vec(any::<u32>(), 256),
        ) {
            for field in FIELDS {
                let (p, a, b) = (field.p, reduced(&field, &a), reduced(&field, &b));
                let product = super::super::testing::schoolbook(&a, &b, p);
                let expected = transformed(&field, &product);
                let (a, b) = (transformed(&field, &a), transformed(&field, &b));
                for ((x, y), z) in a.iter().zip(&b).zip(expected) {
                    prop_assert_eq!(residue::mul(*x, *y, p), z);
                }
            }
        }
    }
}
