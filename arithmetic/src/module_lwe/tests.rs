//! Minting against its definition over the integers.

use alloc::{vec, vec::Vec};

use super::field::FIELDS;
use super::testing::{block_of, chi_square};
use super::*;
use crate::{PRIMES, Q, residue};
use proptest::prelude::*;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

/// Polynomials (r, N) modulo Q, uniform but for a bias that does not matter here.
fn polynomials(parameters: &Parameters, rng: &mut ChaCha20Rng) -> Vec<u64> {
    (0..parameters.public_rows())
        .map(|_| rng.next_u64() % Q)
        .collect()
}

/// `<a, s>` by schoolbook multiplication over the integers: a (r, N), s (r, N) to (N,).
fn schoolbook_product(degree: usize, a: &[u64], s: &[i32]) -> Vec<i128> {
    let mut product = vec![0i128; degree];
    for (a, s) in a.chunks(degree).zip(s.chunks(degree)) {
        for (i, x) in a.iter().enumerate() {
            for (j, y) in s.iter().enumerate() {
                let term = i128::from(*x) * i128::from(*y);
                if i + j < degree {
                    product[i + j] += term;
                } else {
                    product[i + j - degree] -= term;
                }
            }
        }
    }
    product
}

fn mint(secret: &Secret, noise: Option<Noise<'_>>, block: &[i32]) -> Vec<u32> {
    let mut out = vec![u32::MAX; secret.parameters().mask_words()];
    mint_block(secret, noise, block, &mut out).unwrap();
    for (half, p) in out.chunks(out.len() / 2).zip(PRIMES) {
        assert!(half.iter().all(|residue| *residue < p));
    }
    out
}

/// The column of a lane, modulo prime i.
fn column(out: &[u32], i: usize, lane: usize) -> impl Iterator<Item = u32> {
    let half = out.len() / 2;
    out[i * half..(i + 1) * half]
        .iter()
        .skip(lane)
        .step_by(LANES)
        .copied()
}

