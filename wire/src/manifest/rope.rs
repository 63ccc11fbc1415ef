//! Rotary position embeddings, as the payload is told of them.

use serde::{Deserialize, Serialize};

/// Rotary position embedding over the halves of a head (`rotate_half`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// By how much a position turns each pair of elements.
    pub frequencies: RopeFrequencies,
    /// Multiplies cosines and sines: other than 1 with `yarn` and `longrope`.
    pub attention_factor: f32,
}

/// Radians a position, (head_dim / 2,) wherever they are listed. Loaders compute the formulas of config.json, so that
/// the payload needs to know what depends on the length of a sequence only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RopeFrequencies {
    /// The same whatever the length: types `default`, `linear`, `llama3` and `yarn`.
    Fixed(Vec<f32>),
    /// `longrope`: one set for short sequences, one for long ones.
    ByLength {
        /// Of sequences of at most `original_max_position_embeddings` tokens.
        short: Vec<f32>,
        /// Of longer ones.
        long: Vec<f32>,
        /// Context length of the original training.
        original_max_position_embeddings: u32,
    },
    /// `dynamic`: a base that grows with sequences longer than `original_max_position_embeddings`
    /// (`talaria_arithmetic::rotary::dynamic_base`).
    Dynamic {
        /// Base up to that length.
        theta: f32,
        /// How steeply it grows, at least 1.
        factor: f64,
        /// Context length of the original training.
        original_max_position_embeddings: u32,
    },
}

/// Largest frequency and factor: far above any in use, and no angle of a position overflows f32.
const LARGEST: f64 = 65_536.0;

impl Rope {
    /// Checks that every number is one to compute with, for heads of `head_dim` elements.
    pub(super) fn validate(&self, head_dim: u32) -> Result<(), String> {
        let half = head_dim as usize / 2;
        match &self.frequencies {
            RopeFrequencies::Fixed(all) => check_frequencies("frequencies", all, half)?,
            RopeFrequencies::ByLength {
                short,
                long,
                original_max_position_embeddings,
            } => {
                check_frequencies("short frequencies", short, half)?;
                check_frequencies("long frequencies", long, half)?;
                check_original(*original_max_position_embeddings)?;
            }
            RopeFrequencies::Dynamic {
                theta,
                factor,
                original_max_position_embeddings,
            } => {
                if head_dim <= 2 {
                    return Err("dynamic rope needs heads of more than 2 elements".into());
                }
                if !(theta.is_normal() && *theta >= 1.0) {
                    return Err(format!("rope theta = {theta}, expected at least 1"));
                }
                if !(1.0..=LARGEST).contains(factor) {
                    return Err(format!("rope factor = {factor}, expected 1..={}", LARGEST));
                }
                check_original(*original_max_position_embeddings)?;
            }
        }
        let factor = self.attention_factor;
        if !(factor > 0.0 && f64::from(factor) <= LARGEST) {
            return Err(format!(
                "rope attention_factor = {factor}, expected a positive number up to {}",
                LARGEST
            ));
        }
        Ok(())
    }
}

fn check_frequencies(name: &str, all: &[f32], half: usize) -> Result<(), String> {
    if all.len() != half {
        return Err(format!(
            "{} rope {name}, half of head_dim is {half}",
            all.len()
        ));
    }
    match all
        .iter()
        .find(|f| !(0.0..=LARGEST).contains(&f64::from(**f)))
    {
        None => Ok(()),
        Some(f) => Err(format!(
            "rope {name}: {f} radians a position, expected 0 to {LARGEST}"
        )),
    }
}

fn check_original(positions: u32) -> Result<(), String> {
    if positions == 0 {
        return Err("rope original_max_position_embeddings = 0".into());
    }
    Ok(())
}
