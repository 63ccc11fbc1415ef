//! The noise of a block of masks: integers uniform in [-32, 32).
//!
//! Block b of a batch has the keystream with stream number b under the batch's noise seed. Sixteen
//! words (a ChaCha20 block) serve four rows: byte r of word c, least significant first, is row r's
//! in lane c; its low six bits less 32 are the noise.

use super::lanes::{self, Modulus, WIDTH};
use super::{LANES, NOISE_BOUND};
use crate::chacha::{BATCH_WORDS, KeyStream};

/// Rows that one batch of keystream serves: four bytes a word.
const BATCH_ROWS: usize = 4 * BATCH_WORDS / LANES;
/// Rows that share a word.
const WORD_ROWS: usize = 4;
/// Bits of a noise: uniform on `2^NOISE_BITS` integers from `-NOISE_BOUND`.
const NOISE_BITS: u32 = (2 * NOISE_BOUND).ilog2();
const _: () = assert!(2 * NOISE_BOUND == 1 << NOISE_BITS);

/// Adds the same noise to the masks (N, LANES) modulo each prime. N is a multiple of [`BATCH_ROWS`].
pub(super) fn add(
    seed: &[u8; 32],
    block: u64,
    moduli: [Modulus; 2],
    first: &mut [u32],
    second: &mut [u32],
) {
    let mut stream = KeyStream::new(seed, block);
    let batches = first.chunks_exact_mut(BATCH_ROWS * LANES);
    for (first, second) in batches.zip(second.chunks_exact_mut(BATCH_ROWS * LANES)) {
        let words = stream.next_words();
        for (half, modulus) in [first, second].into_iter().zip(moduli) {
            let quads = half.chunks_exact_mut(WORD_ROWS * LANES);
            for (rows, words) in quads.zip(words.chunks_exact(LANES)) {
                add_to_rows(rows, words, modulus);
            }
        }
    }
}

/// Rows (WORD_ROWS, LANES) with noise of words (LANES).
#[inline(always)]
fn add_to_rows(rows: &mut [u32], words: &[u32], modulus: Modulus) {
    for (r, row) in rows.chunks_exact_mut(LANES).enumerate() {
        for (x, words) in row.chunks_exact_mut(WIDTH).zip(words.chunks_exact(WIDTH)) {
            let shift = 8 * r as u32;
            let e = lanes::centred_bits(lanes::load(words), shift, NOISE_BITS, modulus);
            lanes::store(lanes::add(lanes::load(x), e, modulus), x);
        }
    }
}
