//! Uniform residues from a ChaCha20 key.
//!
//! A send of rows with k features each is expanded from one fresh 32-byte key. Residues of row r
//! modulo prime i (0 or 1) come from the ChaCha20 keystream (20 rounds, RFC 8439 block function, 64-bit
//! counter from 0) with stream number `2 * r + i` as the 64-bit nonce: little-endian 32-bit words,
//! top bit cleared, words >= p skipped. So rows can be expanded in any order and in parallel.
//!
//! Skipping depends on words that are thrown away, never on the residues kept, and is done without a
//! branch: every word is stored and the write position advances by 0 or 1.

use crate::{
    PRIMES,
    chacha::{BATCH_WORDS, KeyStream},
    lanes::vector::{Lanes, and, load, splat, store_below},
};
use alloc::{vec, vec::Vec};

/// Bytes of a key.
pub const SEED_BYTES: usize = 32;

/// Writes the residues of row `row` to `out`: (k,) modulo P1, then (k,) modulo P2.
///
/// # Panics
/// If the length of `out` is odd.
pub fn expand_row(seed: &[u8; SEED_BYTES], row: u32, out: &mut [u32]) {
    assert!(
        out.len().is_multiple_of(2),
        "a row holds k residues for each of two primes"
    );
    let k = out.len() / 2;
    let (first, second) = out.split_at_mut(k);
    for (i, half) in [first, second].into_iter().enumerate() {
        let mut stream = KeyStream::new(seed, 2 * u64::from(row) + i as u64);
        fill_uniform(&mut stream, PRIMES[i], half);
    }
}

/// All rows of a send, row after row.
pub fn expand_rows(seed: &[u8; SEED_BYTES], rows: usize, k: usize) -> Vec<u32> {
    let mut out = vec![0; rows * 2 * k];
    for (row, residues) in out.chunks_exact_mut((2 * k).max(1)).enumerate() {
        expand_row(seed, row as u32, residues);
    }
    out
}

/// Fills `out` with residues modulo `p`, uniform if the words are, by rejection.
fn fill_uniform(stream: &mut KeyStream, p: u32, out: &mut [u32]) {
    let mut at = 0;
    // While all words of a batch fit even if none is skipped, no position needs a check.
    while out.len() - at >= BATCH_WORDS {
        let batch = &mut out[at..at + BATCH_WORDS];
        let mut kept = 0;
        let (fours, _) = stream.next_words().as_chunks();
        for four in fours {
            kept = store_below(candidates(four), p, batch, kept);
        }
        at += kept;
    }
    while at < out.len() {
        for word in stream.next_words() {
            let candidate = word & 0x7fff_ffff;
            if let Some(residue) = out.get_mut(at) {
                *residue = candidate;
                at += usize::from(candidate < p);
            }
        }
    }
}

/// Words with their top bit cleared.
#[inline(always)]
fn candidates(words: &[u32; 4]) -> Lanes {
    and(load(words), splat(0x7fff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::{
        ChaCha20Rng,
        rand_core::{Rng, SeedableRng},
    };

    /// The definition above, word by word.
    fn reference(seed: &[u8; 32], row: u32, k: usize) -> Vec<u32> {
        let mut out = Vec::new();
        for (i, p) in PRIMES.into_iter().enumerate() {
            let mut rng = ChaCha20Rng::from_seed(*seed);
            rng.set_stream(2 * u64::from(row) + i as u64);
            let words = core::iter::repeat_with(|| rng.next_u32() & 0x7fff_ffff);
            out.extend(words.filter(|word| *word < p).take(k));
        }
        out
    }

    proptest! {
        #[test]
        fn equals_the_definition(seed: [u8; 32], row in 0..100u32, k in 0usize..300) {
            let mut out = vec![0; 2 * k];
            expand_row(&seed, row, &mut out);
            prop_assert_eq!(out, reference(&seed, row, k));
        }

        #[test]
        fn rows_are_independent_of_the_send(seed: [u8; 32], rows in 1usize..5, k in 1usize..100) {
            let all = expand_rows(&seed, rows, k);
            for row in 0..rows {
                let expected = reference(&seed, row as u32, k);
                prop_assert_eq!(&all[row * 2 * k..(row + 1) * 2 * k], &expected[..]);
            }
        }
    }

    #[test]
    fn residues_are_in_range_and_spread() {
        let k = 1 << 16;
        let mut out = vec![0; 2 * k];
        expand_row(&[7; 32], 0, &mut out);
        for (half, p) in out.chunks(k).zip(PRIMES) {
            assert!(half.iter().all(|r| *r < p));
            // Sixteen equal bins: chi-square with 15 degrees of freedom, 60 has probability 2e-7.
            let mut bins = [0f64; 16];
            half.iter()
                .for_each(|r| bins[(u64::from(*r) * 16 / u64::from(p)) as usize] += 1.0);
            let expected = k as f64 / 16.0;
            let chi: f64 = bins
                .iter()
                .map(|b| (b - expected) * (b - expected) / expected)
                .sum();
            assert!(chi < 60.0, "chi-square {chi}");
        }
    }
}
