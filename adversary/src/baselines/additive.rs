//! Normal noise added in float32 and taken off the product again, with the digits that this costs: `(x + M) W - M W`
//! in float32 is off by about lambda times float32's own error.

use nalgebra::DMatrix;

use super::{float_rows, floats};
use crate::dice::Dice;
use crate::own_copy::OwnCopy;
use crate::view::View;

/// Rows that the error is measured on.
const ERROR_ROWS: usize = 64;

/// The view of a host under additive masks of width `lambda`.
pub fn apply(plain: &View, copy: &OwnCopy, lambda: f64, seed: u64) -> View {
    let mut dice = Dice::new(seed, "additive");
    let mut mask = |row: Vec<f32>| -> Vec<f32> {
        row.into_iter()
            .map(|x| x + (lambda * dice.normal()) as f32)
            .collect()
    };
    let rows = float_rows(plain, copy)
        .into_iter()
        .map(|(projection, rows)| {
            (
                projection,
                floats(rows.into_iter().map(&mut mask).collect()),
            )
        });
    plain.with_rows(scheme(lambda), rows.collect())
}

/// Its name.
pub fn scheme(lambda: f64) -> String {
    format!("additive, lambda {lambda}")
}

/// Largest error of a product of qkv of layer 0 after unmasking in float32, relative to the root mean square of
/// products; none without plaintext rows.
pub fn float32_error(plain: &View, copy: &OwnCopy, lambda: f64, seed: u64) -> Option<f64> {
    let mut dice = Dice::new(seed, "additive error");
    let rows = float_rows(plain, copy).remove(&copy.qkv(0))?;
    let count = rows.len().min(ERROR_ROWS);
    let k = copy.features(copy.qkv(0));
    let x = DMatrix::from_fn(k, count, |j, i| rows[i][j]);
    let mask = DMatrix::from_fn(k, count, |_, _| (lambda * dice.normal()) as f32);
    let weights = copy.weights(copy.qkv(0));
    let unmasked = weights * (&x + &mask) - weights * &mask;
    let exact = weights.clone().cast::<f64>() * x.cast::<f64>();
    let root_mean_square = (exact.norm_squared() / exact.len() as f64).sqrt();
    Some((unmasked.cast::<f64>() - &exact).amax() / root_mean_square)
}
