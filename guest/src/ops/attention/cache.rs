//! Keys and values of one session and layer, in blocks of 16 positions.

use std::collections::VecDeque;
use std::ops::Range;

use talaria_wire::manifest::Decoder;
use zeroize::Zeroizing;

use crate::ops::lanes::{LANES, Lanes};

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

    /// Factor of the scores, 1 / sqrt(head_dim).
    pub(super) fn scale(&self) -> f32 {
        (1.0 / (self.head_dim as f64).sqrt()) as f32
    }

    /// Rows of [`LANES`] elements that hold one head's values at one position.
    fn tiles(&self) -> usize {
        self.head_dim.div_ceil(LANES)
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

/// Keys and values of one session and layer. Grows block by block, so that nothing is moved and nothing
/// secret is left behind; blocks are zeroized when the window has left them and on drop.
#[derive(Clone)]
pub struct KvCache {
    heads: Heads,
    /// Position i sees j with `i - window < j <= i`; none: all j <= i.
    window: Option<usize>,
    /// Blocks given up because no window reaches them.
    dropped: usize,
    blocks: VecDeque<Block>,
    /// Positions appended, dropped ones included.
    len: usize,
    memory: KvMemory,
}

#[derive(Clone, Default)]
pub struct KvMemory(std::rc::Rc<std::cell::Cell<u64>>);
impl KvMemory {
    pub fn used(&self) -> u64 {
        self.0.get()
    }
}

impl KvCache {
    /// An empty cache. `window` as in the manifest: at least 1 if there is one.
    pub fn new(heads: Heads, window: Option<u32>, memory: &KvMemory) -> Self {
        assert!(window != Some(0), "a window of 0 sees nothing");
        let window = window.map(|w| w as usize);
        Self {
            heads,
            window,
            dropped: 0,
            blocks: VecDeque::new(),
            len: 0,
            memory: memory.clone(),
        }
    }

    pub fn bytes_to_append(&self, rows: usize) -> u64 {
        let blocks = (self.len + rows).div_ceil(LANES) - self.len.div_ceil(LANES);
        (blocks * Self::bytes_for(self.heads, 1)) as u64
    }

    pub fn reaches(&self, positions: usize) -> bool {
        let Some(window) = self.window else {
            return true;
        };
        (positions + 1).saturating_sub(window) >= self.dropped * LANES
    }

    /// Positions appended so far; the next row's position.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that `positions` positions take without a window.
    pub fn bytes_for(heads: Heads, positions: usize) -> usize {
        positions.div_ceil(LANES) * Block::rows(heads) * size_of::<Lanes>()
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.blocks.len() * Self::bytes_for(self.heads, 1)
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
        self.drop_unseen();
        for (k, v) in k.chunks_exact(width).zip(v.chunks_exact(width)) {
            let slot = self.len % LANES;
            if slot == 0 {
                self.blocks.push_back(Block::new(self.heads, &self.memory));
            }
            if let Some(block) = self.blocks.back_mut() {
                block.write(slot, k, v);
            }
            self.len += 1;
        }
    }

    /// Forgets the last positions, down to so many: as long as nothing was appended after them but what is forgotten
    /// too, the cache goes on as if they had never been there.
    pub fn truncate(&mut self, positions: usize) {
        self.len = self.len.min(positions);
        let blocks = self.len.div_ceil(LANES).saturating_sub(self.dropped);
        self.blocks.truncate(blocks);
    }

    /// Makes the values of all positions no numbers.
    #[cfg(test)]
    pub(crate) fn poison(&mut self) {
        for block in &mut self.blocks {
            let values = self.heads.kv_size();
            block.rows[values..].fill([f32::NAN; LANES]);
        }
    }

    /// Positions that a row sees, itself included.
    pub(super) fn seen_from(&self, position: usize) -> Range<usize> {
        assert!(
            position < self.len,
            "position {position} of {} attends",
            self.len
        );
        let start = self.window.map_or(0, |w| (position + 1).saturating_sub(w));
        assert!(
            start >= self.dropped * LANES,
            "position {position} sees dropped positions"
        );
        start..position + 1
    }

    /// Blocks by index from position 0.
    pub(super) fn blocks(&self, indices: Range<usize>) -> impl ExactSizeIterator<Item = &Block> {
        self.blocks
            .range(indices.start - self.dropped..indices.end - self.dropped)
    }

    pub(super) fn heads(&self) -> Heads {
        self.heads
    }

    /// Gives up blocks that the next position does not see.
    fn drop_unseen(&mut self) {
        let Some(window) = self.window else { return };
        let first_seen = (self.len + 1).saturating_sub(window);
        while (self.dropped + 1) * LANES <= first_seen && self.blocks.pop_front().is_some() {
            self.dropped += 1;
        }
    }
}

/// Keys and values of 16 positions. First the keys of all heads, transposed:
/// `(kv_heads, head_dim, 16 positions)`; then the values `(kv_heads, tiles, 16 positions, 16 elements)`, the
/// last tile padded with zeros.
pub(super) struct Block {
    rows: Zeroizing<Box<[Lanes]>>,
    heads: Heads,
    memory: KvMemory,
}
impl Clone for Block {
    fn clone(&self) -> Self {
        let mut b = Block::new(self.heads, &self.memory);
        b.rows = self.rows.clone();
        b
    }
}
impl Drop for Block {
    fn drop(&mut self) {
        self.memory
            .0
            .set(self.memory.0.get() - (self.rows.len() * size_of::<Lanes>()) as u64);
    }
}

impl Block {
    fn new(heads: Heads, memory: &KvMemory) -> Self {
        memory
            .0
            .set(memory.0.get() + (Self::rows(heads) * size_of::<Lanes>()) as u64);
        let rows = vec![[0.0; LANES]; Self::rows(heads)].into_boxed_slice();
        Self {
            rows: Zeroizing::new(rows),
            heads,
            memory: memory.clone(),
        }
    }

    /// Lane rows of a block.
    fn rows(heads: Heads) -> usize {
        heads.kv_size() + heads.num_key_value_heads * heads.tiles() * LANES
    }

    /// Keys of one head `(head_dim, 16 positions)`.
    pub(super) fn keys(&self, kv_head: usize) -> &[Lanes] {
        let d = self.heads.head_dim;
        &self.rows[kv_head * d..][..d]
    }

    /// Values of one head `(tiles, 16 positions)` of 16 elements.
    pub(super) fn values(&self, kv_head: usize) -> &[Lanes] {
        let rows = self.heads.tiles() * LANES;
        &self.rows[self.heads.kv_size() + kv_head * rows..][..rows]
    }

    /// Stores one position: `k, v (kv_heads, head_dim)`.
    fn write(&mut self, slot: usize, k: &[f32], v: &[f32]) {
        let (keys, values) = self.rows.split_at_mut(self.heads.kv_size());
        for (row, k) in keys.iter_mut().zip(k) {
            row[slot] = *k;
        }
        let heads = values.chunks_exact_mut(self.heads.tiles() * LANES);
        for (head, v) in heads.zip(v.chunks_exact(self.heads.head_dim)) {
            for (tile, v) in head.chunks_exact_mut(LANES).zip(v.chunks(LANES)) {
                tile[slot][..v.len()].copy_from_slice(v);
            }
        }
    }
}
