//! From sums of planes to residues.

use super::layout::LANES;
use super::path::Sums;
use talaria_arithmetic::{P1, P2};

/// Largest k: `|sum| <= (p - 1) * 128 * k <= p * 2^31`, so that adding `p * 2^31` makes every sum a
/// positive number below `p * 2^32 < 2^63`.
pub const MAX_K: usize = 1 << 24;

/// `out = sum of 256^(planes - 1 - plane) * sums[plane]` modulo the prime of unit `unit`.
pub fn reduce(unit: usize, planes: &[&Sums], out: &mut [u32; LANES]) {
    // The primes as constants: division becomes multiplication.
    match unit % 2 {
        0 => reduce_modulo::<P1>(planes, out),
        _ => reduce_modulo::<P2>(planes, out),
    }
}

fn reduce_modulo<const P: u32>(planes: &[&Sums], out: &mut [u32; LANES]) {
    *out = [0; LANES];
    for sums in planes {
        for (out, sum) in out.iter_mut().zip(*sums) {
            // 0 < sum + p * 2^31 + 256 * out < p * 2^32 + 2^39 < 2^63.
            let positive = *sum + (i64::from(P) << 31) + 256 * i64::from(*out);
            *out = (positive as u64 % u64::from(P)) as u32;
        }
    }
}
