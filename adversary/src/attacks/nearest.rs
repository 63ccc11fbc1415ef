//! Nearest neighbour among the vocabulary.
//!
//! *Source:* folklore; the baseline attack of the ReMO paper (arXiv 2603.00196). *Input:* rows at the embedding and at
//! qkv of layer 0, which depend on one token each. *Method:* the attacker computes what every token would send and
//! takes the nearest, by cosine (scale does not matter) and by L2 (against the integers exactly as the payload would
//! round them; float rows against floats). At the embedding, whose rows are one-hot, the largest element names the
//! token. *Metric:* top-1. *Breaks:* no masking, float masks that are too narrow, both hosts of shares. *Chance:* the
//! guesses dealt at random, about 1/V.

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::{Attack, Finding, Found, Scene, argmax, normalised};
use crate::capture::EMBEDDING;
use crate::view::Rows;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "nearest",
    breaks: "no masking, narrow float masks, both hosts of shares",
    chance: "guesses dealt at random, about 1/V",
    run,
};

/// Rows compared with the vocabulary at a time.
const BLOCK: usize = 64;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let victims = scene.victims();
    if let Some(rows) = scene.view.of(EMBEDDING) {
        let largest = |row: &usize| {
            let best = argmax(rows.reals(*row).into_iter().map(f64::abs));
            (*row, best.map(|(token, _)| token as u32))
        };
        let guesses = victims.par_iter().map(largest).collect();
        findings.push(scene.finding("largest element", EMBEDDING, Found::Tokens(guesses)));
    }
    let qkv = scene.copy.qkv(0);
    if let Some(rows) = scene.view.of(qkv) {
        let vocabulary = scene.copy.first_rows();
        let guesses = by_cosine(rows, &victims, &vocabulary);
        findings.push(scene.finding("nearest, cosine", qkv, Found::Tokens(guesses)));
        if let Some(guesses) = by_distance(scene, rows, &victims, &vocabulary) {
            findings.push(scene.finding("nearest, L2", qkv, Found::Tokens(guesses)));
        }
    }
    findings
}

/// The column of `vocabulary` (k,V) with the largest cosine, for each row.
pub(super) fn by_cosine(
    rows: &Rows,
    wanted: &[usize],
    vocabulary: &DMatrix<f32>,
) -> Vec<(usize, Option<u32>)> {
    let k = vocabulary.nrows();
    let unit = unit_columns(vocabulary).transpose();
    let blocks = wanted.par_chunks(BLOCK).flat_map_iter(|block| {
        let columns = block.iter().flat_map(|row| normalised(rows.reals(*row)));
        let x = DMatrix::from_iterator(k, block.len(), columns.map(|x| x as f32));
        // (V,k) (k,block)
        let cosines = &unit * x;
        let best = cosines
            .column_iter()
            .map(|c| c.iter().map(|c| f64::from(*c)).collect());
        let best: Vec<Vec<f64>> = best.collect();
        block
            .iter()
            .zip(best)
            .map(|(row, cosines)| (*row, argmax(cosines).map(|(token, _)| token as u32)))
    });
    blocks.collect()
}

/// Columns scaled to length 1.
fn unit_columns(vocabulary: &DMatrix<f32>) -> DMatrix<f32> {
    let mut unit = vocabulary.clone();
    for mut column in unit.column_iter_mut() {
        let length = column.norm();
        if length > 0.0 {
            column /= length;
        }
    }
    unit
}

/// The token whose row is nearest: integers against integers, floats against floats.
fn by_distance(
    scene: &Scene<'_>,
    rows: &Rows,
    wanted: &[usize],
    vocabulary: &DMatrix<f32>,
) -> Option<Vec<(usize, Option<u32>)>> {
    let candidates: Vec<Vec<f64>> = match rows {
        Rows::Residues(_) => {
            let exact = scene.copy.quantised(scene.copy.qkv(0), vocabulary)?;
            exact
                .iter()
                .map(|row| row.iter().map(|x| f64::from(*x)).collect())
                .collect()
        }
        Rows::Floats(_) => {
            let columns = vocabulary.column_iter();
            columns
                .map(|c| c.iter().map(|x| f64::from(*x)).collect())
                .collect()
        }
    };
    let nearest = |row: &usize| {
        let seen = rows.reals(*row);
        let distances = candidates
            .iter()
            .map(|candidate| -square_distance(&seen, candidate));
        (*row, argmax(distances).map(|(token, _)| token as u32))
    };
    Some(wanted.par_iter().map(nearest).collect())
}

fn square_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