/// The integers of a lane's column.
fn integers(out: &[u32], lane: usize) -> Vec<i64> {
    let pairs = column(out, 0, lane).zip(column(out, 1, lane));
    pairs.map(|(r1, r2)| residue::signed_crt(r1, r2)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn equals_schoolbook_multiplication(seed: [u8; 32], set in 0..3usize, lane in 0..LANES) {
        let parameters = Parameters::find(PARAMETERS[set].name).unwrap();
        let mut rng = ChaCha20Rng::from_seed(seed);
        let lanes: Vec<_> = (0..LANES).map(|_| polynomials(parameters, &mut rng)).collect();
        let out = mint(&Secret::draw(parameters, &seed), None, &block_of(parameters, &lanes));
        let s = secret::coefficients(parameters, &seed);
        let expected = schoolbook_product(parameters.degree, &lanes[lane], &s);
        for (i, p) in PRIMES.into_iter().enumerate() {
            for (found, expected) in column(&out, i, lane).zip(&expected) {
                prop_assert_eq!(i128::from(found), expected.rem_euclid(i128::from(p)));
            }
        }
    }

    /// What the scheme stands on: the host's product with W of masks is the correction, but for the
    /// product with the noise.
    #[test]
    fn corrections_correct(seed: [u8; 32], set in 0..3usize, bound in 1..=127i64) {
        let parameters = Parameters::find(PARAMETERS[set].name).unwrap();
        let (degree, features) = (parameters.degree, 2 * LANES);
        let mut rng = ChaCha20Rng::from_seed(seed);
        let a: Vec<_> = (0..features).map(|_| polynomials(parameters, &mut rng)).collect();
        // W (features, LANES), and R = W^T a modulo Q.
        let span = 2 * bound as u64 + 1;
        let mut draw = || (rng.next_u64() % span) as i64 - bound;
        let w: Vec<[i64; LANES]> =
            (0..features).map(|_| core::array::from_fn(|_| draw())).collect();
        let r_at = |c: usize, x: usize| {
            let terms = w.iter().zip(&a).map(|(w, a)| i128::from(w[c]) * i128::from(a[x]));
            terms.sum::<i128>().rem_euclid(i128::from(Q)) as u64
        };
        let r: Vec<Vec<u64>> =
            (0..LANES).map(|c| (0..parameters.public_rows()).map(|x| r_at(c, x)).collect()).collect();
        let w_columns: [Vec<i64>; LANES] =
            core::array::from_fn(|c| w.iter().map(|row| row[c]).collect());
        let secret = Secret::draw(parameters, &seed);
        let correction = mint(&secret, None, &block_of(parameters, &r));
        let (mut masks, mut noise) = (Vec::new(), Vec::new());
        for (b, a) in a.chunks(LANES).enumerate() {
            let block = block_of(parameters, a);
            let mask = mint(&secret, Some((&[3; 32], b as u64)), &block);
            let plain = mint(&secret, None, &block);
            for lane in 0..LANES {
                let e = integers(&mask, lane).into_iter().zip(integers(&plain, lane));
                let centre = |x: i64| residue::signed_crt(
                    residue::from_i64(x, PRIMES[0]),
                    residue::from_i64(x, PRIMES[1]),
                );
                noise.push(e.map(|(mask, plain)| centre(mask - plain)).collect::<Vec<_>>());
                masks.push([0, 1].map(|i| column(&mask, i, lane).collect::<Vec<_>>()));
            }
        }
        for (c, w) in w_columns.iter().enumerate() {
            for (i, p) in PRIMES.into_iter().enumerate() {
                for (t, correction) in column(&correction, i, c).enumerate().take(degree) {
                    let sum = |of: &dyn Fn(usize) -> i64| -> i128 {
                        (0..features).map(|j| i128::from(w[j]) * i128::from(of(j))).sum()
                    };
                    let product = sum(&|j| i64::from(masks[j][i][t]));
                    let error = sum(&|j| noise[j][t]);
                    prop_assert!(error.unsigned_abs() <= 32 * features as u128 * bound as u128);
                    let right = i128::from(correction) + error;
                    prop_assert_eq!((product - right).rem_euclid(i128::from(p)), 0);
                }
            }
        }
    }

    /// Largest sums of products, largest values everywhere.
    #[test]
    fn extremes(seed: [u8; 32], set in 0..3usize, mixed: bool) {
        let parameters = Parameters::find(PARAMETERS[set].name).unwrap();
        let (degree, rank) = (parameters.degree, parameters.rank);
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut end = |p: u32| {
            let high = (p as i32 - 1) / 2;
            if mixed && rng.next_u32() & 1 == 1 { -high } else { high }
        };
        let s = PRIMES.map(|p| (0..degree * rank).map(|_| end(p)).collect::<Vec<_>>());
        let half = parameters.block_words() / 2;
        let block: Vec<i32> = PRIMES.iter().flat_map(|p| vec![*p; half]).map(&mut end).collect();
        let out = mint(&Secret::of_values(parameters, s.clone()), None, &block);
        for (i, field) in FIELDS.iter().enumerate() {
            let p = i128::from(field.p);
            let twiddles = ntt::forward_twiddles(field, degree);
            for lane in [0, 5, LANES - 1] {
                let mut values: Vec<u32> = column(&out, i, lane).collect();
                ntt::forward(field, &twiddles, &mut values);
                for (point, value) in values.into_iter().enumerate() {
                    let a = |l: usize| block[((i * degree + point) * rank + l) * LANES + lane];
                    let term = |l| i128::from(a(l)) * i128::from(s[i][point * rank + l]);
                    let sum: i128 = (0..rank).map(term).sum();
                    // The inverse transform leaves N in; reduction takes R out.
                    let expected = sum * degree as i128 - (i128::from(value) << 32);
                    prop_assert_eq!(expected.rem_euclid(p), 0);
                }
            }
        }
    }
}

#[test]
fn noise_is_uniform_and_one_integer_modulo_both_primes() {
    let parameters = Parameters::find("256x10").unwrap();
    let block = vec![0; parameters.block_words()];
    let secret = Secret::draw(parameters, &[1; 32]);
    let seed = [2; 32];
    let mut bins = [0; 64];
    for number in 0..30 {
        let out = mint(&secret, Some((&seed, number)), &block);
        let mut reference = ChaCha20Rng::from_seed(seed);
        reference.set_stream(number);
        let words: Vec<u32> = (0..parameters.degree * LANES / 4)
            .map(|_| reference.next_u32())
            .collect();
        for lane in 0..LANES {
            for (t, e) in integers(&out, lane).into_iter().enumerate() {
                assert!((-32..32).contains(&e), "{e}");
                bins[(e + 32) as usize] += 1;
                let byte = words[t / 4 * LANES + lane].to_le_bytes()[t % 4];
                assert_eq!(e, i64::from(byte & 63) - 32);
            }
        }
    }
    // 63 degrees of freedom: 130 has probability 1e-6.
    assert!(chi_square(&bins) < 130.0, "{bins:?}");
}

#[test]
fn the_sets_are_what_their_names_say() {
    for set in &PARAMETERS {
        let found = Parameters::find(set.name).unwrap();
        assert_eq!(found, set);
        assert_eq!(alloc::format!("{}x{}", set.degree, set.rank), set.name);
        assert!(set.degree.is_power_of_two() && set.degree >= 256);
        assert_eq!(set.block_words(), 2 * LANES * set.degree * set.rank);
    }
    assert_eq!(Parameters::default_set(), &PARAMETERS[0]);
    assert_eq!(Parameters::find("512"), None);
}

#[test]
fn other_lengths_are_refused() {
    let parameters = Parameters::default_set();
    let secret = Secret::draw(parameters, &[0; 32]);
    let (block, masks) = (parameters.block_words(), parameters.mask_words());
    for (block, masks) in [
        (block - 1, masks),
        (block, masks + 1),
        (0, masks),
        (block, 0),
    ] {
        let refused = mint_block(&secret, None, &vec![0; block], &mut vec![0; masks]);
        assert!(matches!(refused, Err(ShapeError::Length { .. })));
    }
}
