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
use super::lanes::{self, Factors, Lanes, Modulus, WIDTH};

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

/// Products of centred residues that fit 64 bits, and one reduction: each is at most
/// `((p-1)/2)^2 < p^2 / 4`, so a sum of eight is below `2 p^2 < 2^32 p < 2^63`, as `2 p < 2^32`.
const PRODUCTS: usize = 8;
const _: () = assert!(2 * (crate::P2 as u64) < 1 << 32 && crate::P1 < crate::P2);

/// Values `<a, s> / R` to N times their coefficients: a (N, r, LANES), s (N, r) to rows (N, LANES),
/// below p.
///
/// Layers are done two at a time, so that each row is loaded and stored half as often; the first two
/// while the products are fresh.
pub(super) fn inverse_of_products(
    modulus: Modulus,
    twiddles: &Twiddles,
    rank: usize,
    s: &[i32],
    a: &[i32],
    rows: &mut [u32],
) {
    let degree = rows.len() / LANES;
    let operands = a
        .chunks_exact(4 * rank * LANES)
        .zip(s.chunks_exact(4 * rank));
    let factors = factors_of_two_layers(twiddles, degree / 4);
    for ((rows, (a, s)), factors) in rows.chunks_exact_mut(4 * LANES).zip(operands).zip(factors) {
        let points = a.chunks_exact(rank * LANES).zip(s.chunks_exact(rank));
        for (row, (a, s)) in rows.chunks_exact_mut(LANES).zip(points) {
            product(modulus, a, s, row);
        }
        two_layers(modulus, factors, rows);
    }
    inverse_from(modulus, twiddles, 4, rows);
}

/// `<a, s> / R` of one value: a (r, LANES), s (r) to (LANES).
#[inline(always)]
fn product(modulus: Modulus, a: &[i32], s: &[i32], row: &mut [u32]) {
    let mut groups = a.chunks(PRODUCTS * LANES).zip(s.chunks(PRODUCTS));
    if let Some((a, s)) = groups.next() {
        lanes::product(a, s, modulus, row);
    }
    for (a, s) in groups {
        let mut more = [0; LANES];
        lanes::product(a, s, modulus, &mut more);
        for (x, y) in row.chunks_exact_mut(WIDTH).zip(more.chunks_exact(WIDTH)) {
            lanes::store(lanes::add(lanes::load(x), lanes::load(y), modulus), x);
        }
    }
}

/// The layers from blocks of `2 * len` rows on.
fn inverse_from(modulus: Modulus, twiddles: &Twiddles, mut len: usize, rows: &mut [u32]) {
    let degree = rows.len() / LANES;
    while 4 * len <= degree {
        let factors = factors_of_two_layers(twiddles, degree / (4 * len));
        for (rows, factors) in rows.chunks_exact_mut(4 * len * LANES).zip(factors) {
            two_layers(modulus, factors, rows);
        }
        len *= 4;
    }
    if 2 * len <= degree {
        for (rows, factor) in rows
            .chunks_exact_mut(2 * len * LANES)
            .zip(&twiddles[degree / (2 * len)..])
        {
            one_layer(modulus, *factor, rows);
        }
    }
}

/// For each of `blocks` blocks of the second of two layers: the factors of its halves in the first
/// layer, and its own.
fn factors_of_two_layers(
    twiddles: &Twiddles,
    blocks: usize,
) -> impl Iterator<Item = [Factor; 3]> + '_ {
    let first = twiddles[2 * blocks..4 * blocks].chunks_exact(2);
    let second = &twiddles[blocks..2 * blocks];
    first
        .zip(second)
        .map(|(halves, own)| [halves[0], halves[1], *own])
}

/// One block through two layers.
#[inline(always)]
fn two_layers(modulus: Modulus, factors: [Factor; 3], rows: &mut [u32]) {
    let factors = factors.map(|factor| modulus.splat(factor));
    let quarter = rows.len() / 4;
    let (low, high) = rows.split_at_mut(2 * quarter);
    let ((w, x), (y, z)) = (low.split_at_mut(quarter), high.split_at_mut(quarter));
    let quarters = [w, x, y, z].map(|quarter| quarter.chunks_exact_mut(WIDTH));
    let [ws, xs, ys, zs] = quarters;
    for (((w, x), y), z) in ws.zip(xs).zip(ys).zip(zs) {
        let [a, b, c, d] = [
            lanes::load(w),
            lanes::load(x),
            lanes::load(y),
            lanes::load(z),
        ];
        let (modulus, [first, second, both]) = modulus.veil(factors, a);
        let (a, b) = butterfly(a, b, first, modulus);
        let (c, d) = butterfly(c, d, second, modulus);
        let (a, c) = butterfly(a, c, both, modulus);
        let (b, d) = butterfly(b, d, both, modulus);
        lanes::store(a, w);
        lanes::store(b, x);
        lanes::store(c, y);
        lanes::store(d, z);
    }
}

/// One block through one layer.
#[inline(always)]
fn one_layer(modulus: Modulus, factor: Factor, rows: &mut [u32]) {
    let factor = modulus.splat(factor);
    let (low, high) = rows.split_at_mut(rows.len() / 2);
    for (x, y) in low
        .chunks_exact_mut(WIDTH)
        .zip(high.chunks_exact_mut(WIDTH))
    {
        let (a, b) = (lanes::load(x), lanes::load(y));
        let (modulus, [factor]) = modulus.veil([factor], a);
        let (a, b) = butterfly(a, b, factor, modulus);
        lanes::store(a, x);
        lanes::store(b, y);
    }
}

/// `(a + b, (a - b) * factor)`.
#[inline(always)]
fn butterfly(a: Lanes, b: Lanes, factor: Factors, modulus: Modulus) -> (Lanes, Lanes) {
    let sum = lanes::add(a, b, modulus);
    let difference = lanes::difference(a, b, modulus);
    (sum, lanes::mul(difference, factor, modulus))
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
        let twiddles = inverse_twiddles(field, values.len());
        inverse_from(Modulus::new(field), &twiddles, 1, &mut rows);
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
