//! 64-bit multiplications for processors without a faster path.

use super::layout::{Block, DEPTH, LANES};
use super::limbs::Quad;
use super::path::Sums;

/// See [`super::path::Path::accumulate`].
pub fn accumulate(strips: &[&[Block]], units: &[&[Quad]], sums: &mut [Sums]) {
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
    for lane in 0..LANES {
        for d in 0..DEPTH {
            sums[lane] += i64::from(block.0[lane * DEPTH + d]) * i64::from(quad[d]);
        }
    }
}
