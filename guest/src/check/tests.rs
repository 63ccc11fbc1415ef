use super::*;
use crate::{setup::Scheme, testing::TestWorld, world::World};
use proptest::prelude::*;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use residue::{from_i64, mul};
use talaria_arithmetic::{P1, P2};

/// Random W (n,k) as int16, output by output, and its check vectors.
fn matrix(k: usize, n: usize, seed: u32) -> (Vec<i32>, CheckVectors) {
    let mut residues = vec![0; 2 * k * n];
    keystream::expand_row(&[3; 32], seed, &mut residues);
    let weights: Vec<i32> = residues[..k * n]
        .iter()
        .map(|r| (*r % 65279) as i32 - 32639)
        .collect();
    let mut fold = Fold::new(&[4; 32], k, n);
    let planes: Vec<_> = weights
        .iter()
        .map(|w| talaria_arithmetic::fixed_point::split_planes(*w))
        .collect();
    for (plane, factor) in [(0, 256), (1, 1)] {
        for (c, column) in planes.chunks(k).enumerate() {
            let bytes: Vec<u8> = column
                .iter()
                .map(|(hi, lo)| if plane == 0 { *hi as u8 } else { *lo as u8 })
                .collect();
            fold.column(c, factor, &bytes);
        }
    }
    (weights, fold.finish().0)
}

/// rows x (n modulo P1, n modulo P2) of residues x times W.
fn product(x: &[u32], weights: &[i32], k: usize) -> Vec<u32> {
    let mut y = Vec::new();
    for row in x.chunks(2 * k) {
        for (half, p) in row.chunks(k).zip(PRIMES) {
            for column in weights.chunks(k) {
                let terms = half
                    .iter()
                    .zip(column)
                    .map(|(x, w)| mul(*x, from_i64((*w).into(), p), p));
                y.push(terms.fold(0, |sum, t| residue::add(sum, t, p)));
            }
        }
    }
    y
}

fn rows(rows: usize, k: usize, seed: u8) -> Vec<u32> {
    keystream::expand_rows(&[seed; 32], rows, k)
}

#[test]
fn honest_products_pass_as_residues_and_as_integers() {
    let (weights, check) = matrix(37, 11, 0);
    let x = rows(3, 37, 1);
    assert!(
        check
            .check(Rows::Residues(&x), product(&x, &weights, 37))
            .is_ok()
    );
    let integers = FixedRows::quantise(
        &(0..74).map(|i| (i as f32).sin()).collect::<Vec<_>>(),
        37,
        22,
    )
    .unwrap();
    let y = product(&integers.residues(), &weights, 37);
    assert_eq!(
        check
            .check(Rows::Integers(&integers), y.clone())
            .unwrap()
            .into_residues(),
        y
    );
}

#[test]
fn wrong_lengths_fail() {
    let (weights, check) = matrix(8, 5, 0);
    let x = rows(2, 8, 1);
    let y = product(&x, &weights, 8);
    assert!(
        check
            .check(Rows::Residues(&x), y[..y.len() - 1].to_vec())
            .is_err()
    );
    assert!(check.check(Rows::Residues(&x), vec![]).is_err());
    assert!(
        check
            .check(Rows::Residues(&x), [&y[..], &y[..]].concat())
            .is_err()
    );
}

#[test]
fn residues_out_of_range_fail_although_congruent() {
    let (weights, check) = matrix(8, 5, 0);
    let x = rows(1, 8, 1);
    let y = product(&x, &weights, 8);
    for at in 0..y.len() {
        let mut changed = y.clone();
        changed[at] += if at < 5 { P1 } else { P2 };
        assert_eq!(
            check.check(Rows::Residues(&x), changed).err(),
            Some(Tampered),
            "residue {at}"
        );
    }
}

#[test]
fn swapped_rows_fail() {
    let (weights, check) = matrix(8, 5, 0);
    let x = rows(2, 8, 1);
    let mut y = product(&x, &weights, 8);
    y.rotate_left(10);
    assert!(check.check(Rows::Residues(&x), y).is_err());
}

#[test]
fn many_columns_reduce_in_time() {
    // More columns than Fold::PENDING, every weight and the largest planes at the limit.
    let (k, n) = (2, (1 << 14) + 3);
    let mut fold = Fold::new(&[9; 32], k, n);
    for factor in [256, 1] {
        (0..n).for_each(|c| fold.column(c, factor, &[(-128i8) as u8, 127]));
    }
    let (check, l1) = fold.finish();
    assert_eq!(l1, 255);
    let weights: Vec<i32> = (0..n).flat_map(|_| [-128 * 257, 127 * 257]).collect();
    let x = rows(1, k, 1);
    assert!(
        check
            .check(Rows::Residues(&x), product(&x, &weights, k))
            .is_ok()
    );
}

/// As long as no reduction may be missed: 2^19 columns of the largest magnitude, for the largest v.
#[test]
fn sums_of_the_largest_terms_do_not_overflow() {
    let n = 1 << 19;
    let mut fold = Fold::new(&[9; 32], 2, n);
    for (v, p) in fold.vectors.v.iter_mut().zip(PRIMES) {
        v.iter_mut().for_each(|v| v.fill(p - 1));
    }
    (0..n).for_each(|c| fold.column(c, 256, &[(-128i8) as u8, 127]));
    let (check, l1) = fold.finish();
    assert_eq!(l1, 255);
    for (wv, p) in check.wv.iter().zip(PRIMES) {
        // v is -1 modulo p.
        let expected = [128, -127].map(|w| from_i64((w * 256) << 19, p));
        for wv in wv {
            assert_eq!(**wv, expected);
        }
    }
}

