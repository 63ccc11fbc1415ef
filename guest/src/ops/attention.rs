//! Causal attention of grouped query heads over a session's key/value cache.
//!
//! Both halves of attention are one kernel, [`lanes::weighted_sums`], because the cache stores keys
//! transposed: scores of 16 positions are the sum over d of `q[d] * keys[d][16 positions]`, and 16
//! outputs are the sum over positions of `p[position] * values[position][16 outputs]`. Neither
//! needs a sum across a register, and every load is contiguous.

mod cache;

pub use cache::{Heads, KvCache};

use std::ops::Range;

use zeroize::Zeroizing;

use super::exp::exp_in_place;
use super::lanes::{self, LANES, Lanes};
use cache::Block;

impl KvCache {
    /// Attention of the rows at `first_position..`: `q (rows, heads, head_dim) -> (rows, heads, head_dim)`.
    /// Row i sees its own position and those before it, within the window. Their keys and values were
    /// appended before, at the latest with these rows.
    ///
    /// softmax(q k / sqrt(head_dim)) v, query head h reading key and value head
    /// `h / (num_attention_heads / num_key_value_heads)`.
    pub fn attend(&self, q: &[f32], first_position: usize) -> Vec<f32> {
        let heads = self.heads();
        let (width, d) = (heads.q_size(), heads.head_dim);
        assert!(
            q.len().is_multiple_of(width),
            "q is not made of rows of {width}"
        );
        let span = heads.group() * d;
        let mut out = vec![0.0; q.len()];
        // Key heads outside, rows inside: one head's keys and values stay in the cache of the core.
        for kv_head in 0..heads.num_key_value_heads {
            let rows = q.chunks_exact(width).zip(out.chunks_exact_mut(width));
            for (i, (q, out)) in rows.enumerate() {
                let group = kv_head * span..(kv_head + 1) * span;
                let seen = self.seen_from(first_position + i);
                self.attend_group(kv_head, &q[group.clone()], seen, &mut out[group]);
            }
        }
        out
    }

    /// The query heads of one key head at one position: `q (group, head_dim) -> out (group, head_dim)`.
    fn attend_group(&self, kv_head: usize, q: &[f32], seen: Range<usize>, out: &mut [f32]) {
        let d = self.heads().head_dim;
        for (q, out) in q.chunks(2 * d).zip(out.chunks_mut(2 * d)) {
            match q.split_at(d) {
                (q, []) => self.attend_heads(kv_head, [q], &seen, out),
                (q0, q1) => self.attend_heads(kv_head, [q0, q1], &seen, out),
            }
        }
    }

    /// N query heads that share one key head: `q N x (head_dim,) -> out (N, head_dim)`.
    fn attend_heads<const N: usize>(
        &self,
        kv_head: usize,
        q: [&[f32]; N],
        seen: &Range<usize>,
        out: &mut [f32],
    ) {
        let mut scores = self.scores(kv_head, q, seen);
        let totals = scores.each_mut().map(|scores| softmax_numerators(scores));
        let p = scores.each_ref().map(|scores| scores.as_flattened());
        self.add_values(kv_head, p, seen, out);
        for (out, total) in out.chunks_exact_mut(self.heads().head_dim).zip(totals) {
            out.iter_mut().for_each(|x| *x /= total);
        }
    }

    /// Scaled scores of the blocks that hold `seen`; -inf in lanes outside of it.
    fn scores<const N: usize>(
        &self,
        kv_head: usize,
        q: [&[f32]; N],
        seen: &Range<usize>,
    ) -> [Zeroizing<Vec<Lanes>>; N] {
        let scale = self.heads().scale();
        let blocks = self.blocks_of(seen);
        let mut scores = q.map(|_| Zeroizing::new(Vec::with_capacity(blocks.len())));
        for block in blocks {
            let sums = lanes::weighted_sums(q, block.keys(kv_head));
            for (scores, sums) in scores.iter_mut().zip(sums) {
                scores.push(sums.map(|s| s * scale));
            }
        }
        for scores in &mut scores {
            hide_outside(scores.as_flattened_mut(), seen);
        }
        scores
    }

    /// out (N, head_dim) += p (N, positions) @ values (positions, head_dim), over `seen`.
    fn add_values<const N: usize>(
        &self,
        kv_head: usize,
        p: [&[f32]; N],
        seen: &Range<usize>,
        out: &mut [f32],
    ) {
        let d = self.heads().head_dim;
        let offset = seen.start - seen.start % LANES;
        for (b, block) in self.blocks_of(seen).enumerate() {
            let origin = offset + b * LANES;
            let slots = seen.start.max(origin) - origin..seen.end.min(origin + LANES) - origin;
            let p = p.map(|p| &p[b * LANES..][slots.clone()]);
            for (tile, values) in block.values(kv_head).chunks_exact(LANES).enumerate() {
                let sums = lanes::weighted_sums(p, &values[slots.clone()]);
                for (out, sums) in out.chunks_exact_mut(d).zip(&sums) {
                    add_lanes(&mut out[tile * LANES..], sums);
                }
            }
        }
    }

    fn blocks_of(&self, seen: &Range<usize>) -> impl ExactSizeIterator<Item = &Block> {
        self.blocks(seen.start / LANES..seen.end.div_ceil(LANES))
    }
}

/// Sets scores of positions outside of `seen` to -inf. The first score is that of the first position of
/// the block that holds `seen.start`.
fn hide_outside(scores: &mut [f32], seen: &Range<usize>) {
    let start = seen.start % LANES;
    scores[..start].fill(f32::NEG_INFINITY);
    scores[start + seen.len()..].fill(f32::NEG_INFINITY);
}

/// Scores to exp(score - max), and their sum.
fn softmax_numerators(scores: &mut [Lanes]) -> f32 {
    let max = lanes::max(scores);
    let mut total = [0.0; LANES];
    for row in scores {
        row.iter_mut().for_each(|s| *s -= max);
        exp_in_place(row);
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
