//! The k-quants: super-blocks of 256 elements, whose sub-blocks have small integer scales of their own.
//!
//! By ggml's definition (`dequantize_row_q*_K` in ggml-quants.c), in the same order of operations in f32.

use super::blocks::half;

/// Elements of a super-block.
pub const SUPER_BLOCK: usize = 256;

/// `d * scale * q - dmin * min`, 2 bits, 16 sub-blocks of 16 with 4 bits of scale and minimum each.
///
/// Bytes: 16 scales and minima, 64 of quants, f16 d and dmin.
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; SUPER_BLOCK]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, dmin) = (half(&block[80..82]), half(&block[82..]));
    for (sub, (out, scale)) in out.chunks_mut(16).zip(scales).enumerate() {
        let (dl, ml) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
        for (i, out) in out.iter_mut().enumerate() {
            *out = dl * f32::from(two_bits(quants, 16 * sub + i)) - ml;
        }
    }
}

/// `d * (scale - 32) * q`, 3 bits, 16 sub-blocks of 16 with 6 bits of scale each.
///
/// Bytes: 32 of third bits (0 subtracts 4), 64 of quants, 12 of scales, f16 d.
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; SUPER_BLOCK]) {
    let (high, quants, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(&block[108..]);
    for (sub, out) in out.chunks_mut(16).enumerate() {
        // 16 low nibbles in 8 bytes, then 16 high pairs of bits in 4.
        let low = (scales[sub % 8] >> (4 * (sub / 8))) & 15;
        let pair = (scales[8 + sub % 4] >> (2 * (sub / 4))) & 3;
        let dl = d * f32::from((low | pair << 4) as i8 - 32);
        for (i, out) in out.iter_mut().enumerate() {
            let at = 16 * sub + i;
            let third = (high[at % 32] >> (at / 32)) & 1;
            let q = two_bits(quants, at) as i8 - ((third ^ 1) << 2) as i8;
            *out = dl * f32::from(q);
        }
    }
}

/// `d * scale * q - dmin * min`, 4 bits, 8 sub-blocks of 32 with 6 bits of scale and minimum each.
///
/// Bytes: f16 d and dmin, 12 of scales and minima, 128 of quants.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; SUPER_BLOCK]) {
    let (d, dmin) = (half(&block[..2]), half(&block[2..4]));
    let (scales, quants) = (&block[4..16], &block[16..]);
    for (sub, out) in out.chunks_mut(32).enumerate() {
        let (scale, min) = scale_and_min(scales, sub);
        let (dl, ml) = (d * f32::from(scale), dmin * f32::from(min));
        for (i, out) in out.iter_mut().enumerate() {
            *out = dl * f32::from(nibble(quants, sub, i)) - ml;
        }
    }
}

/// As [`q4_k`] with a fifth bit.
///
/// Bytes: f16 d and dmin, 12 of scales and minima, 32 of fifth bits, 128 of quants.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; SUPER_BLOCK]) {
    let (d, dmin) = (half(&block[..2]), half(&block[2..4]));
    let (scales, high, quants) = (&block[4..16], &block[16..48], &block[48..]);
    for (sub, out) in out.chunks_mut(32).enumerate() {
        let (scale, min) = scale_and_min(scales, sub);
        let (dl, ml) = (d * f32::from(scale), dmin * f32::from(min));
        for (i, out) in out.iter_mut().enumerate() {
            let fifth = (high[i] >> sub) & 1;
            *out = dl * f32::from(nibble(quants, sub, i) | fifth << 4) - ml;
        }
    }
}

/// `d * scale * (q - 32)`, 6 bits, 16 sub-blocks of 16 with an int8 scale each.
///
/// Bytes: 128 of low nibbles, 64 of high pairs of bits, 16 scales, f16 d.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; SUPER_BLOCK]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(&block[208..]);
    for (sub, (out, scale)) in out.chunks_mut(16).zip(scales).enumerate() {
        let dl = d * f32::from(*scale as i8);
        for (i, out) in out.iter_mut().enumerate() {
            let at = 16 * sub + i;
            // 64 bytes hold 128 elements: low nibbles first.
            let byte = low[64 * (at / 128) + at % 64];
            let nibble = (byte >> (4 * (at % 128 / 64))) & 15;
            let q = (nibble | two_bits(high, at) << 4) as i8 - 32;
            *out = dl * f32::from(q);
        }
    }
}

/// Element `at` of pairs of bits: 32 bytes hold 128 elements, lowest bits first.
fn two_bits(packed: &[u8], at: usize) -> u8 {
    (packed[32 * (at / 128) + at % 32] >> (2 * (at % 128 / 32))) & 3
}

/// Element i of sub-block `sub`: 32 bytes hold two sub-blocks, low nibbles first.
fn nibble(packed: &[u8], sub: usize, i: usize) -> u8 {
    (packed[32 * (sub / 2) + i] >> (4 * (sub % 2))) & 15
}

/// 6 bits each: of the first four sub-blocks in one byte each, of the others in a nibble and the two bits
/// left over.
fn scale_and_min(scales: &[u8], sub: usize) -> (u8, u8) {
    let i = sub % 4;
    let (scale, min, rest) = (scales[i], scales[4 + i], scales[8 + i]);
    match sub < 4 {
        true => (scale & 63, min & 63),
        false => (
            (rest & 15) | (scale >> 6) << 4,
            (rest >> 4) | (min >> 6) << 4,
        ),
    }
}
