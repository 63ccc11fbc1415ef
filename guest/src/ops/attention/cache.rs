//! Keys and values of one session and layer, in blocks that sessions may share.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use talaria_wire::manifest::Decoder;

use super::block::{BLOCK_POSITIONS, Block, KvMemory};
use crate::ops::lanes::LANES;

/// Shape of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads; a multiple of `num_key_value_heads`.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

impl Heads {
    /// Elements of all query heads of a row.
    pub fn q_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Elements of all key heads of a row, and of all value heads.
    pub fn kv_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Query heads that share a key head.
    pub(super) fn group(&self) -> usize {
        self.num_attention_heads / self.num_key_value_heads
    }

    /// Rows of [`LANES`] elements that hold one head's values at one position.
    pub(super) const fn tiles(&self) -> usize {
        self.head_dim.div_ceil(LANES)
    }

    /// Factor of the scores, 1 / sqrt(head_dim).
    pub(super) fn scale(&self) -> f32 {
        (1.0 / (self.head_dim as f64).sqrt()) as f32
    }
}

impl From<&Decoder> for Heads {
    fn from(decoder: &Decoder) -> Self {
        Self {
            num_attention_heads: decoder.num_attention_heads as usize,
            num_key_value_heads: decoder.num_key_value_heads as usize,
            head_dim: decoder.head_dim as usize,
        }
    }
}

/// Keys and values of one session and layer. Grows block by block, so that nothing is moved and nothing secret is left
/// behind; a block is zeroized when the last cache that has it gives it up, because of its window or on drop.
///
/// A clone has the same blocks, not copies. Blocks are full but for the last, and only the last is written to: a cache
/// that appends to one that others have too makes its own copy first.
#[derive(Clone)]
pub struct KvCache {
    heads: Heads,
    /// Position i sees j with `i - window < j <= i`; none: all j <= i.
    window: Option<usize>,
    memory: KvMemory,
    /// Blocks given up because no window reaches them.
    dropped: usize,
    blocks: VecDeque<Rc<Block>>,
    /// Positions appended, dropped ones included.
    len: usize,
}

impl KvCache {
    /// An empty cache, whose blocks go to the account of `memory`. `window` as in the manifest: at least 1 if there is
    /// one.
    pub fn new(heads: Heads, window: Option<u32>, memory: &KvMemory) -> Self {
        assert!(window != Some(0), "a window of 0 sees nothing");
        let window = window.map(|w| w as usize);
        Self {
            heads,
            window,
            memory: memory.clone(),
            dropped: 0,
            blocks: VecDeque::new(),
            len: 0,
        }
    }

    /// Positions appended so far; the next row's position.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of a block of [`BLOCK_POSITIONS`] positions.
    pub fn block_bytes(heads: Heads) -> u64 {
        Block::bytes(heads)
    }

    /// Most bytes that a session comes to by so many positions, if it never appends more than `batch_rows` at a time.
    pub fn bytes_for(
        heads: Heads,
        window: Option<u32>,
        positions: usize,
        batch_rows: usize,
    ) -> u64 {
        let all = positions.div_ceil(BLOCK_POSITIONS);
        let blocks = window.map_or(all, |window| {
            // What the first row of an append sees, and those rows: they may begin with the last position of a block.
            let held = (window as usize - 1).saturating_add(batch_rows.max(1));
            all.min(1 + (held - 1).div_ceil(BLOCK_POSITIONS))
        });
        blocks as u64 * Self::block_bytes(heads)
    }

    /// Bytes held now, those of shared blocks included.
    pub fn bytes(&self) -> u64 {
        self.blocks.len() as u64 * Self::block_bytes(self.heads)
    }

    /// Bytes that an append of so many rows adds to the account, less those that it gives up first.
    pub fn bytes_to_append(&self, rows: usize) -> u64 {
        let blocks = |positions: usize| positions.div_ceil(BLOCK_POSITIONS);
        let new = blocks(self.len + rows) - blocks(self.len);
        let partial = !self.len.is_multiple_of(BLOCK_POSITIONS);
        let shared = |block: &Rc<Block>| Rc::strong_count(block) > 1;
        let copied = rows > 0 && partial && self.blocks.back().is_some_and(shared);
        let unseen = (self.first_seen(self.len) / BLOCK_POSITIONS).saturating_sub(self.dropped);
        let freed = self
            .blocks
            .iter()
            .take(unseen)
            .filter(|block| !shared(block));
        let more = (new + usize::from(copied)).saturating_sub(freed.count());
        more as u64 * Self::block_bytes(self.heads)
    }

    /// Appends rows at the next positions: `k, v (rows, kv_heads, head_dim)`. Gives up blocks that the
    /// first of these rows and all later ones do not see, so that earlier rows cannot attend any more.
    pub fn append(&mut self, k: &[f32], v: &[f32]) {
        let width = self.heads.kv_size();
        assert_eq!(k.len(), v.len(), "keys and values differ in length");
        assert!(
            k.len().is_multiple_of(width),
            "keys are not rows of {width}"
        );
        assert!(
            self.reaches(self.len),
            "position {} would see dropped positions",
            self.len
        );
        self.drop_unseen();
        for (k, v) in k.chunks_exact(width).zip(v.chunks_exact(width)) {
            let slot = self.len % BLOCK_POSITIONS;
            if slot == 0 {
                let block = Block::new(self.heads, &self.memory);
                self.blocks.push_back(Rc::new(block));
            }
            if let Some(block) = self.blocks.back_mut() {
                Rc::make_mut(block).write(slot, k, v);
            }
            self.len += 1;
        }
    }

    /// Forgets the last positions, down to so many. If the cache [reaches](Self::reaches) there, it goes on as if they
    /// had never been.
    pub fn truncate(&mut self, positions: usize) {
        self.len = self.len.min(positions);
        let blocks = self
            .len
            .div_ceil(BLOCK_POSITIONS)
            .saturating_sub(self.dropped);
        self.blocks.truncate(blocks);
    }

    /// Whether the cache has so many positions, and all of them that the next one sees.
    pub fn reaches(&self, positions: usize) -> bool {
        positions <= self.len && self.first_seen(positions) >= self.dropped * BLOCK_POSITIONS
    }

    /// Makes the values of all positions no numbers.
    #[cfg(test)]
    pub(crate) fn poison(&mut self) {
        for block in &mut self.blocks {
            Rc::make_mut(block).poison();
        }
    }

    /// Positions that a row sees, itself included.
    pub(super) fn seen_from(&self, position: usize) -> Range<usize> {
        assert!(
            position < self.len,
            "position {position} of {} attends",
            self.len
        );
        let start = self.first_seen(position);
        assert!(
            start >= self.dropped * BLOCK_POSITIONS,
            "position {position} sees dropped positions"
        );
        start..position + 1
    }

    /// Blocks by index from position 0.
    pub(super) fn blocks(&self, indices: Range<usize>) -> impl ExactSizeIterator<Item = &Block> {
        let blocks = self
            .blocks
            .range(indices.start - self.dropped..indices.end - self.dropped);
        blocks.map(|block| &**block)
    }

    pub(super) fn heads(&self) -> Heads {
        self.heads
    }

    fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |w| (position + 1).saturating_sub(w))
    }

    /// Gives up blocks that the next position does not see.
    fn drop_unseen(&mut self) {
        let first_seen = self.first_seen(self.len);
        while (self.dropped + 1) * BLOCK_POSITIONS <= first_seen
            && self.blocks.pop_front().is_some()
        {
            self.dropped += 1;
        }
    }
}
