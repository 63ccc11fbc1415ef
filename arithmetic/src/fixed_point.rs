//! Power-of-two fixed point for rows and int16 weights, and balanced int8 planes.
//!
//! A row x (f32) becomes `X = round(x * 2^e)` with the largest e such that `|X| <= 2^(b_x-1) - 1`; a
//! column w of int16 weights becomes `W = round(w * 2^f)` with the largest f such that `|W|` fits.
//! Rounding is to nearest, ties to even, and scaling is exact. Columns of int8 weights have other
//! scales (docs/protocol.md, (2.2)).

/// Largest magnitude of an int16 weight: `127 * 256 + 127`, so that both balanced planes fit int8.
pub const INT16_MAX: i32 = 127 * 256 + 127;
/// Largest magnitude of an int8 weight.
pub const INT8_MAX: i32 = 127;

/// Largest exponent used, for rows and columns of zeros or subnormal values.
pub const MAX_EXPONENT: i32 = 200;

/// `2^e` as f64, for `-1022 <= e <= 1023`.
#[inline(always)]
pub const fn power_of_two(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

/// `1.5 * 2^52`: added to a float below 2^51 it leaves the rounded integer in the lowest bits.
pub(crate) const MAGIC: f64 = 6_755_399_441_055_744.0;

/// Round to nearest, ties to even, for `|x| < 2^51`, by the classic addition of 1.5 * 2^52.
#[inline(always)]
pub fn round_even(x: f64) -> i64 {
    ((x + MAGIC).to_bits() as i64) - MAGIC.to_bits() as i64
}

/// The largest exponent e in `-MAX_EXPONENT..=MAX_EXPONENT` with `round(max * 2^e) <= limit`, for the
/// largest magnitude `max` of a row or column and `limit >= 1`; `None` if `max` is not finite.
pub fn exponent_for(max: f32, limit: i32) -> Option<i32> {
    if !max.is_finite() {
        return None;
    }
    let max = f64::from(max.abs());
    if max == 0.0 {
        return Some(0);
    }
    // f64 holds every f32 as a normal number: max = m * 2^log2 with 1 <= m < 2.
    let log2 = ((max.to_bits() >> 52) as i32) - 1023;
    let bits = 31 - limit.leading_zeros() as i32;
    // limit < 2^(bits+1) <= max * 2^(bits+1-log2): the exponent wanted is at most bits - log2.
    let mut e = (bits - log2).clamp(-MAX_EXPONENT, MAX_EXPONENT);
    while round_even(max * power_of_two(e)) > i64::from(limit) {
        e -= 1;
    }
    Some(e)
}

/// `round(x * 2^e)`, exact in its product.
#[inline(always)]
pub fn quantise(x: f32, scale: f64) -> i32 {
    round_even(f64::from(x) * scale) as i32
}

/// Splits `W = 256 * hi + lo` with both in -128..=127.
#[inline(always)]
pub const fn split_planes(w: i32) -> (i8, i8) {
    let lo = w as i8;
    (((w - lo as i32) >> 8) as i8, lo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigInt;
    use proptest::prelude::*;

    #[test]
    fn planes_of_every_int16_weight() {
        for w in -INT16_MAX..=INT16_MAX {
            let (hi, lo) = split_planes(w);
            assert_eq!(256 * i32::from(hi) + i32::from(lo), w);
        }
    }

    /// Told apart from a search for an exponent that does not end.
    #[test]
    fn what_is_not_finite_has_no_exponent_and_is_not_searched_for() {
        extern crate std;
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (say, hear) = std::sync::mpsc::channel();
            std::thread::spawn(move || say.send(exponent_for(bad, 127)));
            let found = hear.recv_timeout(core::time::Duration::from_secs(20));
            assert_eq!(found, Ok(None), "{bad}");
        }
    }

    #[test]
    fn zero_and_the_ends_of_what_is_finite() {
        assert_eq!(exponent_for(0.0, 127), Some(0));
        let e = exponent_for(f32::from_bits(1), 127).unwrap();
        assert!((64..=127).contains(&quantise(f32::from_bits(1), power_of_two(e))));
        let e = exponent_for(f32::MAX, 127).unwrap();
        assert!((64..=127).contains(&quantise(f32::MAX, power_of_two(e))));
    }

    /// x * 2^e rounded half to even, in integers.
    fn reference(x: f32, e: i32) -> BigInt {
        let bits = x.to_bits();
        let exponent = ((bits >> 23) & 0xff) as i32;
        let fraction = (bits & 0x7f_ffff) as i64;
        let magnitude = if exponent == 0 {
            fraction
        } else {
            fraction | 1 << 23
        };
        let shift = exponent.max(1) - 150 + e;
        let magnitude = BigInt::from(magnitude);
        let rounded = if shift >= 0 {
            magnitude << shift
        } else {
            let (unit, half) = (BigInt::from(1) << -shift, BigInt::from(1) << (-shift - 1));
            let (floor, rest): (BigInt, BigInt) = (&magnitude / &unit, &magnitude % &unit);
            let odd = &floor % 2u8 == BigInt::from(1);
            let up = rest > half || (rest == half && odd);
            floor + u8::from(up)
        };
        if bits >> 31 == 1 { -rounded } else { rounded }
    }

    proptest! {
        #[test]
        fn rounding_equals_integers(x in any::<f32>().prop_filter("finite", |x| x.is_finite()),
                                    limit in prop::sample::select(&[127, INT16_MAX, (1 << 13) - 1, (1 << 21) - 1])) {
            let e = exponent_for(x, limit).unwrap();
            let rounded = quantise(x, power_of_two(e));
            prop_assert!(rounded.abs() <= limit);
            prop_assert_eq!(BigInt::from(rounded), reference(x, e));
            // Largest: one more bit would not fit.
            if x != 0.0 && e < MAX_EXPONENT {
                prop_assert!(reference(x.abs(), e + 1) > BigInt::from(limit));
            }
        }
    }
}
