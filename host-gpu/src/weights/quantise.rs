//! One column of weights to integers, and these to int8 planes.
//!
//! `W = round(w / unit)`, so `|w - W * unit|` is at most half a unit. int16: the unit is the smallest power of two
//! for which `|W|` fits, and a bf16 weight within 2^8 of its column's largest is exact. int8: the unit is a float
//! that takes the largest weight to 127, as a power of two would leave up to half of the 8 bits' range unused.

use talaria_arithmetic::exactness::{MIN_ROW_BITS, row_bits};
use talaria_arithmetic::fixed_point::{
    INT8_MAX, INT16_MAX, exponent_for, power_of_two, round_even, split_planes,
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

/// Largest f of the units 2^-f: they stay normal floats.
const MAX_UNIT_EXPONENT: i32 = 126;

/// What 1 stands for in a column whose largest magnitude is `largest`, finite: a positive normal float, 1 for a
/// column of zeros.
pub fn unit(largest: f32, format: WeightFormat) -> f32 {
    if largest == 0.0 {
        return 1.0;
    }
    let limit = limit(format);
    match format {
        WeightFormat::Int16 => {
            // At least -113, as no float reaches 2^128.
            let exponent = exponent_for(largest, limit).unwrap_or(0);
            power_of_two(-exponent.min(MAX_UNIT_EXPONENT)) as f32
        }
        WeightFormat::Int8 => {
            // Rounded to f32 it moves by 2^-24 of itself, which takes no quotient to 127.5.
            let unit = f64::from(largest) / f64::from(limit);
            (unit as f32).max(f32::MIN_POSITIVE)
        }
    }
}

/// Quantises one output into its planes (`planes[1]` is empty for int8) and returns the larger plane's
/// sum of magnitudes. All slices given are of one length, at most 2^24.
pub fn split(values: &[f32], unit: f32, planes: [&mut [i8]; 2]) -> u64 {
    let unit = f64::from(unit);
    let integer = |w: f32| round_even(f64::from(w) / unit) as i32;
    let [hi, lo] = planes;
    if lo.is_empty() {
        for (w, out) in values.iter().zip(&mut *hi) {
            *out = integer(*w) as i8;
        }
        return l1(hi);
    }
    for ((w, hi), lo) in values.iter().zip(&mut *hi).zip(&mut *lo) {
        (*hi, *lo) = split_planes(integer(*w));
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
