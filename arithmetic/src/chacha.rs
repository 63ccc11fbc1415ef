//! ChaCha20 keystream, four blocks at a time.
//!
//! RFC 8439 block function with the original 64-bit counter and 64-bit nonce, as in rand_chacha, to which it is
//! equal word for word (tests). It is here because rand_chacha has no lanes in Wasm: state word i of
//! four blocks makes one vector, so every step of the block function is one vector operation.

use crate::lanes::vector::{Lanes, add, load, splat, store, transpose, xor_rotate};
use zeroize::Zeroize;

/// Blocks in a batch.
const BLOCKS: usize = 4;
/// Words of a batch.
pub(crate) const BATCH_WORDS: usize = 16 * BLOCKS;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// A keystream from its beginning. Zeroized when dropped.
pub(crate) struct KeyStream {
    key: [u32; 8],
    nonce: u64,
    counter: u64,
    words: [u32; BATCH_WORDS],
}

impl KeyStream {
    /// The stream of a 32-byte key and a nonce (stream number).
    pub(crate) fn new(key: &[u8; 32], nonce: u64) -> Self {
        let word = |i: usize| {
            u32::from_le_bytes([key[4 * i], key[4 * i + 1], key[4 * i + 2], key[4 * i + 3]])
        };
        Self {
            key: core::array::from_fn(word),
            nonce,
            counter: 0,
            words: [0; BATCH_WORDS],
        }
    }

    /// The next words of the stream.
    #[inline]
    pub(crate) fn next_words(&mut self) -> &[u32; BATCH_WORDS] {
        let counters: [u64; BLOCKS] = core::array::from_fn(|b| self.counter.wrapping_add(b as u64));
        let start: [Lanes; 16] = core::array::from_fn(|i| match i {
            0..4 => splat(CONSTANTS[i]),
            4..12 => splat(self.key[i - 4]),
            12 => load(&counters.map(|c| c as u32)),
            13 => load(&counters.map(|c| (c >> 32) as u32)),
            14 => splat(self.nonce as u32),
            _ => splat((self.nonce >> 32) as u32),
        });
        let mut state = start;
        for _ in 0..10 {
            for [a, b, c, d] in [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]] {
                quarter_round(&mut state, a, b, c, d);
            }
            for [a, b, c, d] in [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]] {
                quarter_round(&mut state, a, b, c, d);
            }
        }
        self.counter = self.counter.wrapping_add(BLOCKS as u64);
        for quad in 0..4 {
            let rows = core::array::from_fn(|i| add(state[4 * quad + i], start[4 * quad + i]));
            for (block, row) in transpose(rows).into_iter().enumerate() {
                self.words[16 * block + 4 * quad..][..4].copy_from_slice(&store(row));
            }
        }
        &self.words
    }
}

impl Drop for KeyStream {
    fn drop(&mut self) {
        self.key.zeroize();
        self.words.zeroize();
    }
}

#[inline(always)]
fn quarter_round(state: &mut [Lanes; 16], a: usize, b: usize, c: usize, d: usize) {
    state[a] = add(state[a], state[b]);
    state[d] = xor_rotate::<16>(state[d], state[a]);
    state[c] = add(state[c], state[d]);
    state[b] = xor_rotate::<12>(state[b], state[c]);
    state[a] = add(state[a], state[b]);
    state[d] = xor_rotate::<8>(state[d], state[a]);
    state[c] = add(state[c], state[d]);
    state[b] = xor_rotate::<7>(state[b], state[c]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::{
        ChaCha20Rng,
        rand_core::{Rng, SeedableRng},
    };

    proptest! {
        #[test]
        fn equals_rand_chacha(key: [u8; 32], nonce: u64, batches in 1usize..6) {
            let mut stream = KeyStream::new(&key, nonce);
            let mut reference = ChaCha20Rng::from_seed(key);
            reference.set_stream(nonce);
            for _ in 0..batches {
                let expected: [u32; BATCH_WORDS] = core::array::from_fn(|_| reference.next_u32());
                prop_assert_eq!(stream.next_words(), &expected);
            }
        }

        #[test]
        fn the_counter_has_64_bits(key: [u8; 32], above: bool) {
            // The four blocks lie across the border of the counter's low word.
            let first = (1u64 << 32) - 2 + (u64::from(above) << 33);
            let mut stream = KeyStream::new(&key, 5);
            stream.counter = first;
            let mut reference = ChaCha20Rng::from_seed(key);
            reference.set_stream(5);
            reference.set_word_pos(u128::from(first) * 16);
            let expected: [u32; BATCH_WORDS] = core::array::from_fn(|_| reference.next_u32());
            prop_assert_eq!(stream.next_words(), &expected);
        }
    }
}
