//! The null space of public rows: what their combinations do not mask.
//!
//! *Source:* docs/protocol.md, (6.10). *Input:* rows at the embedding and at qkv of layer 0, with public rows whose
//! combinations are the masks: M_pub of remo, which the host received at set-up; or A of module-lwe, where a row has more
//! features than A has rows, as if there were no noise. *Method:* linear functions that are 0 on all public rows say
//! of a masked row what they say of the row. Exactly modulo P1: the candidate for which they say the same. In floats:
//! the nearest candidate after projection onto the orthogonal complement. *Metric:* top-1. *Breaks:* remo with m < k;
//! module-lwe without its noise. *Chance:* guesses dealt at random; exactly, no candidate fits at all.

use std::collections::HashMap;

use nalgebra::DMatrix;
use rayon::prelude::*;
use talaria_arithmetic::P1;
use talaria_arithmetic::residue::{Factor, from_i64};

use super::{Attack, Finding, Found, Scene, argmax};
use crate::capture::EMBEDDING;
use crate::dice::Dice;
use crate::math::echelon::{null_vectors, product};
use crate::view::{PublicRows, Rows};

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "null-space",
    breaks: "remo, m < k; module-lwe without noise",
    chance: "guesses dealt at random; exactly, about 0",
    run,
};

/// Functions compared: two of 31 bits tell 2^40 candidates apart.
pub(super) const FUNCTIONS: usize = 2;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let places = [EMBEDDING, scene.copy.qkv(0)];
    let found = places.into_iter().filter_map(|projection| {
        let rows = scene.view.of(projection)?;
        let (name, guesses) = match (scene.view.public.get(&projection)?, rows) {
            (
                PublicRows::Residues {
                    rows: public,
                    scaled,
                },
                Rows::Residues(rows),
            ) => {
                let factor = match scaled {
                    true => scene.copy.delta(projection),
                    false => 1,
                };
                (
                    "null space, exact",
                    exactly(scene, projection, rows, (public, factor))?,
                )
            }
            (PublicRows::Floats(m_pub), Rows::Floats(rows)) => {
                ("null space, floats", in_floats(scene, rows, m_pub))
            }
            _ => return None,
        };
        Some(scene.finding(name, projection, Found::Tokens(guesses)))
    });
    found.collect()
}

/// Linear functions (count,k) modulo P1 that are 0 on all combinations of `public` (m,k); none if there are none, or
/// too many public rows for the effort.
pub(super) fn functions(
    scene: &Scene<'_>,
    public: &[Vec<u32>],
    count: usize,
) -> Option<Vec<Vec<u32>>> {
    if public.len() > scene.effort.public_rows {
        return None;
    }
    let first: Vec<&[u32]> = public.iter().map(|row| &row[..row.len() / 2]).collect();
    let mut dice = Dice::new(scene.seed, ATTACK.name);
    Some(null_vectors(&first, P1, count, &mut dice)).filter(|functions| !functions.is_empty())
}

/// The candidate that agrees with each row in all functions.
fn exactly(
    scene: &Scene<'_>,
    projection: usize,
    rows: &[Vec<u32>],
    (public, factor): (&[Vec<u32>], u64),
) -> Option<Vec<(usize, Option<u32>)>> {
    let functions = functions(scene, public, FUNCTIONS)?;
    named(scene, projection, rows, (&functions, factor))
}

/// The candidate, times `factor`, for which all functions (count,k) modulo P1 say what they say of each row.
pub(super) fn named(
    scene: &Scene<'_>,
    projection: usize,
    rows: &[Vec<u32>],
    (functions, factor): (&[Vec<u32>], u64),
) -> Option<Vec<(usize, Option<u32>)>> {
    let values = |x: &[u32]| -> Vec<u32> { functions.iter().map(|f| product(x, f, P1)).collect() };
    let factor = Factor::new(factor, P1);
    let candidates: Vec<Vec<u32>> = match projection {
        // One-hot.
        EMBEDDING => {
            let tokens = 0..scene.copy.features(EMBEDDING);
            tokens
                .map(|t| functions.iter().map(|f| factor.times(f[t])).collect())
                .collect()
        }
        _ => {
            let exact = scene.copy.quantised(projection, &scene.copy.first_rows())?;
            let scaled = |row: &Vec<i32>| -> Vec<u32> {
                let residues = row.iter().map(|x| from_i64(i64::from(*x), P1));
                residues.map(|x| factor.times(x)).collect()
            };
            exact.par_iter().map(|row| values(&scaled(row))).collect()
        }
    };
    let tokens: HashMap<Vec<u32>, u32> = candidates.into_iter().zip(0..).collect();
    let victims = scene.victims();
    let guess = |row: &usize| (*row, tokens.get(&values(&rows[*row])).copied());
    Some(victims.par_iter().map(guess).collect())
}

fn in_floats(
    scene: &Scene<'_>,
    rows: &[Vec<f32>],
    m_pub: &DMatrix<f64>,
) -> Vec<(usize, Option<u32>)> {
    // Q (k,m) spans what masks span.
    let q = m_pub.transpose().qr().q();
    nearest_outside(scene, rows, &q)
}

/// The candidate nearest to each victim's row, outside of the span of Q (k,m), whose columns are orthonormal.
pub(super) fn nearest_outside(
    scene: &Scene<'_>,
    rows: &[Vec<f32>],
    q: &DMatrix<f64>,
) -> Vec<(usize, Option<u32>)> {
    let outside = |x: DMatrix<f64>| &x - q * q.tr_mul(&x);
    let victims = scene.victims();
    let seen = victims
        .iter()
        .flat_map(|row| rows[*row].iter().map(|x| f64::from(*x)));
    let seen = outside(DMatrix::from_iterator(q.nrows(), victims.len(), seen));
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
