//! Masks that were used twice.
//!
//! *Source:* docs/protocol.md, 11.4; the two-time pad. *Input:* all pairs of rows of one projection. *Method:* under one
//! mask, or one secret with fresh noise, two rows differ by `X - X'` or `Delta (X - X') + E - E'`, far below q; different
//! uniform masks give uniform differences. *Metric:* how many of 16 elements of some pair differ by less than q / 2^12.
//! *Breaks:* reuse of masks, of secrets, of keys; no masking. *Chance:* no pair has more than four.

use rayon::prelude::*;
use talaria_arithmetic::residue::{self, signed_crt};
use talaria_arithmetic::{P1, P2, Q};

use super::{Attack, Finding, Found, Scene};

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "reuse",
    breaks: "masks, secrets or keys used twice; no masking",
    chance: "at most 4 of 16 elements of any pair",
    run,
};

/// Elements looked at.
const ELEMENTS: usize = 16;
/// A pair of uniform rows has five small elements with 2^-42: none among 10^7 pairs, with 1e-6.
const BOUND: f64 = 4.0;
/// Magnitudes that count as small.
const SMALL: u64 = Q >> 13;
/// Rows compared with each other.
const MAX_ROWS: usize = 4096;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let projections = 0..scene.copy.manifest.projections.len();
    let found = projections.filter_map(|projection| {
        let rows = scene.view.rows.get(&projection)?.residues()?;
        let rows = &rows[..rows.len().min(MAX_ROWS)];
        let value = most_small(rows) as f64;
        let what = format!("most small elements of {ELEMENTS} in a difference of two rows");
        let found = Found::Statistic {
            what,
            value,
            bound: BOUND,
        };
        Some(scene.finding(ATTACK.name, projection, found))
    });
    found.collect()
}

/// The most small elements in a difference of two rows.
pub fn most_small(rows: &[Vec<u32>]) -> usize {
    let sampled: Vec<Vec<[u32; 2]>> = rows.iter().map(|row| sample(row)).collect();
    let of_row = |i: usize| {
        let others = sampled[..i].iter();
        others
            .map(|other| small(&sampled[i], other))
            .max()
            .unwrap_or(0)
    };
    (0..rows.len())
        .into_par_iter()
        .map(of_row)
        .max()
        .unwrap_or(0)
}

/// Elements spread over a row, as residues modulo both primes.
fn sample(row: &[u32]) -> Vec<[u32; 2]> {
    let k = row.len() / 2;
    let step = k.div_ceil(ELEMENTS).max(1);
    (0..k).step_by(step).map(|j| [row[j], row[k + j]]).collect()
}

fn small(a: &[[u32; 2]], b: &[[u32; 2]]) -> usize {
    let is_small = |(a, b): &(&[u32; 2], &[u32; 2])| {
        let difference = signed_crt(residue::sub(a[0], b[0], P1), residue::sub(a[1], b[1], P2));
        difference.unsigned_abs() < SMALL
    };
    a.iter().zip(b).filter(is_small).count()
}
