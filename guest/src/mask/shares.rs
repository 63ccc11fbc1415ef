//! Additive shares over two hosts: one sees X + M, the other a seed of M; each alone is independent of X.
//!
//! M (rows,k) is uniform modulo each prime, expanded from a 32-byte key drawn for this send alone.
//! `(X + M) W - M W = X W`.

use super::{Shipment, combine_halves};
use crate::{
    check::Tampered,
    fixed_point::FixedRows,
    world::{World, fresh_seed},
};
use talaria_arithmetic::{P1, P2, keystream, residue};

pub(super) fn mask(x: &FixedRows, world: &mut dyn World) -> Vec<Shipment> {
    let seed = fresh_seed(world);
    let mut masked = keystream::expand_rows(&seed, x.rows(), x.k());
    for (x, masked) in x.iter().zip(masked.chunks_exact_mut(2 * x.k())) {
        let (first, second) = masked.split_at_mut(x.len());
        for (half, p) in [(first, P1), (second, P2)] {
            for (m, x) in half.iter_mut().zip(x) {
                *m = residue::add(*m, residue::from_small(*x, p), p);
            }
        }
    }
    vec![Shipment::Residues(masked), Shipment::Seed(seed)]
}

/// Y1 - Y2. Residues out of range stay out of range or become wrong: the check that follows fails.
pub(super) fn combine(answers: Vec<Vec<u32>>, n: usize) -> Result<Vec<u32>, Tampered> {
    let [mut y1, y2] = <[_; 2]>::try_from(answers).map_err(|_| Tampered)?;
    if y1.len() != y2.len() {
        return Err(Tampered);
    }
    combine_halves(&mut y1, &y2, n, |a, b, p| {
        // A residue at or above its prime is turned into u32::MAX, which no check passes.
        let out_of_range = u32::from(a >= p) | u32::from(b >= p);
        let difference = a.wrapping_sub(b);
        let borrow = p & (((difference as i32) >> 31) as u32);
        difference.wrapping_add(borrow) | out_of_range.wrapping_neg()
    });
    Ok(y1)
}
