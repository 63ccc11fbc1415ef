//! The exponential function, branch-free so that it vectorises, with the same bits everywhere.
//!
//! exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln 2 / 2, and exp(r) = 1 + r + r^2 q(r) with q
//! of degree 4, interpolated at Chebyshev nodes: relative error 1.1e-8, a sixth of half an ulp.

use super::lanes::map_in_place;

/// Above this exp is +inf in f32; the bound keeps 2^n within range of [`power_of_two`]'s two factors.
const MAX_ARGUMENT: f32 = 89.0;
/// Below this exp is less than 2^-126, the smallest normal number: 0 here. Processors take several times longer for
/// subnormal numbers, so that time would tell of scores (examples/dudect.rs).
const MIN_ARGUMENT: f32 = -87.336_54;

/// ln 2 in two parts. The first has 15 bits after the point, so that its product with any n is exact.
const LN_2_HI: f32 = 0.693_145_75;
const LN_2_LO: f32 = 1.428_606_8e-6;

/// 1.5 * 2^23: adding it leaves round(x) in the low bits of the sum.
const ROUNDER: f32 = 12_582_912.0;

/// Coefficients of q, constant term first.
const Q: [f32; 5] = [
    0.5,
    0.166_665_76,
    0.041_666_552,
    0.008_363_233,
    0.001_392_625,
];

/// e^x within 1 ulp; 0 where it is no normal number, below -87.3; +inf above 89, NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Comparisons written so that NaN passes through.
    let is_zero = x < MIN_ARGUMENT;
    let x = if x > MAX_ARGUMENT { MAX_ARGUMENT } else { x };
    let x = if x < MIN_ARGUMENT { MIN_ARGUMENT } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    let rounded = shifted - ROUNDER;
    let r_hi = x - rounded * LN_2_HI;
    let r_lo = rounded * LN_2_LO;
    let r = r_hi - r_lo;
    let q = (((Q[4] * r + Q[3]) * r + Q[2]) * r + Q[1]) * r + Q[0];
    // r_hi is exact: adding it last but one spares a rounding.
    let e = 1.0 + (r_hi + (r * r * q - r_lo));
    // Two factors: 2^n itself is no normal number for n > 127.
    let half = n >> 1;
    let e_to_x = e * power_of_two(half) * power_of_two(n.wrapping_sub(half));
    if is_zero { 0.0 } else { e_to_x }
}

/// 2^n for -126 <= n <= 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// exp of every element.
pub fn exp_in_place(x: &mut [f32]) {
    map_in_place(x, exp);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// |computed - exact| in units of the last place of the exact value's binade.
    fn error_in_ulps(x: f32) -> f64 {
        let exact = f64::from(x).exp();
        let exponent = exact.log2().floor() as i32;
        (f64::from(exp(x)) - exact).abs() / 2f64.powi(exponent - 23)
    }

    /// Every `step`th float between the argument where exp becomes 0 and the one before it overflows.
    fn worst_error(step: usize) -> f64 {
        let negative = (0..=(-MIN_ARGUMENT).to_bits())
            .step_by(step)
            .map(|b| -f32::from_bits(b));
        let positive = (0..=88.722_83f32.to_bits())
            .step_by(step)
            .map(f32::from_bits);
        negative
            .chain(positive)
            .map(error_in_ulps)
            .fold(0.0, f64::max)
    }

    #[test]
    fn within_one_ulp_of_f64() {
        let worst = worst_error(1009);
        assert!(worst <= 1.0, "{worst} ulp");
    }

    #[test]
    #[ignore = "two thousand million arguments: minutes"]
    fn within_one_ulp_of_f64_for_every_argument() {
        let worst = worst_error(1);
        println!("worst error {worst} ulp");
        assert!(worst <= 1.0, "{worst} ulp");
    }

    #[test]
    fn limits() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        for x in [f32::NEG_INFINITY, f32::MIN, -1e9, -104.0, -88.0] {
            assert_eq!(exp(x).to_bits(), 0, "exp({x})");
        }
        for x in [f32::INFINITY, f32::MAX, 1e9, 89.0, 88.722_85] {
            assert_eq!(exp(x), f32::INFINITY, "exp({x})");
        }
        assert!(exp(f32::NAN).is_nan() && exp(-f32::NAN).is_nan());
        assert!(exp(88.722_83).is_finite());
    }

    #[test]
    fn no_result_is_subnormal() {
        assert!(exp(MIN_ARGUMENT).is_normal());
        assert_eq!(exp(MIN_ARGUMENT.next_down()), 0.0);
        let exact = |x: f32| f64::from(x).exp();
        assert!(exact(MIN_ARGUMENT) >= f64::from(f32::MIN_POSITIVE));
        assert!(exact(MIN_ARGUMENT.next_down()) < f64::from(f32::MIN_POSITIVE));
    }

    #[test]
    fn slices_as_single_values() {
        let x: Vec<f32> = (0..1001).map(|i| (i as f32 - 700.0) * 0.17).collect();
        let mut y = x.clone();
        exp_in_place(&mut y);
        for (x, y) in x.iter().zip(y) {
            assert_eq!(exp(*x).to_bits(), y.to_bits(), "exp({x})");
        }
    }
}
