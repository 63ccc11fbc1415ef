//! One hash over every operation, to compare builds: native and Wasm, or two CPUs.

use sha2::{Digest, Sha256};
use talaria_arithmetic::rotary::frequencies;
use talaria_wire::manifest::{self, RopeFrequencies};

use super::exp::exp_in_place;
use super::{Heads, KvCache, KvMemory, Rope, add, add_bias, rms_norm, rms_norm_heads, swiglu};

/// SHA-256 over the bits of every operation's results on made-up inputs. Equal for every build of one
/// release, whatever the machine.
pub fn self_test_digest() -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut numbers = Numbers(0x7a1a);
    let parts = [exponentials, norms, activations, rotations, attention];
    for part in parts {
        for x in part(&mut numbers) {
            hash.update(x.to_bits().to_le_bytes());
        }
    }
    hash.finalize().into()
}

/// Every 65,521st float from -inf to +inf, NaNs left out, then a dense sample of softmax's arguments.
fn exponentials(numbers: &mut Numbers) -> Vec<f32> {
    let all = (0..=u32::MAX)
        .step_by(65_521)
        .map(f32::from_bits)
        .filter(|x| !x.is_nan());
    let mut x: Vec<f32> = all.collect();
    x.extend([f32::NEG_INFINITY, f32::INFINITY]);
    x.extend(numbers.take(4096, 88.0));
    exp_in_place(&mut x);
    x
}

fn norms(numbers: &mut Numbers) -> Vec<f32> {
    let mut out = Vec::new();
    for hidden_size in [1, 7, 16, 96, 1024, 4099] {
        out.extend(rms_norm(
            &numbers.take(3 * hidden_size, 4.0),
            hidden_size,
            1e-6,
        ));
    }
    let (mut heads, gain) = (numbers.take(5 * 80, 3.0), numbers.take(80, 2.0));
    rms_norm_heads(&mut heads, &gain, 1e-5);
    out.extend(heads);
    out
}

fn activations(numbers: &mut Numbers) -> Vec<f32> {
    let mut out = swiglu(&numbers.take(3 * 2 * 203, 30.0), 203);
    add(&mut out, &numbers.take(3 * 203, 1.0));
    add_bias(&mut out, &numbers.take(203, 1.0));
    out
}

fn rotations(numbers: &mut Numbers) -> Vec<f32> {
    let of_base = |theta| frequencies(theta, 128).collect::<Vec<f32>>();
    let kinds = [
        RopeFrequencies::Fixed(of_base(1e4)),
        RopeFrequencies::ByLength {
            short: of_base(1e6),
            long: of_base(3e7),
            original_max_position_embeddings: 4096,
        },
        RopeFrequencies::Dynamic {
            theta: 5e5,
            factor: 2.5,
            original_max_position_embeddings: 64,
        },
    ];
    let mut out = Vec::new();
    for (frequencies, attention_factor) in kinds.into_iter().zip([1.0, 1.190_238_1, 1.0]) {
        let rope = manifest::Rope {
            frequencies,
            attention_factor,
        };
        let rope = Rope::new(&rope, 128);
        for position in [0, 1, 63, 4097, 131_071] {
            let mut x = numbers.take(2 * 128, 5.0);
            rope.of_length(position + 1)
                .rotation(position)
                .apply(&mut x);
            out.extend(x);
        }
    }
    out
}

fn attention(numbers: &mut Numbers) -> Vec<f32> {
    let shapes = [
        (16, 8, 128, None),
        (7, 1, 24, Some(32)),
        (6, 2, 16, Some(1)),
        (3, 3, 64, None),
    ];
    let mut out = Vec::new();
    for (num_attention_heads, num_key_value_heads, head_dim, window) in shapes {
        let heads = Heads {
            num_attention_heads,
            num_key_value_heads,
            head_dim,
        };
        let mut cache = KvCache::new(heads, window, &KvMemory::default());
        for rows in [1, 50, 16, 1] {
            let first = cache.len();
            let kv = rows * heads.kv_size();
            cache.append(&numbers.take(kv, 2.0), &numbers.take(kv, 2.0));
            out.extend(cache.attend(&numbers.take(rows * heads.q_size(), 2.0), first));
        }
    }
    out
}

/// SplitMix64: made-up numbers that are exact in f32.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    /// `count` numbers in [-bound, bound).
    pub(super) fn take(&mut self, count: usize, bound: f32) -> Vec<f32> {
        let unit = |bits: u64| (bits >> 40) as f32 / (1 << 23) as f32 - 1.0;
        (0..count).map(|_| unit(self.next()) * bound).collect()
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
