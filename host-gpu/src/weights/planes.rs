//! A matrix as blocks of quantised outputs, with bounded memory.

use rayon::prelude::*;
use talaria_wire::manifest::{Place, WeightFormat};

use super::LoadError;
use super::checkpoint::Tensor;
use super::layout::Matrix;
use super::{quantise, transpose};

/// Bytes held besides the planes on the device.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Of a tensor as stored, at a time.
    pub block_bytes: usize,
    /// Of planes of a transposed tensor, at a time: the file is read once for every such piece.
    pub transposed_bytes: usize,
}

impl Budget {
    /// A sixteenth of the planes for transposing, within 16 MiB and 1 GiB, and 8 MiB blocks.
    pub fn for_planes(total_bytes: u64) -> Self {
        Self {
            block_bytes: 8 << 20,
            transposed_bytes: (total_bytes / 16).clamp(16 << 20, 1 << 30) as usize,
        }
    }
}

/// Consecutive outputs of a matrix, quantised.
pub struct Block<'b> {
    /// The first output.
    pub first: usize,
    /// Per output.
    pub scales: &'b [Scale],
    /// Most significant first, each outputs x k; the second is empty for int8.
    planes: [&'b [i8]; 2],
}

/// What is known of an output once it is quantised.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scale {
    /// `W = round(w / unit)`.
    pub unit: f32,
    /// Sum of magnitudes in the plane where it is larger.
    pub plane_l1: u64,
}

impl Block<'_> {
    /// The planes of the format, most significant first.
    pub fn planes(&self) -> impl Iterator<Item = &[i8]> {
        self.planes.into_iter().filter(|plane| !plane.is_empty())
    }

    /// The largest sum of magnitudes of an output of k weights, in one plane.
    pub fn plane_l1(&self, k: usize) -> u64 {
        let outputs = self.planes().flat_map(|plane| plane.chunks(k));
        outputs.map(quantise::l1).max().unwrap_or(0)
    }

    /// Bytes of all planes.
    pub fn bytes(&self) -> u64 {
        self.planes().map(|plane| plane.len() as u64).sum()
    }
}

/// Receives blocks in order.
pub type Visit<'v> = dyn FnMut(&Block) -> Result<(), LoadError> + 'v;

impl Matrix<'_> {
    /// Quantises all outputs in order, block by block.
    ///
    /// # Errors
    /// A weight is not finite, an output is too wide for exact products, the file cannot be read, or
    /// `visit` refuses.
    pub fn quantise(
        &self,
        format: WeightFormat,
        budget: Budget,
        visit: &mut Visit,
    ) -> Result<(), LoadError> {
        let mut checked = |block: &Block| {
            self.check_exact(block, format)?;
            visit(block)
        };
        if self.is_transposed() {
            return self
                .tensors
                .iter()
                .try_for_each(|tensor| transpose::quantise(tensor, format, budget, &mut checked));
        }
        let mut buffers = Buffers::default();
        let mut first = 0;
        for tensor in &self.tensors {
            self.quantise_rows(tensor, first, format, budget, &mut buffers, &mut checked)?;
            first += tensor.shape().first().copied().unwrap_or(0);
        }
        Ok(())
    }

    /// Outputs of one tensor (n, k), which come after `before` others.
    fn quantise_rows(
        &self,
        tensor: &Tensor,
        before: usize,
        format: WeightFormat,
        budget: Budget,
        buffers: &mut Buffers,
        visit: &mut Visit,
    ) -> Result<(), LoadError> {
        let (k, n) = (self.k, tensor.shape().first().copied().unwrap_or(0));
        let per_block = tensor.rows_per_block(budget.block_bytes);
        for row in (0..n).step_by(per_block) {
            let count = per_block.min(n - row);
            buffers.fit(count, k, format);
            tensor.read(row, count, &mut buffers.raw)?;
            // The first defect, whichever thread is faster: an error is the same every time.
            let defect = buffers
                .outputs(k, tensor.rows().row_bytes())
                .into_par_iter()
                .enumerate()
                .map_init(
                    || vec![0.0; k],
                    |values, (i, output)| {
                        quantise_output(tensor, &self.gain, row + i, values, output, format)
                    },
                )
                .find_map_first(Result::err);
            defect.map_or(Ok(()), Err)?;
            visit(&buffers.block(before + row))?;
        }
        Ok(())
    }

    /// The one-hot embedding picks single weights, so its products are always exact.
    fn check_exact(&self, block: &Block, format: WeightFormat) -> Result<(), LoadError> {
        if self.place == Place::EMBEDDING {
            return Ok(());
        }
        let widest = block.scales.iter().zip(block.first..);
        let Some((scale, output)) = widest.max_by_key(|(scale, _)| scale.plane_l1) else {
            return Ok(());
        };
        if quantise::is_exact(scale.plane_l1) {
            return Ok(());
        }
        let (limit, min_bits) = quantise::widest();
        Err(LoadError::TooWide {
            matrix: self.place.to_string(),
            output,
            l1: scale.plane_l1,
            min_bits,
            limit,
            hint: match format {
                WeightFormat::Int16 => "try int8 weights, or use a model with narrower layers",
                WeightFormat::Int8 => "use a model with narrower layers",
            },
        })
    }
}

