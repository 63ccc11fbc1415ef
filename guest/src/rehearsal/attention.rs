//! Attention of one layer over made-up positions.

use crate::ops::{Heads, KvCache, KvMemory};

/// Most positions, and most elements of all their rows, that are made up.
const MAX_POSITIONS: u32 = 1 << 17;
const MAX_ELEMENTS: u64 = 1 << 27;

/// A cache, and the last rows' queries.
pub struct Attention {
    cache: KvCache,
    q: Vec<f32>,
    first: usize,
}

impl Attention {
    /// A cache of `context` positions and queries of the last `rows` of them.
    pub fn new(heads: Heads, context: u32, rows: u32) -> Result<Self, String> {
        let positions = (1..=MAX_POSITIONS).contains(&context) && (1..=context).contains(&rows);
        let grouped = heads.num_key_value_heads > 0
            && heads.num_attention_heads > 0
            && heads
                .num_attention_heads
                .is_multiple_of(heads.num_key_value_heads);
        let row = (heads.num_attention_heads as u64).saturating_mul(heads.head_dim as u64);
        let fits = row > 0 && row.saturating_mul(u64::from(context)) <= MAX_ELEMENTS;
        if !(positions && grouped && fits) {
            return Err(format!(
                "no rehearsal with {heads:?}, {context} positions and {rows} rows"
            ));
        }
        let (context, rows) = (context as usize, rows as usize);
        let mut cache = KvCache::new(heads, None, &KvMemory::default());
        let kv = numbers(context * heads.kv_size());
        cache.append(&kv, &kv);
        Ok(Self {
            cache,
            q: numbers(rows * heads.q_size()),
            first: context - rows,
        })
    }

    /// Attends; the result's bits, mixed: equal on every machine.
    pub fn attend(&self) -> u64 {
        let out = self.cache.attend(&self.q, self.first);
        // FNV-1a, word by word.
        out.iter().fold(0xcbf2_9ce4_8422_2325, |digest, x| {
            (digest ^ u64::from(x.to_bits())).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

/// Made-up numbers in [-1, 1).
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        // The generator of Numerical Recipes.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attends_to_what_it_made_up_or_refuses() {
        let heads = Heads {
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 8,
        };
        let one = Attention::new(heads, 40, 1).unwrap().attend();
        assert_eq!(one, Attention::new(heads, 40, 1).unwrap().attend());
        assert_ne!(one, Attention::new(heads, 41, 1).unwrap().attend());
        let odd = Heads {
            num_key_value_heads: 3,
            ..heads
        };
        let none = Heads {
            num_key_value_heads: 0,
            ..heads
        };
        for (heads, context, rows) in [
            (heads, 0, 1),
            (heads, 4, 5),
            (heads, u32::MAX, 1),
            (odd, 4, 1),
            (none, 4, 1),
        ] {
            assert!(Attention::new(heads, context, rows).is_err());
        }
    }
}
