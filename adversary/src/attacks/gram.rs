//! The Gram matrix of a pass, which orthogonal mixing leaves as it is.
//!
//! *Source:* GELO (arXiv 2603.05035) names it as the leak of orthogonal mixing. *Input:* float rows U of each pass at qkv
//! of layer 0. *Method:* `U^T U = H^T H + shields`. A vector v that was a row m times and is independent of the others has
//! leverage `v (U^T U)^+ v^T = 1/m`, whatever the shields are; other vectors of the span have another. *Metric:* recall of
//! the pass's distinct tokens, without their order. *Breaks:* orthogonal mixing. *Chance:* the bags of other passes.

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::{Attack, Finding, Found, Scene, span};
use crate::view::Rows;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "gram",
    breaks: "orthogonally mixed rows",
    chance: "bags of other passes",
    run,
};

/// Largest relative difference of a leverage from 1/m.
const TOLERANCE: f64 = 1e-3;
/// Singular values below this fraction of the largest are rounding.
const RANK: f64 = 1e-5;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let qkv = scene.copy.qkv(0);
    // Leverage depends on scale, which integer rows hide.
    if !matches!(scene.view.rows.get(&qkv), Some(Rows::Floats(_))) {
        return Vec::new();
    }
    let vocabulary: DMatrix<f64> = scene.copy.first_rows().cast();
    let bags: Vec<_> = span::passes(scene)
        .into_par_iter()
        .map(|(pass, rows)| {
            (
                scene.view.passes[pass].rows.clone(),
                members(&rows, &vocabulary),
            )
        })
        .collect();
    vec![scene.finding(ATTACK.name, qkv, Found::Bags(bags))]
}

/// Tokens in the span of `rows` (r,k) whose leverage is 1/m.
fn members(rows: &[Vec<f64>], vocabulary: &DMatrix<f64>) -> Vec<u32> {
    let k = vocabulary.nrows();
    if rows.len() >= k {
        return Vec::new();
    }
    let columns = DMatrix::from_iterator(k, rows.len(), rows.iter().flatten().copied());
    let svd = columns.svd(true, false);
    let Some(basis) = svd.u else {
        return Vec::new();
    };
    let largest = svd.singular_values.max();
    // Coordinates of each token in the span (r,V).
    let inside = basis.tr_mul(vocabulary);
    let is_member = |token: usize| {
        let coordinates = inside.column(token);
        let square = vocabulary.column(token).norm_squared();
        let leverage: f64 = coordinates
            .iter()
            .zip(svd.singular_values.iter())
            .filter(|(_, s)| **s > RANK * largest)
            .map(|(c, s)| (c / s).powi(2))
            .sum();
        let times = (1.0 / leverage).round();
        square - coordinates.norm_squared() < TOLERANCE * square
            && times >= 1.0
            && (leverage * times - 1.0).abs() < TOLERANCE * times
    };
    (0..vocabulary.ncols())
        .filter(|t| is_member(*t))
        .map(|t| t as u32)
        .collect()
}
