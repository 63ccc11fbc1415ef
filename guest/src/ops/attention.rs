//! Causal attention of grouped query heads over a session's key/value cache.
//!
//! Both halves of attention are one kernel, [`lanes::weighted_sums`], because the cache stores keys
//! transposed: scores of 16 positions are the sum over d of `q[d] * keys[d][16 positions]`, and 16
//! outputs are the sum over positions of `p[position] * values[position][16 outputs]`. Neither
//! needs a sum across a register, and every load is contiguous.

mod block;
mod cache;

pub use block::KvMemory;
pub use cache::{Heads, KvCache};

use std::ops::Range;

use zeroize::Zeroizing;

use super::exp::exp_in_place;
use super::lanes::{self, LANES, Lanes, map_in_place};

/// Rows that share one pass over the cache. What is read serves all of them, and their scores stay in
/// the core's cache.
const TILE_ROWS: usize = 8;

impl KvCache {
    /// Attention of the rows at `first_position..`: `q (rows, heads, head_dim) -> (rows, heads, head_dim)`.
    /// Row i sees its own position and those before it, within the window. Their keys and values were
    /// appended before, at the latest with these rows.
    ///
    /// softmax(q k / sqrt(head_dim)) v, query head h reading key and value head
    /// `h / (num_attention_heads / num_key_value_heads)`.
    pub fn attend(&self, q: &[f32], first_position: usize) -> Vec<f32> {
        let width = self.heads().q_size();
        assert!(
            q.len().is_multiple_of(width),
            "q is not made of rows of {width}"
        );
        let mut out = vec![0.0; q.len()];
        let tiles = q
            .chunks(TILE_ROWS * width)
            .zip(out.chunks_mut(TILE_ROWS * width));
        for (i, (q, out)) in tiles.enumerate() {
            self.attend_tile(q, first_position + i * TILE_ROWS, out);
        }
        out
    }

    /// At most [`TILE_ROWS`] rows, at least one: `q (rows, heads, head_dim) -> out (rows, heads, head_dim)`.
    fn attend_tile(&self, q: &[f32], first_position: usize, out: &mut [f32]) {
        let rows = q.len() / self.heads().q_size();
        let seen: Vec<_> = (first_position..)
            .take(rows)
            .map(|p| self.seen_from(p))
            .collect();
        let mut scores = Scores::new(&seen, self.heads().num_attention_heads);
        self.score(q, &seen, &mut scores);
        let totals: Vec<f32> = scores.heads_mut().map(softmax_numerators).collect();
        self.add_values(&scores, &seen, out);
        for (out, total) in out.chunks_exact_mut(self.heads().head_dim).zip(totals) {
            out.iter_mut().for_each(|x| *x /= total);
        }
    }

    /// Scores of every position that a row sees; -inf elsewhere.
    fn score(&self, q: &[f32], seen: &[Range<usize>], scores: &mut Scores) {
        let Heads {
            num_key_value_heads,
            head_dim: d,
            ..
        } = self.heads();
        let (group, scale) = (self.heads().group(), self.heads().scale());
        for (index, block) in scores
            .blocks
            .clone()
            .zip(self.blocks(scores.blocks.clone()))
        {
            for kv_head in 0..num_key_value_heads {
                let keys = block.keys(kv_head);
                for (row, slots) in rows_that_see(index, seen) {
                    let first = self.first_query_head(row, kv_head);
                    let q = |g| &q[(first + g) * d..][..d];
                    lanes::each_weighted_sum(group, q, keys, |g, sums| {
                        let scores = &mut scores.head_mut(first + g, index)[slots.clone()];
                        for (score, sum) in scores.iter_mut().zip(&sums[slots.clone()]) {
                            *score = sum * scale;
                        }
                    });
                }
            }
        }
    }

