//! Statistics of rows as a host sees them, and what each finds where masks are broken. Attacks and the end-to-end
//! tests look through these.
//!
//! All work on rows of residues (k modulo P1, then k modulo P2). "At chance" is what uniform residues give.

use std::collections::HashSet;

use talaria_arithmetic::{PRIMES, module_lwe::Parameters, residue};

use crate::math::echelon::{Echelon, power};

/// Low bits of a residue that are uniform exactly, for both primes: `p - 1` is a multiple of 2^24.
const UNIFORM_BITS: u32 = 24;

/// Largest deviation, in standard deviations, of any low bit plane from half ones and of any of 16 equal ranges from
/// a sixteenth, over residues modulo each prime.
pub fn worst_deviation(rows: &[Vec<u32>]) -> f64 {
    let mut worst: f64 = 0.0;
    for (i, p) in PRIMES.into_iter().enumerate() {
        let residues = || rows.iter().flat_map(|row| halves(row)[i]);
        let count = residues().count() as f64;
        let mut look = |found: usize, share: f64| {
            let spread = (count * share * (1.0 - share)).sqrt();
            worst = worst.max((found as f64 - count * share).abs() / spread);
        };
        for bit in 0..UNIFORM_BITS {
            look(residues().filter(|r| **r >> bit & 1 == 1).count(), 0.5);
        }
        let mut ranges = [0; 16];
        residues().for_each(|r| ranges[(u64::from(*r) * 16 / u64::from(p)) as usize] += 1);
        for found in ranges {
            look(found, 1.0 / 16.0);
        }
    }
    worst
}

/// Whether any two rows are equal.
pub fn any_repeated(rows: &[Vec<u32>]) -> bool {
    let mut seen = HashSet::new();
    !rows.iter().all(|row| seen.insert(row))
}

/// Rank modulo P1 of the first `size` columns of `size` rows.
pub fn rank(rows: &[Vec<u32>], size: usize) -> usize {
    let rows = rows[..size].iter().map(|r| r[..size].to_vec()).collect();
    Echelon::of(rows, PRIMES[0]).rank()
}

/// Difference attack: the share of elements in which two sends of the same row differ by less than two bounds of
/// noise, as they do if one secret made both.
pub fn small_differences(one: &[u32], other: &[u32]) -> f64 {
    let small = |(i, (a, b)): (usize, (&u32, &u32))| {
        let p = PRIMES[usize::from(i >= one.len() / 2)];
        let difference = residue::sub(*a, *b, p);
        difference < 64 || difference > p - 64
    };
    let found = one
        .iter()
        .zip(other)
        .enumerate()
        .filter(|x| small(*x))
        .count();
    found as f64 / one.len() as f64
}

/// Averaging attack: the correlation of the mean of many sends of one row with what it hides, `Delta X` modulo P1.
pub fn correlation_of_mean(sends: &[Vec<u32>], hidden: &[u32]) -> f64 {
    let p = PRIMES[0];
    let centred = |r: u32| f64::from(r) - if r > p / 2 { f64::from(p) } else { 0.0 };
    let k = hidden.len();
    let mean: Vec<f64> = (0..k)
        .map(|j| sends.iter().map(|row| centred(row[j])).sum::<f64>() / sends.len() as f64)
        .collect();
    correlation(
        &mean,
        &hidden.iter().map(|r| centred(*r)).collect::<Vec<_>>(),
    )
}

/// Pearson correlation of two vectors of one length.
pub fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let dot = |x: &[f64], mx: f64, y: &[f64], my: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum()
    };
    dot(a, mean_a, b, mean_b) / (dot(a, mean_a, a, mean_a) * dot(b, mean_b, b, mean_b)).sqrt()
}

/// Null-space attack on one batch: at each point of the transform, masks without noise are `rank` unknowns times
/// public numbers, so `rank + 1` features contradict or prove it. The share of points at which the last
/// feature is what the others say; chance is 1/p.
///
/// `rows` are all rows of a batch in order, less what they hide; `a(row, feature)` is the public A modulo P1.
pub fn predicted_points(
    parameters: &Parameters,
    rows: &[Vec<u32>],
    a: impl Fn(usize, usize) -> u32,
) -> f64 {
    let (p, degree, rank) = (PRIMES[0], parameters.degree, parameters.rank);
    // A primitive root of x^N + 1, from the least non-residue, as in talaria-arithmetic (module_lwe/field.rs).
    let is_non_residue = |g: &u32| power(*g, u64::from(p - 1) / 2, p) == p - 1;
    let non_residue = (2..p).find(is_non_residue).unwrap_or_default();
    let psi = power(non_residue, u64::from(p - 1) / (2 * degree as u64), p);
    let points = 16;
    let mut predicted = 0;
    for i in 0..points {
        // Point i of the transform, in the order that talaria-arithmetic gives points.
        let exponent = 2 * reversed(i, degree) + 1;
        let at = power(psi, exponent as u64, p);
        let value = |feature: usize| {
            rows.iter().rev().fold(0, |sum, row| {
                residue::add(residue::mul(sum, at, p), row[feature], p)
            })
        };
        // (rank + 1) equations in rank unknowns: singular exactly if they agree.
        let equations: Vec<Vec<u32>> = (0..=rank)
            .map(|feature| {
                let knowns = (0..rank).map(|l| a(i * rank + l, feature));
                knowns.chain([value(feature)]).collect()
            })
            .collect();
        predicted += usize::from(self::rank(&equations, rank + 1) <= rank);
    }
    predicted as f64 / points as f64
}

fn reversed(i: usize, degree: usize) -> usize {
    i.reverse_bits() >> (usize::BITS - degree.trailing_zeros())
}

fn halves(row: &[u32]) -> [&[u32]; 2] {
    let (first, second) = row.split_at(row.len() / 2);
    [first, second]
}
