//! Weights packed for dot-product instructions.
//!
//! A plane (n outputs, k inputs) is cut into strips of [`LANES`] outputs and a strip into blocks of
//! [`DEPTH`] inputs:
//!
//! ```text
//! block[lane * DEPTH + d] = plane[output = tile * LANES + lane][input = step * DEPTH + d]
//! strips: tile 0 plane 0, tile 0 plane 1, tile 1 plane 0, ...; each of `steps` blocks
//! ```
//!
//! One block is one cache line and one 512-bit register. Padding outputs and inputs are zero weights.

use super::memory;
use crate::backend::{BackendError, MatrixShape};
use rayon::prelude::*;

/// Outputs of a block.
pub(super) const LANES: usize = 16;
/// Inputs of a block.
pub(super) const DEPTH: usize = 4;

/// `LANES x DEPTH` weights of one plane.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block(pub [i8; LANES * DEPTH]);

/// All planes of one matrix.
pub(super) struct PackedMatrix {
    shape: MatrixShape,
    blocks: Vec<Block>,
}

impl PackedMatrix {
    /// Zero weights; fails if they do not fit into memory.
    pub(super) fn new(shape: MatrixShape) -> Result<Self, BackendError> {
        let (count, needed) = (Self::blocks_of(shape), Self::bytes_of(shape));
        let full = |limit| BackendError::Memory {
            what: format!("weights ({} inputs, {} outputs)", shape.k, shape.n),
            needed,
            limit,
        };
        if let Some(limit) = memory::available().filter(|limit| needed > *limit) {
            return Err(full(limit));
        }
        let mut blocks = Vec::new();
        let reserved = blocks.try_reserve_exact(count);
        reserved.map_err(|_| full(memory::available().unwrap_or(0)))?;
        blocks.resize(count, Block([0; LANES * DEPTH]));
        Ok(Self { shape, blocks })
    }

    /// Bytes a matrix takes, at most `1.3` of its planes unless n is below 60 or k below 16.
    pub(super) fn bytes_of(shape: MatrixShape) -> u64 {
        (Self::blocks_of(shape) * size_of::<Block>()) as u64
    }

    fn blocks_of(shape: MatrixShape) -> usize {
        shape.n.div_ceil(LANES) * shape.format.planes() * shape.k.div_ceil(DEPTH)
    }

    /// Shape as unpacked.
    pub(super) fn shape(&self) -> MatrixShape {
        self.shape
    }

    /// Blocks of a strip: k rounded up.
    pub(super) fn steps(&self) -> usize {
        self.shape.k.div_ceil(DEPTH)
    }

    /// Blocks of consecutive tiles, strip by strip.
    pub(super) fn tiles(&self, first: usize, count: usize) -> &[Block] {
        let tile = self.tile_blocks();
        &self.blocks[first * tile..(first + count) * tile]
    }

    fn tile_blocks(&self) -> usize {
        self.steps() * self.shape.format.planes()
    }

    /// Packs `weights`, (count, k) from output `first` on, of one plane.
    pub(super) fn store(&mut self, plane: usize, first: usize, weights: &[i8]) {
        let (k, steps) = (self.shape.k, self.steps());
        if weights.is_empty() || k == 0 {
            return;
        }
        let (tile_blocks, last) = (self.tile_blocks(), first + weights.len() / k);
        let tiles = first / LANES..last.div_ceil(LANES);
        let blocks = &mut self.blocks[tiles.start * tile_blocks..tiles.end * tile_blocks];
        blocks
            .par_chunks_mut(tile_blocks)
            .zip(tiles)
            .for_each(|(blocks, tile)| {
                let strip = &mut blocks[plane * steps..][..steps];
                for lane in 0..LANES {
                    let output = tile * LANES + lane;
                    if (first..last).contains(&output) {
                        pack(strip, lane, &weights[(output - first) * k..][..k]);
                    }
                }
            });
    }

    /// Unpacks outputs `first..first + count` of one plane: (count, k).
    pub(super) fn read(&self, plane: usize, first: usize, count: usize) -> Vec<i8> {
        let (k, steps) = (self.shape.k, self.steps());
        let mut weights = vec![0; count * k];
        if k > 0 {
            weights
                .par_chunks_mut(k)
                .enumerate()
                .for_each(|(i, weights)| {
                    let (tile, lane) = ((first + i) / LANES, (first + i) % LANES);
                    unpack(
                        &self.tiles(tile, 1)[plane * steps..][..steps],
                        lane,
                        weights,
                    );
                });
        }
        weights
    }
}

/// Writes one output's weights (k,) to its lane.
fn pack(strip: &mut [Block], lane: usize, weights: &[i8]) {
    for (block, weights) in strip.iter_mut().zip(weights.chunks(DEPTH)) {
        block.0[lane * DEPTH..][..weights.len()].copy_from_slice(weights);
    }
}

/// Reads one output's weights (k,) from its lane.
fn unpack(strip: &[Block], lane: usize, weights: &mut [i8]) {
    for (block, weights) in strip.iter().zip(weights.chunks_mut(DEPTH)) {
        weights.copy_from_slice(&block.0[lane * DEPTH..][..weights.len()]);
    }
}
