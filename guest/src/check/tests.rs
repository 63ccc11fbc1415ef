use super::*;
use proptest::prelude::*;
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
