//! Rotary position embedding (Su et al., 2021, arXiv 2104.09864) over the halves of a head, with the
//! frequencies and the float32 roundings of Hugging Face transformers.
//!
//! # Frequencies that depend on the length of a sequence
//!
//! transformers goes by the largest position of a call, so there a row can depend on the rows beside it, on the cut
//! of a prompt into chunks and, with `dynamic`, on sequences before. Here it is the length of the row's own
//! sequence when the row is computed: the whole prompt for rows of a prompt, everything up to itself for a token
//! of the reply. That is what transformers computes for one sequence with a key/value cache.
//!
//! `longrope` has two sets of frequencies, and keys of one do not go with queries of the other: a reply that
//! grows past the original context has all of its sequence computed again ([`Rope::outgrows`]), as transformers'
//! Phi-3 does. With `dynamic` every token would: cached keys keep the rotation that they had.

use std::borrow::Cow;

use talaria_arithmetic::rotary::{dynamic_base, frequencies};
use talaria_wire::manifest::{self, RopeFrequencies};

/// Rotary embedding of one model.
#[derive(Clone, Debug)]
pub struct Rope {
    rope: manifest::Rope,
    head_dim: usize,
}

impl Rope {
    /// As the manifest says, for heads of `head_dim` elements, which is even.
    pub fn new(rope: &manifest::Rope, head_dim: usize) -> Self {
        assert!(head_dim.is_multiple_of(2), "head_dim = {head_dim} is odd");
        Self {
            rope: rope.clone(),
            head_dim,
        }
    }

    /// Frequencies for rows of a sequence of `length` tokens.
    pub fn of_length(&self, length: usize) -> Frequencies<'_> {
        let radians = match &self.rope.frequencies {
            RopeFrequencies::Fixed(all) => Cow::Borrowed(&all[..]),
            RopeFrequencies::ByLength {
                short,
                long,
                original_max_position_embeddings,
            } => match length > *original_max_position_embeddings as usize {
                true => Cow::Borrowed(&long[..]),
                false => Cow::Borrowed(&short[..]),
            },
            RopeFrequencies::Dynamic {
                theta,
                factor,
                original_max_position_embeddings,
            } => {
                let base = match length > *original_max_position_embeddings as usize {
                    true => {
                        let original = *original_max_position_embeddings as f32;
                        dynamic_base(*theta, *factor, length as f32, original, self.head_dim)
                    }
                    false => *theta,
                };
                Cow::Owned(frequencies(base, self.head_dim).collect())
            }
        };
        Frequencies {
            radians,
            attention_factor: self.rope.attention_factor,
        }
    }

    /// Whether keys of a sequence of `from` tokens cannot serve it once it has `to`.
    pub fn outgrows(&self, from: usize, to: usize) -> bool {
        match self.rope.frequencies {
            RopeFrequencies::ByLength {
                original_max_position_embeddings: original,
                ..
            } => (from..to).contains(&(original as usize)),
            RopeFrequencies::Fixed(_) | RopeFrequencies::Dynamic { .. } => false,
        }
    }
}

/// Frequencies of one length.
#[derive(Clone, Debug)]
pub struct Frequencies<'a> {
    /// Radians a position (head_dim / 2,).
    radians: Cow<'a, [f32]>,
    attention_factor: f32,
}

impl Frequencies<'_> {
    /// Cosines and sines of one position, for all heads and layers.
    pub fn rotation(&self, position: usize) -> Rotation {
        let factor = self.attention_factor;
        let (sin, cos) = (self.radians.iter())
            .map(|radians| sin_cos(position as f32 * radians))
            .map(|(sin, cos)| (sin * factor, cos * factor))
            .unzip();
        Rotation { cos, sin }
    }

    /// Radians a position (head_dim / 2,).
    pub fn radians(&self) -> &[f32] {
        &self.radians
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

    /// Cosines (head_dim / 2,), times the attention factor.
    pub fn cos(&self) -> &[f32] {
        &self.cos
    }

    /// Sines (head_dim / 2,), times the attention factor.
    pub fn sin(&self) -> &[f32] {
        &self.sin
    }
}

fn sin_cos(angle: f32) -> (f32, f32) {
    let (sin, cos) = libm::sincos(f64::from(angle));
    (sin as f32, cos as f32)
}

#[cfg(test)]
mod tests;
