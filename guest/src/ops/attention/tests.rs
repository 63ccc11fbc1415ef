use proptest::prelude::*;

use super::*;
use crate::ops::self_test::Numbers;

fn heads(num_attention_heads: usize, num_key_value_heads: usize, head_dim: usize) -> Heads {
    Heads {
        num_attention_heads,
        num_key_value_heads,
        head_dim,
    }
}

/// Made-up rows of one sequence.
struct Sequence {
    heads: Heads,
    /// (positions, heads, head_dim)
    q: Vec<f32>,
    /// (positions, kv_heads, head_dim)
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Sequence {
    fn new(heads: Heads, positions: usize, seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let mut rows = |width, bound| numbers.take(positions * width, bound);
        let q = rows(heads.q_size(), 3.0);
        let k = rows(heads.kv_size(), 3.0);
        let v = rows(heads.kv_size(), 1.0);
        Self { heads, q, k, v }
    }

    fn positions(&self) -> usize {
        self.q.len() / self.heads.q_size()
    }

    /// Outputs of all rows when they come in chunks of these sizes, the last repeated to the end.
    fn attend_in_chunks(&self, chunks: &[usize], window: Option<u32>) -> Vec<f32> {
        let mut cache = KvCache::new(self.heads, window, &KvMemory::default());
        let mut sizes = chunks
            .iter()
            .chain(std::iter::repeat(&chunks[chunks.len() - 1]));
        let mut out = Vec::new();
        while cache.len() < self.positions() {
            let first = cache.len();
            let rows = first..self.positions().min(first + sizes.next().unwrap());
            let of = |x: &[f32], width| x[rows.start * width..rows.end * width].to_vec();
            let width = self.heads.kv_size();
            cache.append(&of(&self.k, width), &of(&self.v, width));
            out.extend(cache.attend(&of(&self.q, self.heads.q_size()), first));
        }
        out
    }

    /// The definition, in f64.
    fn reference(&self, window: Option<u32>) -> Vec<f64> {
        let Heads {
            num_attention_heads,
            num_key_value_heads,
            head_dim: d,
        } = self.heads;
        let group = num_attention_heads / num_key_value_heads;
        let at = |x: &[f32], i| f64::from(x[i]);
        let mut out = Vec::new();
        for position in 0..self.positions() {
            let first = window.map_or(0, |w| (position + 1).saturating_sub(w as usize));
            for head in 0..num_attention_heads {
                let q = (position * num_attention_heads + head) * d;
                let kv = |j| (j * num_key_value_heads + head / group) * d;
                let score = |j| {
                    (0..d)
                        .map(|e| at(&self.q, q + e) * at(&self.k, kv(j) + e))
                        .sum()
                };
                let scores: Vec<f64> = (first..=position).map(score).collect();
                let scaled = scores.iter().map(|s: &f64| s / (d as f64).sqrt());
                let max = scaled.clone().fold(f64::NEG_INFINITY, f64::max);
                let p: Vec<f64> = scaled.map(|s| (s - max).exp()).collect();
                let total: f64 = p.iter().sum();
                for e in 0..d {
                    let weighted = p
                        .iter()
                        .zip(first..)
                        .map(|(p, j)| p * at(&self.v, kv(j) + e));
                    out.push(weighted.sum::<f64>() / total);
                }
            }
        }
        out
    }
}

fn assert_close(computed: &[f32], exact: &[f64], tolerance: f64) {
    assert_eq!(computed.len(), exact.len());
    for (i, (y, exact)) in computed.iter().zip(exact).enumerate() {
        assert!(
            (f64::from(*y) - exact).abs() <= tolerance,
            "element {i}: {y}, expected {exact}"
        );
    }
}

/// Values are within 1, so this is relative to the largest.
const TOLERANCE: f64 = 1e-5;

#[test]
fn matches_the_definition() {
    for window in [None, Some(1), Some(5), Some(16), Some(32), Some(1000)] {
        for heads in [
            heads(4, 2, 16),
            heads(7, 1, 24),
            heads(3, 3, 2),
            heads(6, 2, 80),
        ] {
            let sequence = Sequence::new(heads, 75, 5);
            let out = sequence.attend_in_chunks(&[1], window);
            assert_close(&out, &sequence.reference(window), TOLERANCE);
        }
    }
}

#[test]
fn matches_the_definition_at_a_long_context() {
    let sequence = Sequence::new(heads(2, 1, 128), 1500, 6);
    let out = sequence.attend_in_chunks(&[1500], None);
    assert_close(&out, &sequence.reference(None), TOLERANCE);
}

#[test]
fn a_window_of_1_returns_the_value() {
    let sequence = Sequence::new(heads(3, 3, 20), 40, 7);
    assert_eq!(sequence.attend_in_chunks(&[7], Some(1)), sequence.v);
}

proptest! {
    #[test]
    fn random_shapes_match_and_chunks_change_no_bit(
        kv_heads in 1usize..4,
        group in 1usize..6,
        half in 1usize..40,
        positions in 1usize..70,
        window in prop::option::of(1u32..80),
        chunks in prop::collection::vec(1usize..40, 1..5),
        seed: u64,
    ) {
        let sequence = Sequence::new(heads(kv_heads * group, kv_heads, 2 * half), positions, seed);
        let out = sequence.attend_in_chunks(&[1], window);
        assert_close(&out, &sequence.reference(window), TOLERANCE);
        prop_assert_eq!(bits(&sequence.attend_in_chunks(&chunks, window)), bits(&out));
        prop_assert_eq!(bits(&sequence.attend_in_chunks(&[positions], window)), bits(&out));
    }
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// A huge key or value that a row must not see would show even with weight 0: 0 * inf is NaN.
#[test]
fn what_is_not_seen_has_no_influence() {
    let window = Some(9);
    let sequence = Sequence::new(heads(4, 2, 16), 60, 8);
    let clean = sequence.attend_in_chunks(&[60], window);
    for poisoned in [0, 13, 31, 44, 59] {
        let mut sequence = Sequence::new(sequence.heads, 60, 8);
        let (q_size, kv_size) = (sequence.heads.q_size(), sequence.heads.kv_size());
        let row = poisoned * kv_size..(poisoned + 1) * kv_size;
        sequence.k[row.clone()].fill(f32::INFINITY);
        sequence.v[row].fill(f32::NAN);
        let out = sequence.attend_in_chunks(&[60], window);
        for position in 0..60 {
            let row = position * q_size..(position + 1) * q_size;
            let sees = (poisoned..poisoned + 9).contains(&position);
            assert_eq!(
                out[row.clone()] != clean[row],
                sees,
                "{position} sees {poisoned}"
            );
        }
    }
}

#[test]
fn a_window_bounds_memory() {
    let heads = heads(2, 1, 32);
    let mut cache = KvCache::new(heads, Some(40), &KvMemory::default());
    let row = vec![1.0; heads.kv_size()];
    for _ in 0..1000 {
        let expected = cache.bytes() + cache.bytes_to_append(1);
        cache.append(&row, &row);
        assert!(cache.bytes() <= expected);
        assert!(cache.bytes() <= KvCache::bytes_for(heads, Some(40), usize::MAX, 1));
    }
    assert_eq!(cache.len(), 1000);
}

#[test]
fn memory_grows_block_by_block() {
    let heads = heads(2, 1, 32);
    let mut cache = KvCache::new(heads, None, &KvMemory::default());
    assert_eq!(cache.bytes(), 0);
    let row = vec![1.0; heads.kv_size()];
    for positions in 1..100 {
        cache.append(&row, &row);
        assert_eq!(cache.bytes(), KvCache::bytes_for(heads, None, positions, 1));
    }
    // Head dimensions that are multiples of 16 take 8 bytes an element of the row, no more.
    let bytes = KvCache::bytes_for(heads, None, 160, 1);
    assert_eq!(bytes, (160 * heads.kv_size() * 8) as u64);
}

#[test]
#[should_panic(expected = "sees dropped positions")]
fn rows_before_the_last_append_cannot_attend_in_a_window() {
    let heads = heads(1, 1, 2);
    let mut cache = KvCache::new(heads, Some(4), &KvMemory::default());
    let rows = vec![0.0; 40 * heads.kv_size()];
    cache.append(&rows, &rows);
    cache.append(&rows[..2], &rows[..2]);
    cache.attend(&[0.0; 2], 3);
}

/// A clone shares blocks; whoever goes on from it leaves the other's positions as they were.
#[test]
fn caches_share_blocks_until_one_is_written_to() {
    let heads = Heads {
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
    };
    let block = KvCache::block_bytes(heads);
    let rows = |first: usize, count: usize| -> Vec<f32> {
        let elements = first * 8..(first + count) * 8;
        elements.map(|i| (i as f32 * 0.7).sin()).collect()
    };
    let q: Vec<f32> = (0..16).map(|i| (i as f32).cos()).collect();
    let memory = KvMemory::default();
    let mut first = KvCache::new(heads, None, &memory);
    first.append(&rows(0, 40), &rows(100, 40));
    assert_eq!(memory.used(), 3 * block);
    let before = first.attend(&q, 39);

    let mut second = first.clone();
    assert_eq!(memory.used(), 3 * block);
    second.truncate(36);
    // The last block of both is one: it is copied, and one more begins.
    assert_eq!(second.bytes_to_append(1), block);
    assert_eq!(second.bytes_to_append(13), 2 * block);
    second.append(&rows(300, 13), &rows(400, 13));
    assert_eq!(memory.used(), 5 * block);
    assert_eq!(first.attend(&q, 39), before);

    // As if nothing had been shared.
    let mut alone = KvCache::new(heads, None, &KvMemory::default());
    alone.append(&rows(0, 36), &rows(100, 36));
    alone.append(&rows(300, 13), &rows(400, 13));
    assert_eq!(second.attend(&q, 48), alone.attend(&q, 48));

    drop(first);
    assert_eq!(memory.used(), 4 * block);
    assert_eq!(second.bytes_to_append(1), 0, "only its own");
    drop(second);
    assert_eq!(memory.used(), 0);
}

#[test]
fn a_cache_reaches_back_as_far_as_its_window_left_blocks() {
    let heads = Heads {
        num_attention_heads: 1,
        num_key_value_heads: 1,
        head_dim: 8,
    };
    let mut cache = KvCache::new(heads, Some(20), &KvMemory::default());
    for _ in 0..100 {
        cache.append(&[1.0; 8], &[1.0; 8]);
    }
    // Position 99 was appended when 80 was the first to be seen: blocks from 80 on are there.
    assert!(cache.reaches(100) && !cache.reaches(101));
    assert!(cache.reaches(99) && !cache.reaches(98));
    let whole = KvCache::new(heads, None, &KvMemory::default());
    assert!(whole.reaches(0) && !whole.reaches(1));
}
