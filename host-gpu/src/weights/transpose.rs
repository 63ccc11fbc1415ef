//! The embedding table: stored token by token (vocab, hidden), needed output by output (hidden, vocab).
//!
//! One pass over the file finds every column's largest magnitude. Then, for as many columns at a time
//! as the budget allows, the file is read again and those columns are gathered.

use rayon::prelude::*;
use talaria_wire::manifest::WeightFormat;

use super::LoadError;
use super::checkpoint::Tensor;
use super::planes::{Budget, Buffers, Scale, Visit};
use super::quantise::{largest_magnitude, split, unit};

/// Columns gathered side by side: two cache lines of f32.
const TILE: usize = 32;
/// Rows of a tile turned at a time: 8 KiB of f32.
const ROWS: usize = 64;

/// Quantises a tensor (k, n) output by output, in blocks of columns.
pub(super) fn quantise(
    tensor: &Tensor,
    format: WeightFormat,
    budget: Budget,
    visit: &mut Visit,
) -> Result<(), LoadError> {
    let &[k, n] = tensor.shape() else {
        return Ok(());
    };
    let mut buffers = Buffers::default();
    let largest = largest_by_column(tensor, n, budget, &mut buffers)?;
    let per_block = (budget.transposed_bytes / (k * format.planes())).max(1);
    for first in (0..n).step_by(per_block) {
        let count = per_block.min(n - first);
        buffers.fit(count, k, format);
        for (scale, largest) in buffers.scales.iter_mut().zip(&largest[first..]) {
            scale.unit = unit(*largest, format);
        }
        gather(tensor, first, budget, &mut buffers)?;
        visit(&buffers.block(first))?;
    }
    Ok(())
}

/// Calls `f(first row, decoded rows)` for all rows of (k, n), in order.
fn for_row_blocks(
    tensor: &Tensor,
    budget: Budget,
    raw: &mut Vec<u8>,
    values: &mut Vec<f32>,
    mut f: impl FnMut(usize, &[f32]) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let &[k, n] = tensor.shape() else {
        return Ok(());
    };
    let per_block = tensor.rows_per_block(budget.block_bytes);
    for first in (0..k).step_by(per_block) {
        let count = per_block.min(k - first);
        tensor.read(first, count, raw)?;
        values.resize(count * n, 0.0);
        (values.par_chunks_mut(n))
            .zip(raw.par_chunks(tensor.rows().row_bytes()))
            .enumerate()
            .for_each(|(i, (values, raw))| tensor.rows().decode(first + i, raw, values));
        f(first, values)?;
    }
    Ok(())
}

/// Largest magnitude of every column (n,).
fn largest_by_column(
    tensor: &Tensor,
    n: usize,
    budget: Budget,
    buffers: &mut Buffers,
) -> Result<Vec<f32>, LoadError> {
    let mut largest = vec![0.0; n];
    let Buffers { raw, values, .. } = buffers;
    for_row_blocks(tensor, budget, raw, values, |first, rows| {
        let of_block = largest_of_rows(tensor, n, first, rows)?;
        widen(&mut largest, &of_block);
        Ok(())
    })?;
    Ok(largest)
}

fn largest_of_rows(
    tensor: &Tensor,
    n: usize,
    first: usize,
    rows: &[f32],
) -> Result<Vec<f32>, LoadError> {
    // The first that is not finite, whichever thread is faster: an error is the same every time.
    let none = || (vec![0.0; n], None);
    let (largest, defect) = rows
        .par_chunks(n)
        .enumerate()
        .fold(none, |(mut largest, defect), (i, values)| {
            let found = largest_magnitude(values).err();
            let defect = defect.or(found.map(|c| ((first + i) * n + c, values[c])));
            widen(&mut largest, values);
            (largest, defect)
        })
        .reduce(none, |(mut largest, defect), (other, later)| {
            widen(&mut largest, &other);
            (largest, defect.or(later))
        });
    match defect {
        Some((at, value)) => Err(tensor.not_finite(at, value, "")),
        None => Ok(largest),
    }
}

/// `largest = max(largest, |values|)`, element by element.
fn widen(largest: &mut [f32], values: &[f32]) {
    for (largest, value) in largest.iter_mut().zip(values) {
        *largest = largest.max(value.abs());
    }
}

/// Fills the planes with columns `first..` of the tensor, by the units in `buffers.scales`.
fn gather(
    tensor: &Tensor,
    first: usize,
    budget: Budget,
    buffers: &mut Buffers,
) -> Result<(), LoadError> {
    let &[k, n] = tensor.shape() else {
        return Ok(());
    };
    let Buffers {
        raw,
        values,
        planes: [hi, lo],
        scales,
    } = buffers;
    for_row_blocks(tensor, budget, raw, values, |row, rows| {
        let mut lo = lo.chunks_mut(TILE * k);
        let tiles: Vec<_> = hi
            .chunks_mut(TILE * k)
            .zip(scales.chunks(TILE))
            .zip((first..).step_by(TILE))
            .map(|((hi, scales), column)| Tile {
                column,
                scales,
                planes: [hi, lo.next().unwrap_or_default()],
            })
            .collect();
        tiles
            .into_par_iter()
            .for_each(|mut tile| tile.fill([k, n], row, rows));
        Ok(())
    })
}

/// Up to [`TILE`] columns of a tensor and where their integers go.
struct Tile<'b> {
    /// The first column.
    column: usize,
    /// Per column; units only.
    scales: &'b [Scale],
    /// Columns x k; the second is empty for int8.
    planes: [&'b mut [i8]; 2],
}

impl Tile<'_> {
    /// Quantises this tile's part of whole rows of a tensor (k, n), the first of which is row `first`.
    fn fill(&mut self, [k, n]: [usize; 2], first: usize, rows: &[f32]) {
        let part = self.column..self.column + self.scales.len();
        let mut columns = [[0.0; ROWS]; TILE];
        let blocks = rows.chunks(ROWS * n);
        for (first, rows) in (first..).step_by(ROWS).zip(blocks) {
            let count = rows.len() / n;
            for (r, row) in rows.chunks(n).enumerate() {
                for (column, value) in columns.iter_mut().zip(&row[part.clone()]) {
                    column[r] = *value;
                }
            }
            for (c, (values, scale)) in columns.iter().zip(self.scales).enumerate() {
                let at = c * k + first;
                let outputs = self.planes.each_mut();
                let outputs = outputs.map(|p| p.get_mut(at..at + count).unwrap_or_default());
                split(&values[..count], scale.unit, outputs);
            }
        }
    }
}
