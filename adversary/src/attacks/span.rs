//! Membership in the span of a pass.
//!
//! *Source:* linear algebra; the question that GELO (arXiv 2603.05035) has to answer. *Input:* rows of each pass at qkv
//! of layer 0, mixed in whatever way. *Method:* mixing rows leaves their span as it is, and shields only add to it: with
//! fewer rows than columns, a token of the pass lies in the span and another does not. *Metric:* recall of the pass's
//! distinct tokens, without their order. *Breaks:* mixed rows (GELO-like), no masking. *Chance:* the bags of other passes.

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::{Attack, Finding, Found, Scene, normalised};

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "span",
    breaks: "mixed rows, with fewer rows in a pass than columns",
    chance: "bags of other passes",
    run,
};

/// Largest square of a unit vector's distance from the span.
const TOLERANCE: f64 = 1e-4;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let qkv = scene.copy.qkv(0);
    let vocabulary = unit(scene.copy.first_rows().cast());
    let bags: Vec<_> = passes(scene)
        .into_par_iter()
        .map(|(pass, rows)| {
            let rows: Vec<Vec<f64>> = rows.into_iter().map(normalised).collect();
            (
                scene.view.passes[pass].rows.clone(),
                members(&rows, &vocabulary),
            )
        })
        .collect();
    match bags.is_empty() {
        true => Vec::new(),
        false => vec![scene.finding(ATTACK.name, qkv, Found::Bags(bags))],
    }
}

/// Columns scaled to length 1.
pub(super) fn unit(mut columns: DMatrix<f64>) -> DMatrix<f64> {
    for mut column in columns.column_iter_mut() {
        let length = column.norm();
        if length > 0.0 {
            column /= length;
        }
    }
    columns
}

/// Rows of qkv of layer 0 of each pass of others, shields included.
pub(super) fn passes(scene: &Scene<'_>) -> Vec<(usize, Vec<Vec<f64>>)> {
    let view = scene.view;
    let Some(rows) = view.rows.get(&scene.copy.qkv(0)) else {
        return Vec::new();
    };
    let passes = view.passes.iter().enumerate();
    let others = passes.filter(|(_, pass)| scene.known[pass.rows.start].is_none());
    others
        .map(|(i, _)| (i, view.rows_of_pass(i)))
        .filter(|(_, range)| range.end <= rows.len())
        .map(|(i, range)| (i, range.map(|row| rows.reals(row)).collect()))
        .collect()
}

/// Tokens whose unit vector lies in the span of `rows` (r,k).
fn members(rows: &[Vec<f64>], vocabulary: &DMatrix<f64>) -> Vec<u32> {
    let k = vocabulary.nrows();
    if rows.len() >= k {
        // Everything is in the span.
        return Vec::new();
    }
    let columns = DMatrix::from_iterator(k, rows.len(), rows.iter().flatten().copied());
    let inside = columns.qr().q().tr_mul(vocabulary);
    let squares = inside.column_iter().map(|column| column.norm_squared());
    let members = squares
        .zip(0..)
        .filter(|(square, _)| 1.0 - square < TOLERANCE);
    members.map(|(_, token)| token).collect()
}