/// The definition of v, and that another key gives another one.
#[test]
fn v_is_expanded_from_its_key_a_row_a_vector() {
    let n = 5;
    for key in [[4; 32], [5; 32]] {
        let (check, _) = Fold::new(&key, 3, n).finish();
        for vector in 0..VECTORS {
            let mut row = vec![0; 2 * n];
            keystream::expand_row(&key, vector as u32, &mut row);
            for prime in 0..2 {
                assert_eq!(check.v[prime][vector], row[prime * n..][..n]);
            }
        }
        assert!(check.v.iter().all(|[first, second]| first != second));
    }
}

/// A change that one vector cannot see, for each vector and prime: the other sees it.
#[test]
fn every_vector_modulo_every_prime_is_compared() {
    let (k, n) = (8, 5);
    let (weights, check) = matrix(k, n, 0);
    let x = rows(2, k, 1);
    let honest = product(&x, &weights, k);
    for row in 0..2 {
        for (prime, p) in PRIMES.into_iter().enumerate() {
            for vector in 0..VECTORS {
                let (v, other) = (&check.v[prime][vector], &check.v[prime][1 - vector]);
                let at = (2 * row + prime) * n;
                let mut y = honest.clone();
                y[at + 1] = residue::add(y[at + 1], v[2], p);
                y[at + 2] = residue::sub(y[at + 2], v[1], p);
                let dot = |y: &[u32], v: &[u32]| {
                    let terms = y[at..][..n].iter().zip(v);
                    terms.fold(0, |sum, (y, v)| residue::add(sum, mul(*y, *v, p), p))
                };
                assert_eq!(dot(&y, v), dot(&honest, v));
                assert_ne!(dot(&y, other), dot(&honest, other));
                let found = check.check(Rows::Residues(&x), y).err();
                assert_eq!(found, Some(Tampered), "row {row}, {p}, vector {vector}");
            }
        }
    }
}

#[test]
fn l1_is_that_of_the_largest_column_of_any_plane() {
    let small = [1, (-1i8) as u8, 0];
    let large = [127, (-128i8) as u8, 3];
    for (plane, factor) in [256, 1].into_iter().enumerate() {
        for column in 0..3 {
            let mut fold = Fold::new(&[9; 32], 3, 3);
            for (i, f) in [256, 1].into_iter().enumerate() {
                for c in 0..3 {
                    let largest = (i, c) == (plane, column);
                    fold.column(c, f, if largest { &large } else { &small });
                }
            }
            assert_eq!(fold.finish().1, 258, "column {column}, factor {factor}");
        }
    }
}

#[test]
fn a_shape_is_that_of_every_part() {
    let (_, good) = matrix(4, 3, 0);
    assert!(good.has_shape(4, 3));
    assert!(!good.has_shape(5, 3) && !good.has_shape(4, 4) && !good.has_shape(3, 4));
    for (k, n) in [(5, 3), (4, 4)] {
        let mut bad = good.clone();
        (bad.k, bad.n) = (k, n);
        assert!(!bad.has_shape(4, 3));
    }
    for prime in 0..2 {
        for vector in 0..VECTORS {
            let mut bad = good.clone();
            bad.v[prime][vector].pop();
            assert!(!bad.has_shape(4, 3));
            let mut bad = good.clone();
            bad.wv[prime][vector].push(0);
            assert!(!bad.has_shape(4, 3));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    /// Any change of any residue of any response is caught.
    #[test]
    fn any_change_is_caught(k in 1usize..24, n in 1usize..24, count in 1usize..4, seed in 0u32..1000,
                            changes in prop::collection::vec((any::<prop::sample::Index>(), 1u32..P1), 1..4)) {
        let (weights, check) = matrix(k, n, seed);
        let x = rows(count, k, seed as u8);
        let honest = product(&x, &weights, k);
        let mut y = honest.clone();
        for (at, delta) in changes {
            let at = at.index(y.len());
            let p = PRIMES[at / n % 2];
            y[at] = residue::add(y[at], delta % p, p);
        }
        let expected = if y == honest { None } else { Some(Tampered) };
        prop_assert_eq!(check.check(Rows::Residues(&x), y).err(), expected);
    }
}

/// One residue, or several, changed by anything: a wrong answer passes with probability 2^-61.8.
#[test]
fn a_million_tampered_answers_over_all_projections_are_refused() {
    let mut world = TestWorld::new();
    let ready = world.ready(Scheme::DangerousPlaintext);
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let mut refused = 0;
    for projection in &ready.projections {
        let x = match projection.is_embedding {
            true => FixedRows::one_hot(&[rng.next_u32() % projection.k as u32], projection.k),
            false => {
                let x: Vec<f32> = (0..projection.k).map(|_| rng.next_u32() as f32).collect();
                FixedRows::quantise(&x, projection.k, projection.row_bits).unwrap()
            }
        };
        let masked = ready.masking.mask(projection, &x, &mut world).unwrap();
        let honest = world.project(masked.rows()).unwrap().remove(0);
        let check = |y: Vec<u32>| projection.check.check(Rows::Integers(&x), y).is_ok();
        assert!(check(honest.clone()));
        let residues = honest.len();
        for _ in 0..1_000_000 / ready.projections.len() + 1 {
            let mut y = honest.clone();
            for _ in 0..=rng.next_u32() % 3 {
                let at = rng.next_u32() as usize % residues;
                let p = PRIMES[at / (residues / 2)];
                y[at] = residue::add(y[at], 1 + rng.next_u32() % (p - 1), p);
            }
            // Changes may undo each other.
            if y != honest {
                assert!(!check(y));
                refused += 1;
            }
        }
    }
    assert!(refused > 999_000, "{refused}");
}
