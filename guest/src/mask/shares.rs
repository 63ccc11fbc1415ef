//! Additive shares over two hosts: one sees X + M, the other a seed of M; each alone is independent of X.
//!
//! M (rows,k) is uniform modulo each prime, expanded from a 32-byte key drawn for this send alone.
//! `(X + M) W - M W = X W`.

use super::{
    NoMasks, Shipment,
    scheme::{Hidden, MaskingScheme},
};
use crate::{
    check::Tampered,
    fixed_point::FixedRows,
    projection::Projection,
    world::{World, fresh_seed},
};
use talaria_arithmetic::{PRIMES, keystream, lanes};
use zeroize::Zeroizing;

/// Has no parameters.
pub(super) struct Shares;

impl MaskingScheme for Shares {
    fn name(&self) -> String {
        "shares".into()
    }

    fn leaks(&self) -> String {
        String::new()
    }

    fn hosts(&self) -> usize {
        2
    }

    fn hide(
        &self,
        _projection: &Projection,
        x: &FixedRows,
        world: &mut dyn World,
    ) -> Result<Hidden, NoMasks> {
        let seed = fresh_seed(world);
        let masked = x.added_to(keystream::expand_rows(&seed, x.rows(), x.k()), None);
        let shipments = vec![Shipment::Residues(masked), Shipment::Seed(seed)];
        Ok((shipments, Zeroizing::default()))
    }

    /// Y1 - Y2. Residues out of range stay out of range or become wrong: the check that follows fails.
    fn combine(&self, answers: Vec<Vec<u32>>, outputs: usize) -> Result<Vec<u32>, Tampered> {
        let [mut y1, y2] = <[_; 2]>::try_from(answers).map_err(|_| Tampered)?;
        if y1.len() != y2.len() {
            return Err(Tampered);
        }
        let halves = y1.chunks_exact_mut(outputs).zip(y2.chunks_exact(outputs));
        for (i, (y1, y2)) in halves.enumerate() {
            // A residue at or above its prime is turned into u32::MAX, which no check passes.
            lanes::subtract(y1, y2, PRIMES[i % 2]);
        }
        Ok(y1)
    }
}
