//! Sorted values and norms, which no order of columns hides.
//!
//! *Source:* arXiv 2505.18332, section on permuted hidden states. *Input:* rows at qkv of layer 0. *Method:* values of a
//! row, scaled to length 1 and sorted, against the sorted values of every token by L2; likewise the fourth moment
//! alone, one number a row (the second is what RMSNorm made 1). *Metric:* top-1. *Breaks:* no masking, permuted columns.
//! *Chance:* guesses dealt at random.

use nalgebra::DMatrix;

use super::{Attack, Finding, Found, Scene, nearest, normalised};
use crate::view::Rows;
use std::sync::Arc;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "sorted",
    breaks: "no masking, permuted columns",
    chance: "guesses dealt at random, about 1/V",
    run,
};

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let qkv = scene.copy.qkv(0);
    let Some(rows) = scene.view.of(qkv) else {
        return Vec::new();
    };
    let victims = scene.victims();
    let vocabulary = scene.copy.first_rows();
    let reals = |i: usize| normalised(rows.reals(i));
    let seen: Vec<Vec<f64>> = victims.iter().map(|row| sorted(reals(*row))).collect();
    let columns: Vec<Vec<f64>> = vocabulary
        .column_iter()
        .map(|column| sorted(normalised(column.iter().map(|x| f64::from(*x)).collect())))
        .collect();

    let flat = columns.iter().flatten().map(|x| *x as f32);
    let dictionary = DMatrix::from_iterator(vocabulary.nrows(), columns.len(), flat);
    let floats = seen
        .iter()
        .map(|row| row.iter().map(|x| *x as f32).collect())
        .collect();
    let all: Vec<usize> = (0..victims.len()).collect();
    let found = nearest::by_cosine(&Rows::Floats(Arc::new(floats)), &all, &dictionary);
    let guesses = found
        .into_iter()
        .map(|(i, guess)| (victims[i], guess))
        .collect();

    let fourth = |row: &Vec<f64>| row.iter().map(|x| x.powi(4)).sum::<f64>();
    let mut moments: Vec<(f64, u32)> = columns.iter().map(fourth).zip(0..).collect();
    moments.sort_by(|a, b| a.0.total_cmp(&b.0));
    let by_moment = victims
        .iter()
        .zip(&seen)
        .map(|(row, seen)| (*row, closest(&moments, fourth(seen))));
    vec![
        scene.finding("sorted values", qkv, Found::Tokens(guesses)),
        scene.finding("fourth moment", qkv, Found::Tokens(by_moment.collect())),
    ]
}

fn sorted(mut row: Vec<f64>) -> Vec<f64> {
    row.sort_by(f64::total_cmp);
    row
}

/// The token whose number is closest.
fn closest(ascending: &[(f64, u32)], value: f64) -> Option<u32> {
    let at = ascending.partition_point(|(x, _)| *x < value);
    let around = ascending[at.saturating_sub(1)..(at + 1).min(ascending.len())].iter();
    let nearest = around.min_by(|a, b| (a.0 - value).abs().total_cmp(&(b.0 - value).abs()));
    nearest.map(|(_, token)| *token)
}
