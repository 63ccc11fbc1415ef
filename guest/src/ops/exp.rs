//! The exponential function, branch-free so that it vectorises, with the same bits everywhere.
//!
//! exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln 2 / 2, and exp(r) = 1 + r + r^2 q(r) with q
//! of degree 4, interpolated at Chebyshev nodes: relative error 1.1e-8, a sixth of half an ulp.

/// Above this exp is +inf in f32; the bound keeps 2^n within range of [`power_of_two`]'s two factors.
const MAX_ARGUMENT: f32 = 89.0;
/// Below this exp rounds to 0.
const MIN_ARGUMENT: f32 = -104.0;

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

/// e^x within 1 ulp, subnormal results within 2^-149; 0 below -104, +inf above 89, NaN for NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Comparisons written so that NaN passes through.
    let x = if x > MAX_ARGUMENT { MAX_ARGUMENT } else { x };
    let x = if x < MIN_ARGUMENT { MIN_ARGUMENT } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
    let rounded = shifted - ROUNDER;
    let r = (x - rounded * LN_2_HI) - rounded * LN_2_LO;
    let q = (((Q[4] * r + Q[3]) * r + Q[2]) * r + Q[1]) * r + Q[0];
    let e = 1.0 + (r + r * r * q);
    // Two factors: 2^n itself is no normal number for n > 127 or n < -126.
    let half = n >> 1;
    e * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 2^n for -126 <= n <= 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// exp of every element.
pub fn exp_in_place(x: &mut [f32]) {
    for x in x {
        *x = exp(*x);
    }
}
