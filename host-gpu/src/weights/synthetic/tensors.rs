//! Names, shapes and values of a random checkpoint's tensors.

use std::io::{self, Write};

use half::bf16;

use super::Size;

/// Bytes of a bf16 element.
pub(super) const BYTES: usize = 2;

/// Elements made at a time.
const BLOCK_ELEMENTS: usize = 4096;

/// A tensor to be written.
pub(super) struct Tensor {
    pub name: String,
    pub shape: Vec<usize>,
    /// Mean of its elements.
    mean: f32,
    /// Standard deviation of its elements, which are uniform.
    deviation: f32,
}

/// All tensors in the order of the file.
///
/// Deviations keep activations near 1: 1/sqrt(k) for a linear layer, less by sqrt(2 * layers) for the two
/// that add to the residual stream. The tied embedding's gives logits a deviation near 4, so that greedy
/// tokens are decided clearly.
pub(super) fn all(size: &Size) -> Vec<Tensor> {
    let (h, i, d) = (size.hidden_size, size.intermediate_size, size.head_dim);
    let (q, kv) = (size.num_attention_heads * d, size.num_key_value_heads * d);
    let residual = 1.0 / (2.0 * size.num_hidden_layers as f32).sqrt();
    let mut tensors = vec![table(size.vocab_size, h)];
    for layer in 0..size.num_hidden_layers {
        let at = |name: &str| format!("model.layers.{layer}.{name}.weight");
        tensors.extend([
            gain(at("input_layernorm"), h),
            linear(at("self_attn.q_proj"), q, h, 1.0),
            linear(at("self_attn.k_proj"), kv, h, 1.0),
            linear(at("self_attn.v_proj"), kv, h, 1.0),
            linear(at("self_attn.o_proj"), h, q, residual),
            gain(at("self_attn.q_norm"), d),
            gain(at("self_attn.k_norm"), d),
            gain(at("post_attention_layernorm"), h),
            linear(at("mlp.gate_proj"), i, h, 1.0),
            linear(at("mlp.up_proj"), i, h, 1.0),
            linear(at("mlp.down_proj"), h, i, residual),
        ]);
    }
    tensors.push(gain("model.norm.weight".into(), h));
    tensors
}

fn table(vocab: usize, hidden: usize) -> Tensor {
    linear("model.embed_tokens.weight".into(), vocab, hidden, 4.0)
}

fn linear(name: String, n: usize, k: usize, factor: f32) -> Tensor {
    Tensor {
        name,
        shape: vec![n, k],
        mean: 0.0,
        deviation: factor / (k as f32).sqrt(),
    }
}

fn gain(name: String, length: usize) -> Tensor {
    Tensor {
        name,
        shape: vec![length],
        mean: 1.0,
        deviation: 0.1,
    }
}

impl Tensor {
    /// Number of elements.
    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Writes its elements, little-endian bf16.
    pub(super) fn write(&self, random: &mut Random, file: &mut impl Write) -> io::Result<()> {
        // 16 random bits u are uniform in -2^15..2^15, a deviation of 2^15 / sqrt(3).
        let scale = self.deviation * 3f32.sqrt() / 32768.0;
        let mut block = [0; BLOCK_ELEMENTS * BYTES];
        let mut left = self.elements();
        while left > 0 {
            let (elements, _) = block.as_chunks_mut::<{ 4 * BYTES }>();
            for four in elements {
                let bits = random.next().to_le_bytes();
                let (bits, _) = bits.as_chunks::<2>();
                for (out, bits) in four.chunks_exact_mut(BYTES).zip(bits) {
                    let value = self.mean + scale * f32::from(i16::from_le_bytes(*bits));
                    out.copy_from_slice(&bf16::from_f32(value).to_le_bytes());
                }
            }
            let count = left.min(BLOCK_ELEMENTS);
            file.write_all(&block[..count * BYTES])?;
            left -= count;
        }
        Ok(())
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): fast, seeded, and for benchmarks only.
pub(super) struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
