//! Floats to integers by powers of two, and back by scales of rows and columns.

use super::padded;
use super::vector::{
    Floats, add_floats, and, bits, float_bits, floats, larger_signed, load_pair, lower_words,
    mul_floats, promote, round, signed_to_floats_high, signed_to_floats_low, splat, splat_float,
    store, to_floats_high, to_floats_low, upper_words,
};
use crate::fixed_point::MAGIC;

/// The largest magnitude of a row, 0 if it is empty; infinite or not a number if an element is.
///
/// Magnitudes are compared by their bits, whose order is that of the numbers; those that are not finite
/// are above all others.
pub fn largest(x: &[f32]) -> f32 {
    let magnitude = splat(!(1 << 31));
    let (fours, rest) = x.as_chunks();
    let mut largest = and(bits(&padded(rest)), magnitude);
    for four in fours {
        largest = larger_signed(largest, and(bits(four), magnitude));
    }
    f32::from_bits(store(largest).into_iter().fold(0, u32::max))
}

/// `out = round(x * scale)`, ties to even, for results within 32 bits:
/// [`fixed_point::quantise`](crate::fixed_point::quantise).
///
/// # Panics
/// If the lengths differ.
pub fn quantise(x: &[f32], scale: f64, out: &mut [i32]) {
    assert!(
        x.len() == out.len(),
        "{} and {} elements",
        x.len(),
        out.len()
    );
    let of_four = |x: &[f32; 4]| {
        // The sum's lowest bits are the integer's, two's complement: those of MAGIC itself are zero.
        let [low, high] = promote(x).map(|x| {
            float_bits(add_floats(
                mul_floats(x, splat_float(scale)),
                splat_float(MAGIC),
            ))
        });
        store(lower_words(low, high)).map(|word| word as i32)
    };
    let ((x, rest), (out, rest_out)) = (x.as_chunks(), out.as_chunks_mut());
    for (x, out) in x.iter().zip(out) {
        *out = of_four(x);
    }
    rest_out.copy_from_slice(&of_four(&padded(rest))[..rest.len()]);
}

/// `out = f32(f64(y) * (column_scale * row_scale))`, rounded after each of these four steps (row scales are
/// powers of two, so that the product of the two scales is exact).
///
/// # Panics
/// If the lengths differ.
pub fn dequantise(y: &[i64], column_scales: &[f64], row_scale: f64, out: &mut [f32]) {
    assert!(
        y.len() == column_scales.len() && y.len() == out.len(),
        "{} integers, {} scales, {} floats",
        y.len(),
        column_scales.len(),
        out.len()
    );
    let of_four = |y: &[i64; 4], scales: &[f64; 4]| {
        let [a, b, c, d] = *scales;
        let row_scale = splat_float(row_scale);
        let scales = [floats(a, b), floats(c, d)].map(|scale| mul_floats(scale, row_scale));
        let [low, high] = to_floats(y);
        round(mul_floats(low, scales[0]), mul_floats(high, scales[1]))
    };
    let ((y, rest), (scales, rest_scales)) = (y.as_chunks(), column_scales.as_chunks());
    let (out, rest_out) = out.as_chunks_mut();
    for ((y, scales), out) in y.iter().zip(scales).zip(out) {
        *out = of_four(y, scales);
    }
    let last = of_four(&padded(rest), &padded(rest_scales));
    rest_out.copy_from_slice(&last[..rest.len()]);
}

/// Rounded once: both halves and the product with 2^32 are exact, their sum is not.
#[inline(always)]
fn to_floats(y: &[i64; 4]) -> [Floats; 2] {
    let (low, high) = (load_pair(&[y[0], y[1]]), load_pair(&[y[2], y[3]]));
    let (lower, upper) = (lower_words(low, high), upper_words(low, high));
    let weight = splat_float((1u64 << 32) as f64);
    [
        add_floats(
            mul_floats(signed_to_floats_low(upper), weight),
            to_floats_low(lower),
        ),
        add_floats(
            mul_floats(signed_to_floats_high(upper), weight),
            to_floats_high(lower),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed_point::{self, exponent_for, power_of_two};
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    fn finite() -> impl Strategy<Value = f32> {
        any::<f32>().prop_filter("finite", |x| x.is_finite())
    }

    /// Of a column: powers of two and any other.
    fn any_scale() -> impl Strategy<Value = f32> {
        let power = (-126i32..128).prop_map(|e| power_of_two(e) as f32);
        let other = any::<f32>().prop_filter("normal", |x| x.is_normal());
        prop_oneof![power, other.prop_map(f32::abs)]
    }

    proptest! {
        #[test]
        fn quantised_one_by_one(x in prop::collection::vec(finite(), 0..40), bits in 14u32..=22) {
            let max = x.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            prop_assert_eq!(largest(&x), max);
            let scale = power_of_two(exponent_for(max, (1 << (bits - 1)) - 1).unwrap());
            let mut out = vec![0; x.len()];
            quantise(&x, scale, &mut out);
            let expected: Vec<i32> = x.iter().map(|x| fixed_point::quantise(*x, scale)).collect();
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn what_is_not_finite_is_the_largest(
            mut x in prop::collection::vec(finite(), 1..20),
            at: prop::sample::Index,
            bad in prop::sample::select(&[f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
        ) {
            let at = at.index(x.len());
            x[at] = bad;
            prop_assert!(!largest(&x).is_finite());
        }

        #[test]
        fn dequantised_one_by_one(y in prop::collection::vec((any::<i64>(), 0u32..62, any_scale()), 0..20), e in -200i32..=200) {
            // Of all magnitudes, and halves of units in the last place among them.
            let integers: Vec<i64> = y.iter().map(|(y, shift, _)| y >> 2 >> (shift % 61)).collect();
            let scales: Vec<f64> = y.iter().map(|(.., scale)| f64::from(*scale)).collect();
            let mut out = vec![0.0; y.len()];
            dequantise(&integers, &scales, power_of_two(e), &mut out);
            let expected = integers.iter().zip(&scales).map(|(y, scale)| (*y as f64 * (scale * power_of_two(e))) as f32);
            prop_assert!(out.iter().map(|x| x.to_bits()).eq(expected.map(f32::to_bits)));
        }
    }

    #[test]
    fn rounds_once() {
        // Ties between neighbours of 53 bits, to the even one, and just off them.
        for base in [1i64 << 53, 1 << 54, 1 << 60, (1 << 61) - (1 << 9)] {
            for offset in -5..=5 {
                for y in [base + offset, -(base + offset)] {
                    assert_eq!(to_floats(&[y; 4]), [[y as f64; 2]; 2]);
                }
            }
        }
    }
}
