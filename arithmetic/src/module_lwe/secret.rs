//! The secret of a batch of masks.
//!
//! Notation: `s` in R^r with coefficients uniform in {-1, 0, 1}; `s^` its values under the forward
//! transform. Dense on purpose: a sparse secret would save work only by touching some rows and not
//! others, which the hypervisor sees.

use alloc::{vec, vec::Vec};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::Parameters;
use super::field::FIELDS;
use super::ntt::{self, Twiddles};
use crate::chacha::KeyStream;
use crate::residue;

/// Stream number of secrets. Noise streams are numbered by block, far below: even one seed for both
/// by mistake would not make them overlap.
const SECRET_STREAM: u64 = u64::MAX;

/// s in NTT form, modulo both primes. Zeroized when dropped.
///
/// It makes `parameters().rows()` masks for each column of one projection and must not be used for a
/// second one: equal columns would get equal products with s.
pub struct Secret {
    parameters: &'static Parameters,
    /// (prime, value i, component l): `s^ * R / N mod p`, centred. R cancels against the reduction of
    /// the products, N against the inverse transform, which leaves it out.
    values: [Vec<i32>; 2],
    inverse_twiddles: [Twiddles; 2],
}

impl Secret {
    /// Draws a secret from a fresh seed, which is used for nothing else.
    pub fn draw(parameters: &'static Parameters, seed: &[u8; 32]) -> Self {
        let mut coefficients = ternary(seed, parameters.public_rows());
        let values = core::array::from_fn(|i| values(parameters, i, &coefficients));
        coefficients.zeroize();
        Self {
            parameters,
            values,
            inverse_twiddles: FIELDS.map(|field| ntt::inverse_twiddles(&field, parameters.degree)),
        }
    }

    /// The parameters it was drawn for.
    pub fn parameters(&self) -> &'static Parameters {
        self.parameters
    }

    /// (N, r) values modulo prime i.
    pub(super) fn values(&self, i: usize) -> &[i32] {
        &self.values[i]
    }

    pub(super) fn inverse_twiddles(&self, i: usize) -> &Twiddles {
        &self.inverse_twiddles[i]
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}

/// Uniform in {-1, 0, 1}: two bits of keystream each, least significant first, 3 skipped.
///
/// Skipping depends on bits that are thrown away, never on those kept, and is done without a branch:
/// every candidate is stored and the position advances by 0 or 1.
fn ternary(seed: &[u8; 32], count: usize) -> Vec<i32> {
    let mut stream = KeyStream::new(seed, SECRET_STREAM);
    // One more, so that there is a place for a candidate behind the last.
    let mut out = vec![0; count + 1];
    let mut at = 0;
    while at < count {
        for mut word in *stream.next_words() {
            for _ in 0..16 {
                let pair = (word & 3) as i32;
                out[at] = pair - 1;
                at = (at + ((3 - pair).signum() as usize)).min(count);
                word >>= 2;
            }
        }
    }
    out[count] = 0;
    out.truncate(count);
    out
}

/// Coefficients (r, N) to [`Secret::values`] modulo prime i.
fn values(parameters: &Parameters, i: usize, coefficients: &[i32]) -> Vec<i32> {
    let (field, degree, rank) = (&FIELDS[i], parameters.degree, parameters.rank);
    let twiddles = ntt::forward_twiddles(field, degree);
    // 1/N with one factor R for its own reduction and one that stays.
    let one_nth = field.factor(field.invert(degree as u32)).w;
    let scale = field.factor(one_nth).w;
    let mut values = vec![0; degree * rank];
    let mut component = vec![0; degree];
    for (l, coefficients) in coefficients.chunks_exact(degree).enumerate() {
        for (x, s) in component.iter_mut().zip(coefficients) {
            *x = residue::from_small(*s, field.p);
        }
        ntt::forward(field, &twiddles, &mut component);
        for (value, x) in values[l..].iter_mut().step_by(rank).zip(&component) {
            *value = field.centre(field.mul(*x, scale));
        }
    }
    component.zeroize();
    values
}

/// For tests: the coefficients (r, N) behind a seed.
#[cfg(test)]
pub(super) fn coefficients(parameters: &Parameters, seed: &[u8; 32]) -> Vec<i32> {
    ternary(seed, parameters.public_rows())
}

#[cfg(test)]
impl Secret {
    /// A secret with chosen values instead of drawn ones, for extremes.
    pub(super) fn of_values(parameters: &'static Parameters, values: [Vec<i32>; 2]) -> Self {
        let mut secret = Self::draw(parameters, &[0; 32]);
        secret.values = values;
        secret
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::chi_square;
    use super::*;

    #[test]
    fn coefficients_are_uniform_ternary() {
        let mut bins = [0u32; 3];
        // Pairs of neighbours too: nine bins.
        let mut pairs = [0u32; 9];
        for seed in 0..40 {
            let drawn = ternary(&[seed; 32], 2560);
            for s in &drawn {
                bins[(s + 1) as usize] += 1;
            }
            for pair in drawn.chunks_exact(2) {
                pairs[(3 * (pair[0] + 1) + pair[1] + 1) as usize] += 1;
            }
        }
        assert_eq!(bins.iter().sum::<u32>(), 40 * 2560);
        // 2 degrees of freedom: 30 has probability 3e-7; 8 degrees: 46 has 2e-7.
        assert!(chi_square(&bins) < 30.0, "{bins:?}");
        assert!(chi_square(&pairs) < 46.0, "{pairs:?}");
    }

    #[test]
    fn follows_its_definition() {
        use rand_chacha::rand_core::{Rng, SeedableRng};
        let mut rng = rand_chacha::ChaCha20Rng::from_seed([9; 32]);
        rng.set_stream(u64::MAX);
        let mut expected = Vec::new();
        while expected.len() < 777 {
            let word = rng.next_u32();
            let pairs = (0..16).map(|i| (word >> (2 * i)) & 3);
            expected.extend(pairs.filter(|pair| *pair < 3).map(|pair| pair as i32 - 1));
        }
        assert_eq!(ternary(&[9; 32], 777), expected[..777]);
    }
}
