//! How many bits a row may have so that its product with a matrix is exact.
//!
//! Y = X W is exact modulo q if `(2^(b_x-1) - 1) * l1 < q/2` with `l1 = max_c sum_j |W_jc|`. So that
//! every masking gives the same bits, b_x comes from the tightest scheme's inequality, module-LWE over
//! one int8 plane, whatever scheme runs:
//!
//! ```text
//! Delta = power of two >= 64 * l1 + 1        (the noise term 32 * l1 rounds away)
//! Delta * 2^(b_x-1) * l1 + 32 * l1 < q/2     (the scaled product and the noise stay below q/2)
//! ```
//!
//! The one-hot embedding has X in {0, 1}: its signal is bounded by one weight, not by l1.

use crate::Q;

/// Widest row ever used, in bits with sign: activations carry 24 bits, and logits do not gain from more.
pub const MAX_ROW_BITS: u32 = 22;
/// Narrowest row allowed: below, results would leave the tolerance that the tests hold.
pub const MIN_ROW_BITS: u32 = 14;
/// Bound on the noise of module-LWE masks, per feature.
pub const NOISE_BOUND: u64 = 32;

/// Bits b_x of a row, sign included, for a matrix whose planes have at most `plane_l1` as the largest
/// sum of magnitudes in a column; `None` if it would be below [`MIN_ROW_BITS`].
pub fn row_bits(plane_l1: u64) -> Option<u32> {
    (MIN_ROW_BITS..=MAX_ROW_BITS)
        .rev()
        .find(|bits| fits(*bits, plane_l1))
}

/// d of the scale `Delta = 2^d` of module-LWE masks: the smallest with `Delta >= 2 * NOISE_BOUND * plane_l1 + 1`,
/// so that rounding to a multiple of Delta takes away the noise term, at most `NOISE_BOUND * plane_l1`.
pub fn delta_bits(plane_l1: u64) -> u32 {
    delta(plane_l1).trailing_zeros()
}

/// Whether one-hot rows (the embedding) are exact under module-LWE masks: their signal is at most one weight
/// of a plane, `Delta * 128 + NOISE_BOUND * plane_l1 < q/2`, with `plane_l1` over the whole vocabulary.
pub fn one_hot_fits(plane_l1: u64) -> bool {
    below_half(delta(plane_l1).saturating_mul(128), plane_l1)
}

fn fits(bits: u32, plane_l1: u64) -> bool {
    let signal = delta(plane_l1).saturating_mul(u128::from(plane_l1));
    below_half(signal.saturating_mul(1 << (bits - 1)), plane_l1)
}

fn delta(plane_l1: u64) -> u128 {
    (2 * u128::from(NOISE_BOUND) * u128::from(plane_l1) + 1).next_power_of_two()
}

/// `signal + NOISE_BOUND * l1 < q/2`.
fn below_half(signal: u128, plane_l1: u64) -> bool {
    signal.saturating_add(u128::from(NOISE_BOUND) * u128::from(plane_l1)) < u128::from(Q / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_case_rows_of_the_design() {
        // Every weight of a column at the int8 limit.
        assert_eq!(row_bits(127 * 1024), Some(21));
        assert_eq!(row_bits(127 * 4096), Some(17));
        assert_eq!(row_bits(127 * 12288), Some(14));
        assert_eq!(row_bits(127 * 16384), None);
    }

    #[test]
    fn delta_swallows_the_noise_and_no_more() {
        for l1 in [0, 1, 5, 127, 127 * 4096, 127 * 151_936] {
            let (delta, noise) = (1u64 << delta_bits(l1), NOISE_BOUND * l1);
            assert!(noise < delta.div_ceil(2) && (l1 == 0 || delta <= 4 * noise));
        }
        assert!(one_hot_fits(128 * 300_000));
        // Delta of 2^53 fits 128 times below q/2, 2^54 does not.
        assert!(one_hot_fits((1 << 47) - 1) && !one_hot_fits(1 << 47));
        assert!(!one_hot_fits(u64::MAX));
    }

    /// Another cap would change every logits digest that a client has pinned.
    #[test]
    fn a_row_has_at_most_22_bits_and_at_least_14() {
        assert_eq!(row_bits(0), Some(22));
        assert_eq!(row_bits(1), Some(22));
        let narrowest = (0..1 << 24).rev().find_map(row_bits);
        assert_eq!(narrowest, Some(14));
    }

    #[test]
    fn the_widest_row_is_capped_and_the_plain_bound_follows() {
        assert_eq!(row_bits(0), Some(MAX_ROW_BITS));
        assert_eq!(row_bits(u64::MAX), None);
        for l1 in (0..1 << 24).step_by(4099) {
            if let Some(bits) = row_bits(l1) {
                // int16: W = 256 hi + lo, so its l1 is at most 257 times a plane's.
                assert!(((1u128 << (bits - 1)) - 1) * 257 * u128::from(l1) < u128::from(Q / 2));
            }
        }
    }
}
