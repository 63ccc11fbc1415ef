//! Other schemes, applied to rows that the real system sent in plaintext: what they would have shown of the same
//! prompts. Each is a simulation of its idea, not of a product.
//!
//! | baseline | host sees of rows x (rows,k) | after |
//! |---|---|---|
//! | [`permutation`] | x with its columns in a secret order, one order a projection | STIP, arXiv 2312.00025 |
//! | [`gelo`] | A (x, shields), A secret and orthogonal, fresh for each pass | GELO, arXiv 2603.05035 |
//! | [`additive`] | x + lambda g in float32, g normal | additive masks in floats |
//! | [`remo`] | x + s M, rank m < k, in float32 or exactly modulo q | ReMO, arXiv 2603.00196 |
//! | [`static_basis`] | x + a N, N (K,k) secret and the same for all rows | the systems of arXiv 2602.11088 |
//! | [`fingerprints`] | rows among known ones from a fixed set, which check the products | Soter, TSQP |
//!
//! The last checks products and stands by itself. The others see the rows that enter qkv of each layer: RMSNorm makes their root mean square 1, so the power of two that
//! the payload scaled them by can be taken off again.

pub mod additive;
pub mod fingerprints;
pub mod gelo;
pub mod permutation;
pub mod remo;
pub mod static_basis;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::own_copy::OwnCopy;
use crate::view::{Rows, View};

/// Widths of additive masks, in root mean squares of a row.
pub const LAMBDAS: [f64; 6] = [0.1, 1.0, 10.0, 100.0, 1e4, 1e6];
/// Ranks of ReMO as fractions of k.
pub const RANKS: [f64; 8] = [0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.998, 1.0];
/// Public rows of a ReMO that small lattices break at every layer.
pub const FEW_ROWS: usize = 4;
/// Rows K of a static basis.
pub const BASES: [usize; 3] = [8, 32, 128];

/// Static bases, modulo q and in floats, of a plaintext view.
pub fn static_bases(plain: &View, copy: &OwnCopy, seed: u64) -> Vec<View> {
    // A basis of as many rows as a row has features is a fresh mask.
    let sizes = BASES
        .into_iter()
        .filter(|size| *size < copy.features(copy.qkv(0)));
    let of_size = |size: usize| {
        [
            static_basis::exactly(plain, copy, size, seed),
            static_basis::in_floats(plain, copy, size, seed),
        ]
    };
    sizes.flat_map(of_size).collect()
}

/// One of each kind: for checkpoints on which all would take hours.
pub fn few(plain: &View, copy: &OwnCopy, seed: u64) -> Vec<View> {
    vec![
        permutation::apply(plain, copy, seed),
        gelo::apply(plain, copy, gelo::SHIELDS, seed),
        additive::apply(plain, copy, LAMBDAS[0], seed),
        additive::apply(plain, copy, LAMBDAS[3], seed),
        remo::in_floats(plain, copy, 0.5, seed),
        remo::exactly(plain, copy, 0.5, seed),
        remo::low_rank(plain, copy, FEW_ROWS, seed),
        static_basis::exactly(plain, copy, BASES[1], seed),
        static_basis::in_floats(plain, copy, BASES[1], seed),
    ]
}

/// Every baseline of a plaintext view.
pub fn all(plain: &View, copy: &OwnCopy, seed: u64) -> Vec<View> {
    let mut views = vec![
        permutation::apply(plain, copy, seed),
        gelo::apply(plain, copy, gelo::SHIELDS, seed),
    ];
    views.extend(LAMBDAS.map(|lambda| additive::apply(plain, copy, lambda, seed)));
    views.extend(RANKS.map(|rank| remo::in_floats(plain, copy, rank, seed)));
    views.extend(RANKS.map(|rank| remo::exactly(plain, copy, rank, seed)));
    views.push(remo::low_rank(plain, copy, FEW_ROWS, seed));
    views.extend(static_bases(plain, copy, seed));
    views
}

/// Rows entering qkv of each layer as the payload had them, by projection: (rows,k) with root mean square 1.
fn float_rows(plain: &View, copy: &OwnCopy) -> BTreeMap<usize, Vec<Vec<f32>>> {
    let of = |projection: usize| {
        let rows = plain.of(projection)?;
        let floats = (0..rows.len()).map(|i| unscaled(&rows.reals(i))).collect();
        Some((projection, floats))
    };
    (0..copy.layers())
        .filter_map(|layer| of(copy.qkv(layer)))
        .collect()
}

/// A row without the power of two that makes its root mean square about 1.
fn unscaled(row: &[f64]) -> Vec<f32> {
    let square: f64 = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
    let exponent = match square > 0.0 {
        true => (square.log2() / 2.0).round(),
        false => 0.0,
    };
    row.iter()
        .map(|x| (x * (-exponent).exp2()) as f32)
        .collect()
}

fn floats(rows: Vec<Vec<f32>>) -> Rows {
    Rows::Floats(Arc::new(rows))
}
