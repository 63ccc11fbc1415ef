//! Products on the CPU: all cores, the widest instructions the processor has.
//!
//! Residues are cut into [`limbs`] that fit the instructions of a [`path`], weights are packed for them
//! ([`layout`]), sums of products are exact integers that are reduced modulo the primes at the end
//! ([`reduce`]). Every path gives the same bits.

mod avx2;
mod avx512;
mod layout;
mod limbs;
mod memory;
pub mod path;
mod portable;
mod reduce;

use super::{Backend, BackendError, MatrixShape, Planes, shape};
use layout::{Block, LANES, PackedMatrix};
use limbs::{Quad, Units};
use path::{Path, Sums};
use rayon::prelude::*;

/// Steps (of four inputs) of a chunk: a strip of 64 KiB and 16 bytes a unit and step stay in the L2 cache.
const CHUNK_STEPS: usize = 1024;
/// Units of a block: with [`CHUNK_STEPS`] half a megabyte.
const BLOCK_UNITS: usize = 32;
/// Pieces of work a thread, so that threads that lag do not delay all.
const TASKS_PER_THREAD: usize = 4;
/// Multiply-adds below which waking other threads costs more than it gains.
const SERIAL_WORK: usize = 1 << 18;

/// The CPU as a device.
pub struct CpuBackend {
    pool: rayon::ThreadPool,
    path: Path,
    matrices: Vec<PackedMatrix>,
}

impl CpuBackend {
    /// Uses `threads` threads, by default one for each core, and the fastest path.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub fn new(threads: Option<usize>) -> Result<Self, BackendError> {
        Self::with_path(threads, Path::best())
    }

    /// As [`CpuBackend::new`] with a given path, one of [`Path::available`].
    ///
    /// # Errors
    /// If the processor lacks the path, or the threads cannot be started.
    pub fn with_path(threads: Option<usize>, path: Path) -> Result<Self, BackendError> {
        if !Path::available().contains(&path) {
            let name = path.name();
            return Err(BackendError::Device(format!("this CPU has no {name}")));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .thread_name(|i| format!("product-{i}"))
            .build()
            .map_err(|e| BackendError::Device(format!("worker threads do not start: {e}")))?;
        Ok(Self {
            pool,
            path,
            matrices: Vec::new(),
        })
    }

    fn matrix(&self, matrix: usize) -> Result<&PackedMatrix, BackendError> {
        let made = self.matrices.len();
        self.matrices
            .get(matrix)
            .ok_or_else(|| BackendError::no_matrix(matrix, made))
    }
}

impl Backend for CpuBackend {
    fn describe(&self) -> String {
        let threads = self.pool.current_num_threads();
        format!("CPU, {}, {threads} threads", self.path.name())
    }

    fn name(&self) -> &'static str {
        "cpu"
    }

    fn add_matrix(&mut self, shape: MatrixShape) -> Result<usize, BackendError> {
        shape::validate(shape, reduce::MAX_K)?;
        self.matrices.push(PackedMatrix::new(shape)?);
        Ok(self.matrices.len() - 1)
    }

    fn store(
        &mut self,
        matrix: usize,
        plane: usize,
        first: usize,
        weights: &[i8],
    ) -> Result<(), BackendError> {
        let shape = self.matrix(matrix)?.shape();
        shape::check_weights(shape, plane, first, weights.len())?;
        let packed = &mut self.matrices[matrix];
        self.pool.install(|| packed.store(plane, first, weights));
        Ok(())
    }

    fn read(
        &self,
        matrix: usize,
        plane: usize,
        first: usize,
        count: usize,
    ) -> Result<Vec<i8>, BackendError> {
        let packed = self.matrix(matrix)?;
        let shape = packed.shape();
        shape::check_weights(shape, plane, first, count.saturating_mul(shape.k))?;
        Ok(self.pool.install(|| packed.read(plane, first, count)))
    }

    fn project(
        &self,
        matrix: usize,
        rows: usize,
        x: &[u32],
        planes: Planes,
    ) -> Result<Vec<u32>, BackendError> {
        let packed = self.matrix(matrix)?;
        let shape = packed.shape();
        shape::check_rows(shape, rows, x.len())?;
        let work = rows * shape.k * shape.n * shape.format.planes();
        if work <= SERIAL_WORK {
            return Ok(product(self.path, packed, x, planes, 1));
        }
        let tasks = self.pool.current_num_threads() * TASKS_PER_THREAD;
        let product = || product(self.path, packed, x, planes, tasks);
        Ok(self.pool.install(product))
    }

    fn weight_bytes(&self) -> u64 {
        let shapes = self.matrices.iter().map(PackedMatrix::shape);
        shapes.map(PackedMatrix::bytes_of).sum()
    }
}

