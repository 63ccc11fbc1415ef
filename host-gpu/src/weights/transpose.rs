//! The embedding table: stored token by token (vocab, hidden), needed output by output (hidden, vocab).
//!
//! One pass over the file finds every column's largest magnitude. Then, for as many columns at a time
//! as the budget allows, the file is read again and those columns are gathered.

use rayon::prelude::*;
use talaria_arithmetic::fixed_point::{power_of_two, quantise as integer, split_planes};
use talaria_wire::manifest::WeightFormat;

use super::LoadError;
use super::checkpoint::Tensor;
use super::planes::{Budget, Buffers, Visit};
use super::quantise::{exponent, largest_magnitude};

/// Columns gathered side by side: a cache line of bf16.
const TILE: usize = 32;

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
    let largest = largest_by_column(tensor, n, budget)?;
    let per_block = (budget.transposed_bytes / (k * format.planes())).max(1);
    let mut buffers = Buffers::default();
    for first in (0..n).step_by(per_block) {
        let count = per_block.min(n - first);
        buffers.fit(count, k, format);
        for (scale, largest) in buffers.scales.iter_mut().zip(&largest[first..]) {
            scale.exponent = exponent(*largest, format);
        }
        gather(tensor, first, budget, &mut buffers)?;
        visit(&buffers.block(first))?;
    }
    Ok(())
}

/// Calls `f(first row, rows as stored)` for all rows of (k, n), in order.
fn for_row_blocks(
    tensor: &Tensor,
    budget: Budget,
    raw: &mut Vec<u8>,
    mut f: impl FnMut(usize, &[u8]) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let &[k, n] = tensor.shape() else {
        return Ok(());
    };
    let per_block = (budget.block_bytes / (n * tensor.float().bytes())).max(1);
    for row in (0..k).step_by(per_block) {
        let rows = per_block.min(k - row);
        tensor.read_raw(row * n, rows * n, raw)?;
        f(row, raw)?;
    }
    Ok(())
}

/// Largest magnitude of every column (n,).
fn largest_by_column(tensor: &Tensor, n: usize, budget: Budget) -> Result<Vec<f32>, LoadError> {
    let mut largest = vec![0.0; n];
    for_row_blocks(tensor, budget, &mut Vec::new(), |first, rows| {
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
    rows: &[u8],
) -> Result<Vec<f32>, LoadError> {
    let none = || (vec![0.0; n], vec![0.0; n]);
    rows.par_chunks(n * tensor.float().bytes())
        .enumerate()
        .try_fold(none, |(mut values, mut largest), (i, row)| {
            tensor.float().decode(row, &mut values);
            largest_magnitude(&values)
                .map_err(|c| tensor.not_finite((first + i) * n + c, values[c], ""))?;
            widen(&mut largest, &values);
            Ok((values, largest))
        })
        .map(|part| part.map(|(_, largest)| largest))
        .try_reduce(
            || vec![0.0; n],
            |mut largest, other| {
                widen(&mut largest, &other);
                Ok(largest)
            },
        )
}

/// `largest = max(largest, |values|)`, element by element.
fn widen(largest: &mut [f32], values: &[f32]) {
    for (largest, value) in largest.iter_mut().zip(values) {
        *largest = largest.max(value.abs());
    }
}

/// Fills the planes with columns `first..` of the tensor, by the exponents in `buffers.scales`.
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
        planes,
        scales,
    } = buffers;
    let row_bytes = n * tensor.float().bytes();
    for_row_blocks(tensor, budget, raw, |first_row, rows| {
        let [hi, lo] = &mut *planes;
        let mut lo = lo.chunks_mut(TILE * k);
        let tiles: Vec<_> = hi
            .chunks_mut(TILE * k)
            .zip(scales.chunks(TILE))
            .map(|(hi, scales)| (hi, lo.next().unwrap_or_default(), scales))
            .collect();
        tiles
            .into_par_iter()
            .enumerate()
            .for_each(|(tile, (hi, lo, scales))| {
                let column = (first + tile * TILE) * tensor.float().bytes();
                let bytes = column..column + scales.len() * tensor.float().bytes();
                let mut values = [0.0; TILE];
                let values = &mut values[..scales.len()];
                let powers: Vec<f64> = (scales.iter())
                    .map(|s| power_of_two(i32::from(s.exponent)))
                    .collect();
                for (row, stored) in (first_row..).zip(rows.chunks(row_bytes)) {
                    tensor.float().decode(&stored[bytes.clone()], values);
                    let integers = values
                        .iter()
                        .zip(&powers)
                        .map(|(w, power)| integer(*w, *power));
                    for (c, w) in integers.enumerate() {
                        let at = c * k + row;
                        if lo.is_empty() {
                            hi[at] = w as i8;
                        } else {
                            (hi[at], lo[at]) = split_planes(w);
                        }
                    }
                }
            });
        Ok(())
    })
}
