//! One column of weights to power-of-two fixed point, and its integers to int8 planes.
//!
//! `W = round(w * 2^f)` with the largest f such that `|W|` fits the format, so
//! `|w - W * 2^-f| <= 2^-(f+1)`. A bf16 weight within 2^8 of its column's largest is exact as int16.

use talaria_arithmetic::exactness::{MIN_ROW_BITS, row_bits};
use talaria_arithmetic::fixed_point::{
    INT8_MAX, INT16_MAX, exponent_for, power_of_two, quantise, split_planes,
};
use talaria_wire::manifest::WeightFormat;

/// Largest integer magnitude of a format.
pub const fn limit(format: WeightFormat) -> i32 {
    match format {
        WeightFormat::Int16 => INT16_MAX,
        WeightFormat::Int8 => INT8_MAX,
    }
}

/// Largest magnitude of finite values.
///
/// # Errors
/// The index of the first value that is not finite.
pub fn largest_magnitude(values: &[f32]) -> Result<f32, usize> {
    // Magnitudes order like their bits, and everything not finite is above all that is.
    const MAGNITUDE: u32 = 0x7fff_ffff;
    let bits = values.iter().map(|v| v.to_bits() & MAGNITUDE);
    let largest = f32::from_bits(bits.fold(0, u32::max));
    if largest.is_finite() {
        return Ok(largest);
    }
    Err(values.iter().position(|v| !v.is_finite()).unwrap_or(0))
}

/// Exponent of a column whose largest magnitude is `largest`, finite.
pub fn exponent(largest: f32, format: WeightFormat) -> i16 {
    // In -200..=200 by its definition; columns of zeros have 0.
    exponent_for(largest, limit(format)).unwrap_or(0) as i16
}

/// Quantises one output into its planes (`planes[1]` is empty for int8) and returns the larger plane's
/// sum of magnitudes. All slices given are of one length, at most 2^24.
pub fn split(values: &[f32], exponent: i16, planes: [&mut [i8]; 2]) -> u64 {
    let scale = power_of_two(i32::from(exponent));
    let [hi, lo] = planes;
    if lo.is_empty() {
        for (w, out) in values.iter().zip(&mut *hi) {
            *out = quantise(*w, scale) as i8;
        }
        return l1(hi);
    }
    for ((w, hi), lo) in values.iter().zip(&mut *hi).zip(&mut *lo) {
        (*hi, *lo) = split_planes(quantise(*w, scale));
    }
    l1(hi).max(l1(lo))
}

/// Sum of magnitudes.
pub fn l1(plane: &[i8]) -> u64 {
    let sum = |part: &[i8]| {
        part.iter()
            .map(|w| u32::from(w.unsigned_abs()))
            .sum::<u32>()
    };
    // u32 holds 2^24 elements of at most 2^7.
    plane.chunks(1 << 24).map(|part| u64::from(sum(part))).sum()
}

/// Whether products with a column of this sum of magnitudes can be exact.
pub fn is_exact(plane_l1: u64) -> bool {
    row_bits(plane_l1).is_some()
}

/// Largest sum of magnitudes that [`is_exact`], for messages; and the bits of a row it leaves.
pub fn widest() -> (u64, u32) {
    let (mut good, mut bad) = (0u64, 1u64 << 40);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if is_exact(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    (good, MIN_ROW_BITS)
}
