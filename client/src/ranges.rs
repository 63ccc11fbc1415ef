//! Ranges of sampling, for flags and for the proxy. The payload checks the same, but that it takes any temperature.

use std::ops::RangeInclusive;

/// Far above 1, every token is as likely as any.
pub const TEMPERATURE: RangeInclusive<f32> = 0.0..=100.0;
/// 0: the likeliest token; 1: off.
pub const TOP_P: RangeInclusive<f32> = 0.0..=1.0;
/// 0: off.
pub const MIN_P: RangeInclusive<f32> = 0.0..=1.0;
/// 1: off.
pub const REPETITION_PENALTY: RangeInclusive<f32> = 0.01..=100.0;
/// Of presence and of frequency; 0: off.
pub const PENALTY: RangeInclusive<f32> = -2.0..=2.0;
