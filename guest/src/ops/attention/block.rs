//! Keys and values of 16 positions, and the account of all that live.

use std::cell::Cell;
use std::rc::Rc;

use zeroize::Zeroizing;

use super::Heads;
use crate::ops::lanes::{LANES, Lanes};

/// Positions of a block; its borders are multiples of it, counted from position 0.
pub(super) const BLOCK_POSITIONS: usize = LANES;

/// How many bytes of keys and values there are: each block adds its own when it is made and takes them off when it
/// goes. Clones are the same account.
#[derive(Clone, Debug, Default)]
pub struct KvMemory(Rc<Cell<u64>>);

impl KvMemory {
    /// Bytes of all blocks that live, shared ones once.
    pub fn used(&self) -> u64 {
        self.0.get()
    }

    fn add(&self, bytes: u64) {
        self.0.set(self.0.get() + bytes);
    }

    fn subtract(&self, bytes: u64) {
        self.0.set(self.0.get() - bytes);
    }
}

/// Keys and values of 16 positions. First the keys of all heads, transposed:
/// `(kv_heads, head_dim, 16 positions)`; then the values `(kv_heads, tiles, 16 positions, 16 elements)`, the
/// last tile padded with zeros. Zeroized on drop.
pub(super) struct Block {
    rows: Zeroizing<Box<[Lanes]>>,
    heads: Heads,
    memory: KvMemory,
}

impl Block {
    pub(super) fn new(heads: Heads, memory: &KvMemory) -> Self {
        let rows = vec![[0.0; LANES]; Self::rows(heads)].into_boxed_slice();
        Self::of(Zeroizing::new(rows), heads, memory)
    }

    fn of(rows: Zeroizing<Box<[Lanes]>>, heads: Heads, memory: &KvMemory) -> Self {
        memory.add(Self::bytes(heads));
        Self {
            rows,
            heads,
            memory: memory.clone(),
        }
    }

    /// Bytes of a block.
    pub(super) fn bytes(heads: Heads) -> u64 {
        (Self::rows(heads) * size_of::<Lanes>()) as u64
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
    pub(super) fn write(&mut self, slot: usize, k: &[f32], v: &[f32]) {
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

    /// Makes all values no numbers.
    #[cfg(test)]
    pub(super) fn poison(&mut self) {
        let values = self.heads.kv_size();
        self.rows[values..].fill([f32::NAN; LANES]);
    }
}

impl Clone for Block {
    fn clone(&self) -> Self {
        Self::of(self.rows.clone(), self.heads, &self.memory)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.memory.subtract(Self::bytes(self.heads));
    }
}
