//! ChaCha20 keystream, four blocks at a time.
//!
//! RFC 8439 block function with the original 64-bit counter and 64-bit nonce, as in rand_chacha, to which it is
//! equal word for word (tests). It is here because rand_chacha has no lanes in Wasm: state word i of
//! four blocks makes one vector, so every step of the block function is one vector operation.

/// Blocks in a batch.
const BLOCKS: usize = 4;
/// Words of a batch.
pub const BATCH_WORDS: usize = 16 * BLOCKS;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

use lanes::{Lanes, add, splat, transpose, xor_rotate};

/// A keystream from its beginning. Zeroized when dropped.
pub struct KeyStream {
    key: [u32; 8],
    nonce: u64,
    counter: u64,
}

impl KeyStream {
    /// The stream of a 32-byte key and a nonce (stream number).
    pub fn new(key: &[u8; 32], nonce: u64) -> Self {
        let word = |i: usize| {
            u32::from_le_bytes([key[4 * i], key[4 * i + 1], key[4 * i + 2], key[4 * i + 3]])
        };
        Self {
            key: core::array::from_fn(word),
            nonce,
            counter: 0,
        }
    }

    /// The next words of the stream.
    #[inline]
    pub fn next_words(&mut self) -> [u32; BATCH_WORDS] {
        let counters: [u64; BLOCKS] = core::array::from_fn(|b| self.counter.wrapping_add(b as u64));
        let start: [Lanes; 16] = core::array::from_fn(|i| match i {
            0..4 => splat(CONSTANTS[i]),
            4..12 => splat(self.key[i - 4]),
            12 => lanes::load(counters.map(|c| c as u32)),
            13 => lanes::load(counters.map(|c| (c >> 32) as u32)),
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
        let mut words = [0; BATCH_WORDS];
        for quad in 0..4 {
            let rows = core::array::from_fn(|i| add(state[4 * quad + i], start[4 * quad + i]));
            for (block, row) in transpose(rows).into_iter().enumerate() {
                words[16 * block + 4 * quad..][..4].copy_from_slice(&row);
            }
        }
        words
    }
}

impl Drop for KeyStream {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.key);
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

/// One state word of each block, in any machine's words.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod lanes {
    use super::BLOCKS;

    pub type Lanes = [u32; BLOCKS];

    #[inline(always)]
    pub fn load(words: [u32; BLOCKS]) -> Lanes {
        words
    }

    #[inline(always)]
    pub fn splat(word: u32) -> Lanes {
        [word; BLOCKS]
    }

    #[inline(always)]
    pub fn add(a: Lanes, b: Lanes) -> Lanes {
        core::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }

    #[inline(always)]
    pub fn xor_rotate<const BITS: u32>(a: Lanes, b: Lanes) -> Lanes {
        core::array::from_fn(|i| (a[i] ^ b[i]).rotate_left(BITS))
    }

    /// Four words of four blocks to four blocks of four words.
    #[inline(always)]
    pub fn transpose(rows: [Lanes; 4]) -> [[u32; 4]; BLOCKS] {
        core::array::from_fn(|block| rows.map(|row| row[block]))
    }
}

/// One state word of each block, in a v128: LLVM does not find these vectors by itself.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod lanes {
    use super::BLOCKS;
    use core::arch::wasm32::{
        i32x4_add, i32x4_shl, i32x4_shuffle, u32x4, u32x4_extract_lane, u32x4_shr, u32x4_splat,
        v128, v128_or, v128_xor,
    };

    pub type Lanes = v128;

    #[inline(always)]
    pub fn load([a, b, c, d]: [u32; BLOCKS]) -> Lanes {
        u32x4(a, b, c, d)
    }

    #[inline(always)]
    pub fn splat(word: u32) -> Lanes {
        u32x4_splat(word)
    }

    #[inline(always)]
    pub fn add(a: Lanes, b: Lanes) -> Lanes {
        i32x4_add(a, b)
    }

    #[inline(always)]
    pub fn xor_rotate<const BITS: u32>(a: Lanes, b: Lanes) -> Lanes {
        let x = v128_xor(a, b);
        v128_or(i32x4_shl(x, BITS), u32x4_shr(x, 32 - BITS))
    }

    /// Four words of four blocks to four blocks of four words.
    #[inline(always)]
    pub fn transpose([a, b, c, d]: [Lanes; 4]) -> [[u32; 4]; BLOCKS] {
        let (ab_low, ab_high) = (
            i32x4_shuffle::<0, 4, 1, 5>(a, b),
            i32x4_shuffle::<2, 6, 3, 7>(a, b),
        );
        let (cd_low, cd_high) = (
            i32x4_shuffle::<0, 4, 1, 5>(c, d),
            i32x4_shuffle::<2, 6, 3, 7>(c, d),
        );
        [
            words(i32x4_shuffle::<0, 1, 4, 5>(ab_low, cd_low)),
            words(i32x4_shuffle::<2, 3, 6, 7>(ab_low, cd_low)),
            words(i32x4_shuffle::<0, 1, 4, 5>(ab_high, cd_high)),
            words(i32x4_shuffle::<2, 3, 6, 7>(ab_high, cd_high)),
        ]
    }

    #[inline(always)]
    fn words(v: v128) -> [u32; 4] {
        [
            u32x4_extract_lane::<0>(v),
            u32x4_extract_lane::<1>(v),
            u32x4_extract_lane::<2>(v),
            u32x4_extract_lane::<3>(v),
        ]
    }
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
                prop_assert_eq!(stream.next_words(), expected);
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
            prop_assert_eq!(stream.next_words(), expected);
        }
    }
}