/// Folds the gain into output `row` of a tensor, finds its scale and splits it.
fn quantise_output(
    tensor: &Tensor,
    gain: &[f32],
    row: usize,
    values: &mut [f32],
    output: Output,
    format: WeightFormat,
) -> Result<(), LoadError> {
    let at = row * values.len();
    tensor.rows().decode(row, output.raw, values);
    quantise::largest_magnitude(values).map_err(|i| tensor.not_finite(at + i, values[i], ""))?;
    for (value, gain) in values.iter_mut().zip(gain) {
        *value *= gain;
    }
    let largest = quantise::largest_magnitude(values)
        .map_err(|i| tensor.not_finite(at + i, values[i], " times the gain of the norm before"))?;
    let unit = quantise::unit(largest, format);
    *output.scale = Scale {
        unit,
        plane_l1: quantise::split(values, unit, output.planes),
    };
    Ok(())
}

/// One output: its bytes as stored, and where its integers go.
struct Output<'b> {
    raw: &'b [u8],
    planes: [&'b mut [i8]; 2],
    scale: &'b mut Scale,
}

/// Reused from block to block.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) raw: Vec<u8>,
    /// Decoded rows of a transposed tensor.
    pub(super) values: Vec<f32>,
    pub(super) planes: [Vec<i8>; 2],
    pub(super) scales: Vec<Scale>,
}

impl Buffers {
    /// Room for the planes of `count` outputs of k.
    pub(super) fn fit(&mut self, count: usize, k: usize, format: WeightFormat) {
        let [hi, lo] = &mut self.planes;
        hi.resize(count * k, 0);
        lo.resize((format.planes() - 1) * count * k, 0);
        self.scales.resize(count, Scale::default());
    }

    pub(super) fn block(&self, first: usize) -> Block<'_> {
        Block {
            first,
            scales: &self.scales,
            planes: [&self.planes[0], &self.planes[1]],
        }
    }

    /// The buffers cut into outputs of k elements.
    fn outputs(&mut self, k: usize, row_bytes: usize) -> Vec<Output<'_>> {
        let [hi, lo] = &mut self.planes;
        let mut lo = lo.chunks_mut(k);
        let raw = self.raw.chunks(row_bytes);
        raw.zip(hi.chunks_mut(k))
            .zip(&mut self.scales)
            .map(|((raw, hi), scale)| Output {
                raw,
                planes: [hi, lo.next().unwrap_or_default()],
                scale,
            })
            .collect()
    }
}
