//! The null space of M_pub: what ReMO does not mask.
//!
//! *Source:* docs/protocol.md, (6.10). *Input:* rows `x + s M` at the embedding and at qkv of layer 0, and M_pub, which
//! the host received at set-up. *Method:* M_pub brought to echelon form leaves k - m linear functions of a row that s
//! does not reach. Exactly modulo P1: the candidate whose functions are equal. In floats: the nearest candidate after
//! projection onto the orthogonal complement. *Metric:* top-1. *Breaks:* remo with m < k.
//! *Chance:* guesses dealt at random; for the exact attack no candidate fits at all.

use std::collections::HashMap;

use nalgebra::DMatrix;
use rayon::prelude::*;
use talaria_arithmetic::P1;
use talaria_arithmetic::residue::from_i64;

use super::{Attack, Finding, Found, Scene, argmax};
use crate::math::echelon::Echelon;
use crate::view::{PublicRows, Rows};

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "null-space",
    breaks: "remo, m < k",
    chance: "guesses dealt at random; exactly, about 0",
    run,
};

/// Functions compared: two of 31 bits tell 2^40 candidates apart.
const FUNCTIONS: usize = 2;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let places = [0, scene.copy.qkv(0)];
    let found = places.into_iter().filter_map(|projection| {
        let rows = scene.view.of(projection)?;
        let found = match (scene.view.public.get(&projection)?, rows) {
            (PublicRows::Residues(m_pub), Rows::Residues(rows)) => (
                "null space, exact",
                exactly(scene, projection, rows, m_pub)?,
            ),
            (PublicRows::Floats(m_pub), Rows::Floats(rows)) => {
                ("null space, floats", in_floats(scene, rows, m_pub))
            }
            _ => return None,
        };
        Some(scene.finding(found.0, projection, Found::Tokens(found.1)))
    });
    found.collect()
}

fn exactly(
    scene: &Scene<'_>,
    projection: usize,
    rows: &[Vec<u32>],
    m_pub: &[Vec<u32>],
) -> Option<Vec<(usize, Option<u32>)>> {
    let k = scene.copy.features(projection);
    let first = m_pub.iter().map(|row| row[..k].to_vec()).collect();
    let echelon = Echelon::of(first, P1);
    let fingerprint = |x: &[u32]| echelon.remainder(x, FUNCTIONS);
    let candidates: Vec<Vec<u32>> = match projection {
        0 => (0..k)
            .into_par_iter()
            .map(|token| fingerprint(&one_hot(token, k)))
            .collect(),
        _ => {
            let exact = scene.copy.quantised(projection, &scene.copy.first_rows())?;
            let residues = |row: &Vec<i32>| -> Vec<u32> {
                row.iter().map(|x| from_i64(i64::from(*x), P1)).collect()
            };
            exact
                .par_iter()
                .map(|row| fingerprint(&residues(row)))
                .collect()
        }
    };
    let tokens: HashMap<Vec<u32>, u32> = candidates.into_iter().zip(0..).collect();
    let victims = scene.victims();
    let guess = |row: &usize| (*row, tokens.get(&fingerprint(&rows[*row][..k])).copied());
    Some(victims.par_iter().map(guess).collect())
}

fn one_hot(token: usize, k: usize) -> Vec<u32> {
    let mut row = vec![0; k];
    row[token] = 1;
    row
}

fn in_floats(
    scene: &Scene<'_>,
    rows: &[Vec<f32>],
    m_pub: &DMatrix<f64>,
) -> Vec<(usize, Option<u32>)> {
    let k = m_pub.ncols();
    // Q (k,m) spans what masks span.
    let q = m_pub.transpose().qr().q();
    let outside = |x: DMatrix<f64>| &x - &q * q.tr_mul(&x);
    let victims = scene.victims();
    let seen = victims
        .iter()
        .flat_map(|row| rows[*row].iter().map(|x| f64::from(*x)));
    let seen = outside(DMatrix::from_iterator(k, victims.len(), seen));
    let vocabulary = outside(scene.copy.first_rows().cast());
    let tokens = nearest(&seen, &vocabulary);
    victims.into_iter().zip(tokens).collect()
}

/// The column of `vocabulary` (k,V) nearest to each of `seen` (k,n), by L2: where few dimensions are left, direction
/// says little and length much.
fn nearest(seen: &DMatrix<f64>, vocabulary: &DMatrix<f64>) -> Vec<Option<u32>> {
    // |x - v|^2 = |x|^2 - 2 (<x, v> - |v|^2 / 2)
    let halves: Vec<f64> = vocabulary
        .column_iter()
        .map(|v| v.norm_squared() / 2.0)
        .collect();
    let products = vocabulary.transpose() * seen;
    let guess = |products: nalgebra::DVectorView<'_, f64>| {
        let scores = products
            .iter()
            .zip(&halves)
            .map(|(product, half)| product - half);
        argmax(scores).map(|(token, _)| token as u32)
    };
    products.column_iter().map(guess).collect()
}
