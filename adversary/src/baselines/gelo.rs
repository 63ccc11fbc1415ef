//! Rows of a pass mixed among themselves and with shield rows of larger energy, by a secret orthogonal matrix that is
//! fresh for each pass and projection: GELO (arXiv 2603.05035). Columns stay as they are, so what the mixed rows span
//! contains what the rows span.

use nalgebra::DMatrix;

use super::{float_rows, floats};
use crate::dice::Dice;
use crate::own_copy::OwnCopy;
use crate::view::View;

/// Shield rows of a pass.
pub const SHIELDS: usize = 8;
/// Root mean square of a shield row's elements, against 1 of a row.
const ENERGY: f64 = 4.0;

/// The view of a host under mixed rows.
pub fn apply(plain: &View, copy: &OwnCopy, shields: usize, seed: u64) -> View {
    let mut dice = Dice::new(seed, "left mixing");
    let rows = float_rows(plain, copy)
        .into_iter()
        .map(|(projection, rows)| {
            let mut mixed = Vec::new();
            for pass in &plain.passes {
                mixed.extend(mix(&rows[pass.rows.clone()], shields, &mut dice));
            }
            (projection, floats(mixed))
        });
    let scheme = format!("mixed rows, {shields} shields");
    View {
        shields,
        ..plain.with_rows(scheme, rows.collect())
    }
}

/// A (n + s, n + s) times the rows (n,k) and s shields.
fn mix(rows: &[Vec<f32>], shields: usize, dice: &mut Dice) -> Vec<Vec<f32>> {
    let (n, k) = (rows.len(), rows.first().map_or(0, Vec::len));
    let stacked = DMatrix::from_fn(n + shields, k, |i, j| match rows.get(i) {
        Some(row) => f64::from(row[j]),
        None => ENERGY * dice.normal(),
    });
    let mixing = DMatrix::from_fn(n + shields, n + shields, |_, _| dice.normal())
        .qr()
        .q();
    let mixed = mixing * stacked;
    mixed
        .row_iter()
        .map(|row| row.iter().map(|x| *x as f32).collect())
        .collect()
}
