//! Real or random.
//!
//! *Source:* the definition of a one-time pad and of decision LWE. *Input:* rows of residues of one projection, beside
//! rows that the attacker draws uniformly. *Method:* (a) the largest deviation of any low bit plane and of any sixteenth
//! of the range from uniform; (b) repeated rows and dependent rows; (c) a network trained on the bits of single
//! elements of half of the rows, then asked which of two rows, one real and one random, is real. *Metric:* deviations;
//! advantage. *Breaks:* no masking, small integers, biased or poor keystreams. *Chance:* below 6.5 deviations,
//! advantage 0.

use nalgebra::DMatrix;

use super::{Attack, Finding, Found, Scene};
use crate::dice::Dice;
use crate::math::mlp::{Mlp, Training};
use crate::metrics::Rate;
use crate::statistics::{any_repeated, rank, worst_deviation};

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "distinguisher",
    breaks: "no masking, small integers, biased or poor keystreams",
    chance: "below 6.5 deviations, advantage 0",
    run,
};

/// Deviation that one look in 10^10 exceeds; there are some hundred a row set.
const BOUND: f64 = 6.5;
/// Rows whose rank is taken.
const RANK_ROWS: usize = 64;
/// Rows looked at: bits of 10^7 residues are enough.
const MAX_ROWS: usize = 2048;
/// Elements of a row that the network is given.
const ELEMENTS: usize = 32;
/// Bits of a residue.
const BITS: usize = 31;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for projection in 0..scene.copy.manifest.projections.len() {
        let rows = scene
            .view
            .rows
            .get(&projection)
            .and_then(|rows| rows.residues());
        let Some(rows) = rows.filter(|rows| rows.len() >= 2) else {
            continue;
        };
        let rows = &rows[..rows.len().min(MAX_ROWS)];
        let mut add = |name: &'static str, found| {
            findings.push(scene.finding(name, projection, found));
        };
        add(
            "bit planes",
            statistic(
                "largest deviation of a bit plane",
                worst_deviation(rows),
                BOUND,
            ),
        );
        let repeated = f64::from(u8::from(any_repeated(rows)));
        add(
            "repeated rows",
            statistic("whether two rows are equal", repeated, 0.5),
        );
        let k = rows[0].len() / 2;
        if rows.len() >= RANK_ROWS && k >= RANK_ROWS {
            let missing = RANK_ROWS - rank(rows, RANK_ROWS);
            add(
                "rank",
                statistic("dependent rows of 64", missing as f64, 0.5),
            );
        }
        let mut dice = Dice::new(scene.seed, &format!("real or random {projection}"));
        if let Some(won) = trained(rows, scene.effort.epochs, &mut dice) {
            add("trained distinguisher", Found::Game(won));
        }
    }
    findings
}

fn statistic(what: &str, value: f64, bound: f64) -> Found {
    Found::Statistic {
        what: what.into(),
        value,
        bound,
    }
}

/// Trains on half of the rows and plays with the other half.
pub fn trained(rows: &[Vec<u32>], epochs: usize, dice: &mut Dice) -> Option<Rate> {
    let (train, test) = rows.split_at(rows.len() / 2);
    let k = train.first()?.len() / 2;
    let mut examples = Vec::new();
    let mut sides = Vec::new();
    for row in train {
        for (row, side) in [(row, 1.0), (&dice.row(k), -1.0)] {
            examples.extend(bits(row));
            sides.extend([side; ELEMENTS].iter().take(elements(k)));
        }
    }
    let x = DMatrix::from_vec(2 * BITS, sides.len(), examples);
    let y = DMatrix::from_row_slice(1, sides.len(), &sides);
    let training = Training {
        hidden: 24,
        epochs: epochs.div_ceil(4),
        batch: 128,
        rate: 3e-3,
    };
    let network = Mlp::fit(&x, &y, training, dice);
    let score = |row: &[u32]| {
        let x = DMatrix::from_vec(2 * BITS, elements(k), bits(row));
        network.apply(&x).sum()
    };
    Some(Rate::of(test.iter().map(|row| {
        let (real, random) = (score(row), score(&dice.row(k)));
        match real == random {
            true => dice.coin(),
            false => real > random,
        }
    })))
}

fn elements(k: usize) -> usize {
    ELEMENTS.min(k)
}

/// Bits of elements spread over a row, modulo P1 then P2, as -1 and 1: (62, elements).
fn bits(row: &[u32]) -> Vec<f32> {
    let k = row.len() / 2;
    let of = |j: usize| [row[j], row[k + j]];
    let spread = (0..elements(k)).map(|i| i * k / elements(k));
    spread
        .flat_map(of)
        .flat_map(|r| (0..BITS).map(move |bit| (r >> bit & 1) as f32 * 2.0 - 1.0))
        .collect()
}
