//! Independent components of a pass.
//!
//! *Source:* FastICA (Hyvarinen, 1999); GELO (arXiv 2603.05035) names it. *Input:* rows of passes of a few rows, mixed
//! among themselves and with shields. *Method:* columns are samples: rows are whitened and turned until they are as far
//! from normal as can be, by symmetric fixed-point iteration with tanh; a component that is close to a token's row
//! names it. Normal shields cannot be told from each other, but a token's row can be told from them. *Metric:* recall
//! of the pass's distinct tokens. *Breaks:* mixed rows of short passes, in part. *Chance:* the bags of other passes.

use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

use super::{Attack, Finding, Found, Scene, span};

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "ica",
    breaks: "mixed rows of short passes, in part",
    chance: "bags of other passes",
    run,
};

/// Longest pass: with fewer than some ten samples a row nothing can be estimated.
const MAX_ROWS: usize = 20;
const ITERATIONS: usize = 100;
/// Cosine with which a component is a token's row.
const CLOSE: f64 = 0.8;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let qkv = scene.copy.qkv(0);
    let vocabulary = centred_rows(scene.copy.first_rows().cast().transpose());
    let bags: Vec<_> = span::passes(scene)
        .into_par_iter()
        .filter(|(_, rows)| rows.len() <= MAX_ROWS)
        .filter_map(|(pass, rows)| {
            let tokens = components(&rows).map(|found| named(&found, &vocabulary));
            Some((
                scene.view.passes[pass].rows.clone(),
                tokens.unwrap_or_default(),
            ))
        })
        .collect();
    match bags.is_empty() {
        true => Vec::new(),
        false => vec![scene.finding(ATTACK.name, qkv, Found::Bags(bags))],
    }
}

/// Rows less their means, scaled to length 1.
fn centred_rows(mut rows: DMatrix<f64>) -> DMatrix<f64> {
    for mut row in rows.row_iter_mut() {
        let mean = row.mean();
        row.add_scalar_mut(-mean);
        let length = row.norm();
        if length > 0.0 {
            row /= length;
        }
    }
    rows
}

/// Components (r,k) of rows (r,k); none if the rows are dependent.
fn components(rows: &[Vec<f64>]) -> Option<DMatrix<f64>> {
    let k = rows.first()?.len();
    let rows = DMatrix::from_fn(rows.len(), k, |i, j| rows[i][j]);
    let rows = centred_rows(rows) * (k as f64).sqrt();
    let white = inverse_root(&(&rows * rows.transpose() / k as f64))? * rows;
    let r = white.nrows();
    let mut turn = DMatrix::identity(r, r);
    for _ in 0..ITERATIONS {
        let sources = &turn * &white;
        let bent = sources.map(f64::tanh);
        let slopes = bent.map(|y| 1.0 - y * y);
        let mut next = &bent * white.transpose() / k as f64;
        for (i, mut row) in next.row_iter_mut().enumerate() {
            row -= turn.row(i) * slopes.row(i).mean();
        }
        turn = inverse_root(&(&next * next.transpose()))? * next;
    }
    Some(turn * white)
}

/// The inverse square root of a symmetric matrix; none if it is singular.
fn inverse_root(matrix: &DMatrix<f64>) -> Option<DMatrix<f64>> {
    let eigen = SymmetricEigen::new(matrix.clone());
    let least = 1e-9 * eigen.eigenvalues.amax();
    if !eigen.eigenvalues.iter().all(|value| *value > least) {
        return None;
    }
    let roots = DMatrix::from_diagonal(&eigen.eigenvalues.map(|value| 1.0 / value.sqrt()));
    Some(&eigen.eigenvectors * roots * eigen.eigenvectors.transpose())
}

/// Tokens whose rows (V,k) some component is close to.
fn named(components: &DMatrix<f64>, vocabulary: &DMatrix<f64>) -> Vec<u32> {
    let cosines = vocabulary * centred_rows(components.clone()).transpose();
    let best = cosines.column_iter().filter_map(|column| {
        let (token, cosine) = super::argmax(column.iter().map(|c| c.abs()))?;
        (cosine > CLOSE).then_some(token as u32)
    });
    best.collect()
}