    /// out (rows, heads, head_dim) += p (rows, heads, positions) @ values (positions, head_dim).
    fn add_values(&self, p: &Scores, seen: &[Range<usize>], out: &mut [f32]) {
        let Heads {
            num_key_value_heads,
            head_dim: d,
            ..
        } = self.heads();
        let group = self.heads().group();
        for (index, block) in p.blocks.clone().zip(self.blocks(p.blocks.clone())) {
            for kv_head in 0..num_key_value_heads {
                for (row, slots) in rows_that_see(index, seen) {
                    let first = self.first_query_head(row, kv_head);
                    let p = |g| &p.head(first + g, index)[slots.clone()];
                    for (tile, values) in block.values(kv_head).chunks_exact(LANES).enumerate() {
                        let values = &values[slots.clone()];
                        lanes::each_weighted_sum(group, p, values, |g, sums| {
                            let head = &mut out[(first + g) * d..][..d];
                            add_lanes(&mut head[tile * LANES..], &sums);
                        });
                    }
                }
            }
        }
    }

    /// Index among all heads of all rows of the first query head that reads a key head.
    fn first_query_head(&self, row: usize, kv_head: usize) -> usize {
        row * self.heads().num_attention_heads + kv_head * self.heads().group()
    }
}

/// Scores, then softmax numerators, of a tile: `(rows, heads, blocks, 16 positions)`.
struct Scores {
    /// Blocks that any row of the tile sees, by index from position 0.
    blocks: Range<usize>,
    lanes: Zeroizing<Vec<Lanes>>,
}

impl Scores {
    fn new(seen: &[Range<usize>], num_attention_heads: usize) -> Self {
        let start = seen.iter().map(|s| s.start).min().unwrap_or(0);
        let end = seen.iter().map(|s| s.end).max().unwrap_or(0);
        let blocks = start / LANES..end.div_ceil(LANES);
        let lanes =
            vec![[f32::NEG_INFINITY; LANES]; seen.len() * num_attention_heads * blocks.len()];
        Self {
            blocks,
            lanes: Zeroizing::new(lanes),
        }
    }

    /// One head's scores of one block.
    fn head(&self, head: usize, block: usize) -> &Lanes {
        &self.lanes[head * self.blocks.len() + block - self.blocks.start]
    }

    fn head_mut(&mut self, head: usize, block: usize) -> &mut Lanes {
        &mut self.lanes[head * self.blocks.len() + block - self.blocks.start]
    }

    /// Every head's scores `(blocks, 16 positions)`.
    fn heads_mut(&mut self) -> impl Iterator<Item = &mut [Lanes]> {
        self.lanes.chunks_exact_mut(self.blocks.len())
    }
}

/// Rows that see positions of a block, and which.
fn rows_that_see(
    block: usize,
    seen: &[Range<usize>],
) -> impl Iterator<Item = (usize, Range<usize>)> {
    let origin = block * LANES;
    seen.iter().enumerate().filter_map(move |(row, seen)| {
        let start = seen.start.clamp(origin, origin + LANES) - origin;
        let end = seen.end.clamp(origin, origin + LANES) - origin;
        (start < end).then_some((row, start..end))
    })
}

/// Numerators below it, 2^-64 of the largest, count as 0: else their products with values could be subnormal, which
/// processors take longer for, so that time would tell of scores (examples/dudect.rs).
const NEGLIGIBLE: f32 = f32::from_bits((127 - 64) << 23);

/// Scores to exp(score - max), and their sum.
fn softmax_numerators(scores: &mut [Lanes]) -> f32 {
    let max = lanes::max(scores);
    let mut total = [0.0; LANES];
    for row in scores {
        row.iter_mut().for_each(|s| *s -= max);
        exp_in_place(row);
        map_in_place(row, |p| if p < NEGLIGIBLE { 0.0 } else { p });
        add_lanes(&mut total, row);
    }
    lanes::sum(total)
}

/// out += lanes, as far as out goes: the last tile of a head may be partly padding.
fn add_lanes(out: &mut [f32], lanes: &Lanes) {
    for (out, x) in out.iter_mut().zip(lanes) {
        *out += x;
    }
}

#[cfg(test)]
mod tests;
