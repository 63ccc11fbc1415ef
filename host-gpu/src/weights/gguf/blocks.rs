//! Quantised types in blocks of 32: one scale, sometimes one minimum, and small integers.
//!
//! By ggml's definition (`dequantize_row_*` in ggml-quants.c), in the same order of operations in f32, so
//! the values are those of `gguf.quants.dequantize` to the last bit.

/// Elements of a block.
pub const BLOCK: usize = 32;

/// A half-precision scale.
pub(super) fn half(bytes: &[u8]) -> f32 {
    match *bytes {
        [low, high] => half::f16::from_le_bytes([low, high]).to_f32(),
        _ => f32::NAN,
    }
}

/// `d * (q - 8)`: f16 d, then nibbles; low nibbles are the first half of the block.
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; BLOCK]) {
    let d = half(&block[..2]);
    nibbles(&block[2..], out, |q, _| d * (f32::from(q) - 8.0));
}

/// `d * q + m`: f16 d and m, then nibbles.
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; BLOCK]) {
    let (d, m) = (half(&block[..2]), half(&block[2..4]));
    nibbles(&block[4..], out, |q, _| d * f32::from(q) + m);
}

/// `d * (q - 16)`: f16 d, 32 fifth bits, then nibbles.
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; BLOCK]) {
    let d = half(&block[..2]);
    let high = high_bits(&block[2..6]);
    nibbles(&block[6..], out, |q, i| d * (f32::from(q | high(i)) - 16.0));
}

/// `d * q + m`: f16 d and m, 32 fifth bits, then nibbles.
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; BLOCK]) {
    let (d, m) = (half(&block[..2]), half(&block[2..4]));
    let high = high_bits(&block[4..8]);
    nibbles(&block[8..], out, |q, i| d * f32::from(q | high(i)) + m);
}

/// `d * q`: f16 d, then int8.
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; BLOCK]) {
    let d = half(&block[..2]);
    for (out, q) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(*q as i8) * d;
    }
}

fn nibbles(packed: &[u8], out: &mut [f32; BLOCK], value: impl Fn(u8, usize) -> f32) {
    for (i, byte) in packed.iter().take(BLOCK / 2).enumerate() {
        out[i] = value(byte & 15, i);
        out[i + BLOCK / 2] = value(byte >> 4, i + BLOCK / 2);
    }
}

/// The fifth bit of element i, in its place.
fn high_bits(bytes: &[u8]) -> impl Fn(usize) -> u8 {
    let bits = u32::from_le_bytes(bytes.try_into().unwrap_or_default());
    move |i| ((bits >> i) as u8 & 1) << 4
}
