//! Frequencies of each rope type, by `modeling_rope_utils.py` of Hugging Face transformers 5, with its order of float32
//! and float64 operations.
//!
//! Everything in f64 is Python's: what a tensor meets is rounded to f32 first. Powers and logarithms are crate libm's,
//! so that every host computes the same manifest.

use std::f64::consts::TAU;

use talaria_arithmetic::rotary::{frequencies, powers};

/// Base and heads: what all types begin with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plain {
    /// Base of the powers.
    pub(super) theta: f64,
    /// Elements of a head.
    pub(super) head_dim: usize,
}

impl Plain {
    /// `default`: theta^(-2i / head_dim).
    pub(super) fn unscaled(self) -> Vec<f32> {
        frequencies(self.theta as f32, self.head_dim).collect()
    }

    /// `linear`: all divided by `factor`.
    pub(super) fn linear(self, factor: f64) -> Vec<f32> {
        let factor = factor as f32;
        self.unscaled().into_iter().map(|f| f / factor).collect()
    }

    /// Each divided by a factor of its own, `theta^(2i / head_dim) * factor` being rounded before the division
    /// (`longrope`).
    pub(super) fn divided(self, factors: &[f64]) -> Vec<f32> {
        powers(self.theta as f32, self.head_dim)
            .zip(factors)
            .map(|(power, factor)| 1.0 / (*factor as f32 * power))
            .collect()
    }

    fn powers(self) -> impl Iterator<Item = f32> {
        powers(self.theta as f32, self.head_dim)
    }
}

/// `llama3`: long wavelengths divided by `factor`, short ones kept, a ramp between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Llama3 {
    pub(super) factor: f64,
    /// Wavelengths above `original / low_freq_factor` are long.
    pub(super) low_freq_factor: f64,
    /// Wavelengths below `original / high_freq_factor` are short.
    pub(super) high_freq_factor: f64,
    /// Context length of the original training.
    pub(super) original_max_position_embeddings: u32,
}

impl Llama3 {
    pub(super) fn frequencies(&self, plain: Plain) -> Vec<f32> {
        plain
            .unscaled()
            .into_iter()
            .map(|f| self.scaled(f))
            .collect()
    }

    fn scaled(&self, inv_freq: f32) -> f32 {
        let original = f64::from(self.original_max_position_embeddings);
        let wavelength = (1.0 / inv_freq) * TAU as f32;
        let long = inv_freq / self.factor as f32;
        if wavelength > (original / self.low_freq_factor) as f32 {
            long
        } else if wavelength < (original / self.high_freq_factor) as f32 {
            inv_freq
        } else {
            let turns = (1.0 / wavelength) * original as f32;
            let ramp = self.high_freq_factor - self.low_freq_factor;
            let smooth = (turns - self.low_freq_factor as f32) / ramp as f32;
            (1.0 - smooth) * inv_freq / self.factor as f32 + smooth * inv_freq
        }
    }
}

/// `yarn` (Peng et al., 2023, arXiv 2309.00071): pairs that turn often in the original context are kept, those that turn
/// rarely divided by `factor`, with a ramp over the pairs between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Yarn {
    pub(super) factor: f64,
    /// Pairs with more turns are kept.
    pub(super) beta_fast: f64,
    /// Pairs with fewer turns are divided.
    pub(super) beta_slow: f64,
    /// Whether the ramp begins and ends at whole pairs.
    pub(super) truncate: bool,
    /// Context length of the original training.
    pub(super) original_max_position_embeddings: u32,
}

impl Yarn {
    pub(super) fn frequencies(&self, plain: Plain) -> Vec<f32> {
        let (low, high) = self.ramp(plain);
        let width = (high - low) as f32;
        let (low, factor) = (low as f32, self.factor as f32);
        plain
            .powers()
            .zip(0u16..)
            .map(|(power, i)| {
                let ramp = ((f32::from(i) - low) / width).clamp(0.0, 1.0);
                let (kept, divided) = (1.0 / power, 1.0 / (factor * power));
                let extrapolation = 1.0 - ramp;
                divided * (1.0 - extrapolation) + kept * extrapolation
            })
            .collect()
    }

    /// First and last pair of the ramp.
    fn ramp(&self, plain: Plain) -> (f64, f64) {
        let dim = plain.head_dim as f64;
        let original = f64::from(self.original_max_position_embeddings);
        // The pair that makes so many turns in the original context.
        let pair =
            |turns: f64| dim * libm::log(original / (turns * TAU)) / (2.0 * libm::log(plain.theta));
        let (mut low, mut high) = (pair(self.beta_fast), pair(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
        if low == high {
            high += 0.001;
        }
        (low, high)
    }

    /// Of cosines and sines, where config.json has none: by the paper, or by DeepSeek's `mscale` and
    /// `mscale_all_dim`, if both are there.
    pub(super) fn attention_factor(&self, mscale: Option<f64>, mscale_all_dim: Option<f64>) -> f64 {
        let given = |m: Option<f64>| m.filter(|m| *m != 0.0);
        let scale = |m: f64| match self.factor <= 1.0 {
            true => 1.0,
            false => 0.1 * m * libm::log(self.factor) + 1.0,
        };
        match (given(mscale), given(mscale_all_dim)) {
            (Some(m), Some(all)) => scale(m) / scale(all),
            _ => scale(1.0),
        }
    }
}

/// `longrope` (Ding et al., 2024, arXiv 2402.13753): the factor of cosines and sines where config.json has none.
pub(super) fn longrope_attention_factor(factor: f64, original: u32) -> f64 {
    match factor <= 1.0 {
        true => 1.0,
        false => (1.0 + libm::log(factor) / libm::log(f64::from(original))).sqrt(),
    }
}
