//! Masks from a secret basis that is drawn once: `x + a N`, N (K,k) fixed for a projection with its products N W
//! precomputed, a (K,) fresh for each row. So mask the partly shielded systems that arXiv 2602.11088 attacks; here modulo
//! q, where every element of a row is uniform, and in float32.

use std::collections::BTreeMap;
use std::sync::Arc;

use nalgebra::DMatrix;

use super::{float_rows, floats, remo};
use crate::dice::Dice;
use crate::own_copy::OwnCopy;
use crate::view::{Rows, View};

/// Standard deviation of a coefficient in floats, in root mean squares of a row: at such a width fresh masks hide rows
/// from every attack of the lab.
const WIDTH: f64 = 100.0;

/// The view of a host under masks of K fixed rows modulo q.
pub fn exactly(plain: &View, copy: &OwnCopy, size: usize, seed: u64) -> View {
    let mut dice = Dice::new(seed, "static basis");
    let mut rows = BTreeMap::new();
    for layer in 0..copy.layers() {
        let projection = copy.qkv(layer);
        let Some(plain) = plain.of(projection).and_then(Rows::residues) else {
            continue;
        };
        let k = copy.features(projection);
        let basis: Vec<Vec<u32>> = (0..size).map(|_| dice.row(k)).collect();
        let masked = plain.iter().map(|row| remo::mask(row, &basis, &mut dice));
        rows.insert(projection, Rows::Residues(Arc::new(masked.collect())));
    }
    plain.with_rows(format!("static basis modulo q, K = {size}"), rows)
}

/// The view of a host under masks of K fixed rows in float32.
pub fn in_floats(plain: &View, copy: &OwnCopy, size: usize, seed: u64) -> View {
    let mut dice = Dice::new(seed, "static basis in floats");
    let mut rows = BTreeMap::new();
    for (projection, plain) in float_rows(plain, copy) {
        let k = copy.features(projection);
        let basis = DMatrix::from_fn(size, k, |_, _| dice.normal());
        let a = DMatrix::from_fn(plain.len(), size, |_, _| WIDTH * dice.normal());
        let masks = a * basis;
        let masked = plain.iter().zip(masks.row_iter()).map(|(x, mask)| {
            let elements = x.iter().zip(mask.iter());
            elements.map(|(x, m)| x + *m as f32).collect()
        });
        rows.insert(projection, floats(masked.collect()));
    }
    plain.with_rows(format!("static basis in floats, K = {size}"), rows)
}
