//! Additive shares over two hosts: one sees X + M, the other a seed of M; each alone is independent of X.
//!
//! M (rows,k) is uniform modulo each prime, expanded from a 32-byte key drawn for this send alone.
//! `(X + M) W - M W = X W`.

use super::Shipment;
use crate::{
    check::Tampered,
    fixed_point::FixedRows,
    world::{World, fresh_seed},
};
use talaria_arithmetic::{P1, P2, PRIMES, keystream, lanes};

pub(super) fn mask(x: &FixedRows, world: &mut dyn World) -> Vec<Shipment> {
    let seed = fresh_seed(world);
    let mut masked = keystream::expand_rows(&seed, x.rows(), x.k());
    for (x, masked) in x.iter().zip(masked.chunks_exact_mut(2 * x.k())) {
        let (first, second) = masked.split_at_mut(x.len());
        lanes::add_small(first, x, P1);
        lanes::add_small(second, x, P2);
    }
    vec![Shipment::Residues(masked), Shipment::Seed(seed)]
}

/// Y1 - Y2. Residues out of range stay out of range or become wrong: the check that follows fails.
pub(super) fn combine(answers: Vec<Vec<u32>>, n: usize) -> Result<Vec<u32>, Tampered> {
    let [mut y1, y2] = <[_; 2]>::try_from(answers).map_err(|_| Tampered)?;
    if y1.len() != y2.len() {
        return Err(Tampered);
    }
    let halves = y1.chunks_exact_mut(n).zip(y2.chunks_exact(n));
    for (i, (y1, y2)) in halves.enumerate() {
        // A residue at or above its prime is turned into u32::MAX, which no check passes.
        lanes::subtract(y1, y2, PRIMES[i % 2]);
    }
    Ok(y1)
}
