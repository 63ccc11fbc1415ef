//! From logits to the next token.
//!
//! In this order, from 2 on as Hugging Face transformers and vLLM do it:
//!
//! 1. logit bias: added, whatever the other steps do;
//! 2. repetition penalty r, over prompt and output: a logit l > 0 becomes l / r, any other l * r;
//! 3. frequency and presence penalty, over the output only: l - frequency * count, then l - presence;
//! 4. temperature T: l / T; at T = 0 the largest logit wins and nothing below matters;
//! 5. top-k: tokens whose logit is below the k-th largest are dropped (ties with it stay);
//! 6. top-p: of the rest, renormalised, the fewest most likely tokens that hold at least p; at 0 the likeliest wins;
//! 7. min-p: tokens less likely than min-p times the likeliest are dropped;
//! 8. one draw, by inversion, over what is left in order of id.
//!
//! What is equally likely ranks by id, lowest first. Everything is IEEE arithmetic and our own
//! [`exp`], so a seed gives the same tokens natively and in Wasm.
//!
//! Not constant-time: which logits are read or written here depends on the tokens of this session, and
//! so does the time taken. It runs inside the confidential VM, whose page-access pattern the
//! hypervisor sees (as it does for the tokenizer). Without bias or penalties, at temperature 0, logits are read in order and
//! no address depends on a token.

use crate::ops::exp::exp;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

use talaria_wire::channel::message::{MAX_LOGIT_BIAS, Sampling};

/// Bytes of a generator's seed.
pub const SEED_BYTES: usize = 32;

/// Largest magnitude of a logit bias, as OpenAI's API bounds it: enough to forbid a token or to force it.
pub const MAX_BIAS: f32 = 100.0;

/// Checks ranges. `vocab`: tokens in the vocabulary.
///
/// # Errors
/// The first parameter that is not finite or out of its range.
pub fn validate(sampling: &Sampling, vocab: u32) -> Result<(), SamplingError> {
    let in_range = |name, value: f32, ok: bool, expected| match value.is_finite() && ok {
        true => Ok(()),
        false => Err(SamplingError::OutOfRange {
            name,
            value,
            expected,
        }),
    };
    let (t, p, m) = (sampling.temperature, sampling.top_p, sampling.min_p);
    in_range("temperature", t, t >= 0.0, "0 (greedy) or more")?;
    let expected = "from 0 (the likeliest token) to 1 (off)";
    in_range("top_p", p, (0.0..=1.0).contains(&p), expected)?;
    in_range("min_p", m, (0.0..=1.0).contains(&m), "from 0 (off) to 1")?;
    let r = sampling.repetition_penalty;
    in_range(
        "repetition_penalty",
        r,
        (0.01..=100.0).contains(&r),
        "from 0.01 to 100; 1 is off",
    )?;
    for (name, value) in [
        ("presence_penalty", sampling.presence_penalty),
        ("frequency_penalty", sampling.frequency_penalty),
    ] {
        in_range(name, value, value.abs() <= 2.0, "from -2 to 2; 0 is off")?;
    }
    validate_bias(&sampling.logit_bias, vocab)
}

fn validate_bias(logit_bias: &[(u32, f32)], vocab: u32) -> Result<(), SamplingError> {
    let found = logit_bias.len();
    if found > MAX_LOGIT_BIAS {
        return Err(SamplingError::TooManyBiases { found });
    }
    let mut seen = BTreeSet::new();
    for &(id, bias) in logit_bias {
        if id >= vocab {
            return Err(SamplingError::BiasOfNoToken { id, vocab });
        }
        // Not true of NaN either.
        if !(-MAX_BIAS..=MAX_BIAS).contains(&bias) {
            return Err(SamplingError::BiasOutOfRange { id, bias });
        }
        if !seen.insert(id) {
            return Err(SamplingError::BiasTwice { id });
        }
    }
    Ok(())
}

/// Whether no randomness is used. A top-p of 0 is the likeliest token, as at OpenAI.
fn is_greedy(sampling: &Sampling) -> bool {
    sampling.temperature == 0.0 || sampling.top_p == 0.0
}

fn has_penalties(sampling: &Sampling) -> bool {
    sampling.repetition_penalty != 1.0
        || sampling.presence_penalty != 0.0
        || sampling.frequency_penalty != 0.0
}

