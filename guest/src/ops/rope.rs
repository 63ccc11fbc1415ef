//! Rotary position embedding (Su et al., 2021, arXiv 2104.09864) over the halves of a head, with the
//! frequencies and the float32 roundings of Hugging Face transformers.

use std::f64::consts::TAU;

use talaria_wire::manifest::{self, RopeScaling};

/// Frequencies of one model.
#[derive(Clone, Debug)]
pub struct Rope {
    /// Radians a position (head_dim / 2,).
    inv_freq: Vec<f32>,
}

impl Rope {
    /// Frequencies theta^(-2i / head_dim), rescaled as the manifest says. `head_dim` is even.
    pub fn new(rope: &manifest::Rope, head_dim: usize) -> Self {
        assert!(head_dim.is_multiple_of(2), "head_dim = {head_dim} is odd");
        let frequency = |i| scaled(base_frequency(rope.theta, i, head_dim), &rope.scaling);
        Self {
            inv_freq: (0..head_dim / 2).map(frequency).collect(),
        }
    }

    /// Cosines and sines of one position, for all heads and layers.
    pub fn rotation(&self, position: usize) -> Rotation {
        let (sin, cos) = self
            .inv_freq
            .iter()
            .map(|f| sin_cos(position as f32 * f))
            .unzip();
        Rotation { cos, sin }
    }

    /// Frequencies in radians a position (head_dim / 2,).
    pub fn inv_freq(&self) -> &[f32] {
        &self.inv_freq
    }
}

/// What one position does to a head.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// (head_dim / 2,)
    cos: Vec<f32>,
    /// (head_dim / 2,)
    sin: Vec<f32>,
}

impl Rotation {
    /// Rotates queries or keys of this position in place: `x (heads, head_dim)`, element i with element
    /// i + head_dim / 2.
    pub fn apply(&self, x: &mut [f32]) {
        let half = self.cos.len();
        assert!(
            x.len().is_multiple_of(2 * half),
            "x is not made of heads of {}",
            2 * half
        );
        for head in x.chunks_exact_mut(2 * half) {
            let (first, second) = head.split_at_mut(half);
            let angles = self.cos.iter().zip(&self.sin);
            for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

/// 1 / theta^(2i / d), the power rounded to f32 before the division.
fn base_frequency(theta: f64, i: usize, head_dim: usize) -> f32 {
    let exponent = (2 * i) as f32 / head_dim as f32;
    let power = libm::pow(f64::from(theta as f32), f64::from(exponent)) as f32;
    1.0 / power
}

fn scaled(inv_freq: f32, scaling: &RopeScaling) -> f32 {
    match *scaling {
        RopeScaling::None => inv_freq,
        RopeScaling::Linear { factor } => inv_freq / factor as f32,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let original = f64::from(original_max_position_embeddings);
            let wavelength = (1.0 / inv_freq) * TAU as f32;
            let long = inv_freq / factor as f32;
            if wavelength > (original / low_freq_factor) as f32 {
                long
            } else if wavelength < (original / high_freq_factor) as f32 {
                inv_freq
            } else {
                let turns = (1.0 / wavelength) * original as f32;
                let ramp = high_freq_factor - low_freq_factor;
                let smooth = (turns - low_freq_factor as f32) / ramp as f32;
                (1.0 - smooth) * inv_freq / factor as f32 + smooth * inv_freq
            }
        }
    }
}

fn sin_cos(angle: f32) -> (f32, f32) {
    let (sin, cos) = libm::sincos(f64::from(angle));
    (sin as f32, cos as f32)
}

#[cfg(test)]
mod tests;
