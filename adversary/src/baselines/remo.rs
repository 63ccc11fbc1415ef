//! ReMO of any rank, in float32 as a GPU would compute it and exactly modulo q as the payload does: `x + s M`, M (m,k)
//! public, s (m,) fresh for each row.

use std::collections::BTreeMap;
use std::sync::Arc;

use nalgebra::DMatrix;
use talaria_arithmetic::PRIMES;
use talaria_arithmetic::residue::{self, Factor};

use super::{float_rows, floats};
use crate::dice::Dice;
use crate::own_copy::OwnCopy;
use crate::view::{PublicRows, Rows, View};

/// m of a rank as a fraction of k: at least 1, and below k unless the rank is 1.
pub fn rows_of(rank: f64, k: usize) -> usize {
    let most = if rank < 1.0 { k - 1 } else { k };
    ((rank * k as f64).round() as usize).clamp(1, most)
}

/// The view of a host in float32; s and M standard normal.
pub fn in_floats(plain: &View, copy: &OwnCopy, rank: f64, seed: u64) -> View {
    let mut dice = Dice::new(seed, "remo in floats");
    let (mut rows, mut public) = (BTreeMap::new(), BTreeMap::new());
    for (projection, plain) in float_rows(plain, copy) {
        let k = copy.features(projection);
        let m_pub = DMatrix::from_fn(rows_of(rank, k), k, |_, _| dice.normal());
        let s = DMatrix::from_fn(plain.len(), m_pub.nrows(), |_, _| dice.normal());
        let masks = s * &m_pub;
        let masked = plain.iter().zip(masks.row_iter()).map(|(x, mask)| {
            x.iter()
                .zip(mask.iter())
                .map(|(x, m)| x + *m as f32)
                .collect()
        });
        rows.insert(projection, floats(masked.collect()));
        public.insert(projection, PublicRows::Floats(Arc::new(m_pub)));
    }
    View {
        public,
        ..plain.with_rows(format!("remo in floats, rank {rank}"), rows)
    }
}

/// The view of a host under exact ReMO.
pub fn exactly(plain: &View, copy: &OwnCopy, rank: f64, seed: u64) -> View {
    let scheme = format!("remo modulo q, rank {rank}");
    of_rows(plain, copy, scheme, &|k| rows_of(rank, k), seed)
}

/// The view of a host under exact ReMO with few public rows.
pub fn low_rank(plain: &View, copy: &OwnCopy, m: usize, seed: u64) -> View {
    of_rows(plain, copy, format!("remo modulo q, m = {m}"), &|_| m, seed)
}

fn of_rows(
    plain: &View,
    copy: &OwnCopy,
    scheme: String,
    m: &dyn Fn(usize) -> usize,
    seed: u64,
) -> View {
    let mut dice = Dice::new(seed, "remo exactly");
    let (mut rows, mut public) = (BTreeMap::new(), BTreeMap::new());
    for layer in 0..copy.layers() {
        let projection = copy.qkv(layer);
        let Some(plain) = plain.of(projection).and_then(Rows::residues) else {
            continue;
        };
        let k = copy.features(projection);
        let m_pub: Vec<Vec<u32>> = (0..m(k)).map(|_| dice.row(k)).collect();
        let masked = plain
            .iter()
            .map(|row| mask(row, &m_pub, &mut dice))
            .collect();
        rows.insert(projection, Rows::Residues(Arc::new(masked)));
        public.insert(projection, PublicRows::of_masks(m_pub));
    }
    View {
        public,
        ..plain.with_rows(scheme, rows)
    }
}

/// `x + s M` for a fresh s.
pub(super) fn mask(x: &[u32], m_pub: &[Vec<u32>], dice: &mut Dice) -> Vec<u32> {
    let mut masked = x.to_vec();
    let k = x.len() / 2;
    for row in m_pub {
        let halves = masked.chunks_exact_mut(k).zip(row.chunks_exact(k));
        for ((masked, row), p) in halves.zip(PRIMES) {
            let s = Factor::new(u64::from(dice.residue(p)), p);
            for (x, m) in masked.iter_mut().zip(row) {
                *x = residue::add(*x, s.times(*m), p);
            }
        }
    }
    masked
}
