//! A secret order of columns, one for each projection, kept for all requests: STIP (arXiv 2312.00025), where weights
//! are permuted to match. Values and norms stay as they are.

use super::{float_rows, floats};
use crate::dice::Dice;
use crate::own_copy::OwnCopy;
use crate::view::View;

/// The view of a host under permuted columns.
pub fn apply(plain: &View, copy: &OwnCopy, seed: u64) -> View {
    let mut dice = Dice::new(seed, "permutation");
    let rows = float_rows(plain, copy)
        .into_iter()
        .map(|(projection, rows)| {
            let order = dice.permutation(copy.features(projection));
            let permuted = |row: Vec<f32>| order.iter().map(|i| row[*i]).collect();
            (projection, floats(rows.into_iter().map(permuted).collect()))
        });
    plain.with_rows("permuted columns".into(), rows.collect())
}