/// Why no token was chosen. Quotes the request at most, never logits or tokens of prompt and reply.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SamplingError {
    /// A parameter out of its range.
    #[error("sampling parameter {name} is {value}, expected {expected}")]
    OutOfRange {
        /// As in the request.
        name: &'static str,
        /// What came.
        value: f32,
        /// What is possible.
        expected: &'static str,
    },
    /// More than [`MAX_LOGIT_BIAS`].
    #[error("logit_bias has {found} tokens, at most {MAX_LOGIT_BIAS} are possible: leave some out")]
    TooManyBiases {
        /// How many came.
        found: usize,
    },
    /// A bias of something that is never sampled.
    #[error("logit_bias of token id {id}, which is outside the vocabulary of {vocab}")]
    BiasOfNoToken {
        /// The id.
        id: u32,
        /// Tokens in the vocabulary.
        vocab: u32,
    },
    /// A bias that is not finite, or over [`MAX_BIAS`].
    #[error("logit_bias of token id {id} is {bias}, expected from -{MAX_BIAS} to {MAX_BIAS}")]
    BiasOutOfRange {
        /// The token.
        id: u32,
        /// What came.
        bias: f32,
    },
    /// Two biases of one token.
    #[error("logit_bias has token id {id} twice: give one bias for each token")]
    BiasTwice {
        /// The token.
        id: u32,
    },
    /// The forward pass brought something that is no logit.
    #[error("the logits hold NaN or +infinity: the model's weights or its manifest are broken")]
    NotALogit,
    /// Nothing to choose from.
    #[error("there is no logit above -infinity to choose a token from")]
    NoCandidate,
}

/// The generator's seed for a user's seed: SHA-256 of a label and the seed, little-endian, so that
/// no user seed meets a seed drawn elsewhere.
pub fn seed_from_user(seed: u64) -> [u8; SEED_BYTES] {
    let label = Sha256::new_with_prefix("talaria sampling seed v1");
    label.chain_update(seed.to_le_bytes()).finalize().into()
}

/// Chooses the tokens of one session.
pub struct Sampler {
    sampling: Sampling,
    seed: u64,
    rng: ChaCha20Rng,
    /// Tokens of prompt and output with their count in the output; empty if no penalty asks for it.
    seen: BTreeMap<u32, u32>,
}

impl Sampler {
    /// `fresh`: a seed from the CVM's randomness, used if `sampling` names none. `prompt`: token ids. `vocab`: tokens
    /// in the vocabulary.
    ///
    /// # Errors
    /// A parameter out of range.
    pub fn new(
        sampling: Sampling,
        fresh: u64,
        prompt: &[u32],
        vocab: u32,
    ) -> Result<Sampler, SamplingError> {
        validate(&sampling, vocab)?;
        let seed = sampling.seed.unwrap_or(fresh);
        let penalised = if has_penalties(&sampling) {
            prompt
        } else {
            &[]
        };
        Ok(Sampler {
            seed,
            rng: ChaCha20Rng::from_seed(seed_from_user(seed)),
            seen: penalised.iter().map(|&id| (id, 0)).collect(),
            sampling,
        })
    }

    /// The seed in use: with it the same request gets the same tokens.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Chooses the next token of the output, and remembers it for the penalties.
    ///
    /// `logits`: (vocab,). Bias and penalties are applied in place, so hash or keep logits before.
    ///
    /// # Errors
    /// A logit is NaN or +infinity, or all are -infinity.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<u32, SamplingError> {
        let best = argmax(logits)?; // before bias and penalties, so that 0 * infinity cannot hide
        let biased = self.bias(logits);
        let best = match self.penalise(logits) || biased {
            true => argmax(logits)?,
            false => best,
        };
        let id = match is_greedy(&self.sampling) {
            true => best,
            false => self.draw(logits, logits[best as usize]),
        };
        if has_penalties(&self.sampling) {
            *self.seen.entry(id).or_default() += 1;
        }
        Ok(id)
    }

    /// Step 1. False if nothing was to be done.
    fn bias(&self, logits: &mut [f32]) -> bool {
        for &(id, bias) in &self.sampling.logit_bias {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += bias;
            }
        }
        !self.sampling.logit_bias.is_empty()
    }

    /// Steps 2 and 3. False if nothing was to be done.
    fn penalise(&self, logits: &mut [f32]) -> bool {
        let Sampling {
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            ..
        } = self.sampling;
        for (&id, &count) in &self.seen {
            // A prompt may hold ids that a host's manifest gave no logit.
            let Some(logit) = logits.get_mut(id as usize) else {
                continue;
            };
            *logit = match *logit > 0.0 {
                true => *logit / repetition_penalty,
                false => *logit * repetition_penalty,
            };
            if count > 0 {
                *logit -= frequency_penalty * count as f32;
                *logit -= presence_penalty;
            }
        }
        !self.seen.is_empty()
    }

    /// Steps 4 to 8. `max`: the largest logit, finite.
    fn draw(&mut self, logits: &[f32], max: f32) -> u32 {
        let kept = self.candidates(logits, max);
        invert(&kept, unit_interval(self.rng.next_u64()))
    }

    /// Steps 4 to 7: what can be drawn, in order of id.
    fn candidates(&self, logits: &[f32], max: f32) -> Vec<Candidate> {
        let threshold = top_k_threshold(logits, self.sampling.top_k);
        let mut kept = weigh(logits, threshold, max, self.sampling.temperature);
        if self.sampling.top_p < 1.0 {
            keep_nucleus(&mut kept, self.sampling.top_p);
            kept.sort_unstable_by_key(|candidate| candidate.id);
        }
        // The likeliest has weight 1 exactly.
        kept.retain(|candidate| candidate.weight >= self.sampling.min_p);
        kept
    }
}