/// `x (units, k) @ W (k, n) -> (units, parts, n)`, columns cut into about `tasks` pieces; one task stays on
/// this thread. There is one part, or one for each plane where they are apart.
fn product(path: Path, matrix: &PackedMatrix, x: &[u32], planes: Planes, tasks: usize) -> Vec<u32> {
    let MatrixShape { k, n, format } = matrix.shape();
    let units = Units::cut(path, x, k, tasks > 1);
    let (count, parts) = (x.len() / k, planes.parts(format));
    let tiles = n.div_ceil(LANES);
    let piece = tiles.div_ceil(tasks);
    // (tiles, parts, units, LANES): each task writes one piece of it.
    let mut tiled = vec![[0; LANES]; tiles * parts * count];
    let task = |(i, out): (usize, &mut [[u32; LANES]])| {
        tiles_product(path, matrix, &units, planes, i * piece, out, count);
    };
    if tasks == 1 {
        task((0, &mut tiled));
    } else {
        let pieces = tiled.par_chunks_mut(piece * parts * count);
        pieces.enumerate().for_each(task);
    }
    untile(&tiled, parts, count, n)
}

/// (tiles, parts, units, LANES) -> (units, parts, n).
fn untile(tiled: &[[u32; LANES]], parts: usize, count: usize, n: usize) -> Vec<u32> {
    let mut y = vec![0; count * parts * n];
    for (i, y) in y.chunks_exact_mut(n).enumerate() {
        let (unit, part) = (i / parts, i % parts);
        let tiles = tiled[part * count + unit..].iter().step_by(parts * count);
        for (y, lanes) in y.chunks_mut(LANES).zip(tiles) {
            y.copy_from_slice(&lanes[..y.len()]);
        }
    }
    y
}

/// Products of all units with the tiles from `first` on: `out` is (tiles, parts, units, LANES).
fn tiles_product(
    path: Path,
    matrix: &PackedMatrix,
    units: &Units,
    planes: Planes,
    first: usize,
    out: &mut [[u32; LANES]],
    count: usize,
) {
    let format = matrix.shape().format;
    let parts = planes.parts(format);
    let strips: Vec<&[Block]> = matrix
        .tiles(first, out.len() / (parts * count))
        .chunks_exact(matrix.steps())
        .collect();
    // Strips that are joined: all planes of a tile, or one.
    let joined = format.planes() / parts;
    let all: Vec<&[Quad]> = (0..count).map(|unit| units.unit(unit)).collect();
    for (i, units) in all.chunks(BLOCK_UNITS).enumerate() {
        let sums = block_sums(path, &strips, units);
        let first_unit = i * BLOCK_UNITS;
        let sums = sums.chunks_exact(joined * units.len());
        for (sums, out) in sums.zip(out.chunks_exact_mut(count)) {
            path.reduce(first_unit, sums, &mut out[first_unit..][..units.len()]);
        }
    }
}

/// Sums of a block of units with every strip: (strips, units), chunk by chunk of the inputs.
fn block_sums(path: Path, strips: &[&[Block]], units: &[&[Quad]]) -> Vec<Sums> {
    let mut sums = vec![[0; LANES]; strips.len() * units.len()];
    let steps = strips.first().map_or(0, |strip| strip.len());
    for first in (0..steps).step_by(CHUNK_STEPS) {
        let chunk = first..steps.min(first + CHUNK_STEPS);
        let strips: Vec<&[Block]> = strips.iter().map(|strip| &strip[chunk.clone()]).collect();
        let units: Vec<&[Quad]> = units.iter().map(|unit| &unit[chunk.clone()]).collect();
        path.accumulate(&strips, &units, &mut sums);
    }
    sums
}

#[cfg(test)]
mod tests;
