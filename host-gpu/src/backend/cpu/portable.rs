//! 64-bit multiplications for processors without a faster path.

use super::layout::{Block, DEPTH};
use super::limbs::Quad;
use super::path::Sums;

/// See [`super::path::Path::accumulate`].
pub(super) fn accumulate(strips: &[&[Block]], units: &[&[Quad]], sums: &mut [Sums]) {
    let pairs = strips
        .iter()
        .flat_map(|strip| units.iter().map(move |unit| (strip, unit)));
    for (sums, (strip, unit)) in sums.iter_mut().zip(pairs) {
        for (block, quad) in strip.iter().zip(*unit) {
            add_block(block, quad, sums);
        }
    }
}

fn add_block(block: &Block, quad: &Quad, sums: &mut Sums) {
    let (lanes, _) = block.0.as_chunks::<DEPTH>();
    for (sum, weights) in sums.iter_mut().zip(lanes) {
        let products = weights.iter().zip(quad);
        *sum += products
            .map(|(w, x)| i64::from(*w) * i64::from(*x))
            .sum::<i64>();
    }
}