/// The largest logit's id, the lowest of equals.
fn argmax(logits: &[f32]) -> Result<u32, SamplingError> {
    let mut best = 0;
    let mut max = f32::NEG_INFINITY;
    let mut broken = false;
    for (id, &logit) in logits.iter().enumerate() {
        broken |= logit.is_nan() || logit == f32::INFINITY;
        if logit > max {
            (best, max) = (id, logit);
        }
    }
    match (broken, max == f32::NEG_INFINITY) {
        (true, _) => Err(SamplingError::NotALogit),
        (_, true) => Err(SamplingError::NoCandidate),
        _ => Ok(best as u32),
    }
}

/// The k-th largest logit.
fn top_k_threshold(logits: &[f32], k: u32) -> f32 {
    let k = k as usize;
    if k == 0 || k >= logits.len() {
        return f32::NEG_INFINITY;
    }
    let mut order = logits.to_vec();
    *order.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
}

/// A token that can still be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    id: u32,
    /// exp((logit - max) / temperature), more than 0, at most 1: the probability but for a common factor.
    weight: f32,
}

impl Candidate {
    /// Less is likelier, equals by id: the bits of positive floats are in the floats' order.
    fn rank(&self) -> u64 {
        u64::from(!self.weight.to_bits()) << 32 | u64::from(self.id)
    }
}

/// Tokens not below `threshold` whose weight is not 0, in order of id.
fn weigh(logits: &[f32], threshold: f32, max: f32, temperature: f32) -> Vec<Candidate> {
    // Without a branch, so that it vectorises.
    let weights: Vec<f32> = logits
        .iter()
        .map(|&logit| exp((logit - max) / temperature))
        .collect();
    let kept = logits.iter().zip(&weights).enumerate();
    kept.filter(|&(_, (&logit, &weight))| logit >= threshold && weight > 0.0)
        .map(|(id, (_, &weight))| Candidate {
            id: id as u32,
            weight,
        })
        .collect()
}

/// Step 6. Tokens below the mean weight of what is to go are all outside: together they weigh less than
/// that. The rest, mostly few, are ranked.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f32) {
    let total = total(candidates);
    let least = (1.0 - f64::from(top_p)) * total / candidates.len() as f64;
    candidates.retain(|candidate| f64::from(candidate.weight) >= least);
    candidates.sort_unstable_by_key(Candidate::rank);
    let needed = f64::from(top_p) * total;
    let mut mass = 0.0;
    let last = candidates.iter().position(|candidate| {
        mass += f64::from(candidate.weight);
        mass >= needed
    });
    candidates.truncate(last.map_or(candidates.len(), |last| last + 1));
}

fn total(candidates: &[Candidate]) -> f64 {
    candidates
        .iter()
        .map(|candidate| f64::from(candidate.weight))
        .sum()
}

/// 53 random bits as a number in [0, 1).
fn unit_interval(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// The candidate at quantile `u` in [0, 1) of the distribution. At least one candidate has to be there.
fn invert(candidates: &[Candidate], u: f64) -> u32 {
    let target = u * total(candidates);
    let mut sum = 0.0;
    let at = candidates.iter().position(|candidate| {
        sum += f64::from(candidate.weight);
        sum > target
    });
    // u * total may round up to total: then it is the last.
    candidates[at.unwrap_or(candidates.len() - 1)].id
}

#[cfg(test)]
mod tests;
