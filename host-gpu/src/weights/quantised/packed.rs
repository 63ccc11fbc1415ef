//! compressed-tensors' `pack-quantized`: elements of 4 or 8 bits in words of 32, output by output, lowest bits first,
//! each plus half its range. Zero points are packed likewise, but along outputs.
//!
//! Definition: `compressed_tensors/compressors/pack_quantized` of compressed-tensors 0.20.

use ::safetensors::Dtype;

use super::gptq::{Bits, WORD_BYTES, word};
use super::grid::{Grid, Sharing};
use super::grouped::{Block, Code, Grouped, Groups, Source};
use super::{LONGEST_SIDE, Module};
use crate::weights::LoadError;
use crate::weights::checkpoint::Entry;
use crate::weights::safetensors::Part;

/// How words become numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Of an element.
    pub bits: Bits,
    /// Inputs that share a scale; none: all.
    pub group_size: Option<usize>,
    /// Without zero points.
    pub symmetric: bool,
}

struct Words {
    packed: Part,
    bits: Bits,
    width: usize,
    scales: Grid,
    /// (outputs / elements of a word, groups).
    zeros: Option<Part>,
}

pub(super) fn entry(mut module: Module, config: &Packed) -> Result<Entry, LoadError> {
    let bits = config.bits;
    let [outputs, width] = shape(&mut module)?;
    let words = [outputs, width.div_ceil(bits.per_word())];
    let packed = module.shaped("weight_packed", Dtype::I32, &words)?;
    let sharing = config
        .group_size
        .map(|inputs| Sharing { outputs: 1, inputs });
    let scales = Grid::scales(&mut module, "weight_scale", [outputs, width], sharing)?;
    let groups = scales.groups;
    let zeros = match config.symmetric {
        // Zeros are written beside symmetric weights by some versions.
        true => module.take("weight_zero_point").and(None),
        false => {
            let shape = [outputs.div_ceil(bits.per_word()), groups];
            Some(module.shaped("weight_zero_point", Dtype::I32, &shape)?)
        }
    };
    let group_of = match module.take("weight_g_idx") {
        Some(part) if !is_unset(&part)? => {
            Groups::Listed(module.group_list("weight_g_idx", part, width, groups)?)
        }
        _ => Groups::Of(scales.group_size()),
    };
    let grouped = Grouped {
        width,
        groups,
        group_of,
        code: Code::Unsigned,
        source: Words {
            packed,
            bits,
            width,
            scales,
            zeros,
        },
    };
    Ok(grouped.into_entry(outputs))
}

/// Outputs and inputs, which the words alone do not tell.
fn shape(module: &mut Module) -> Result<[usize; 2], LoadError> {
    const NAME: &str = "weight_shape";
    let part = module.need(NAME)?;
    let mut bytes = vec![0; part.bytes().min(16)];
    part.read(0, &mut bytes)?;
    let numbers: Vec<i64> = match (part.dtype(), part.shape()) {
        (Dtype::I64, [2]) => {
            let numbers = bytes.as_chunks().0.iter();
            numbers.map(|b| i64::from_le_bytes(*b)).collect()
        }
        (Dtype::I32, [2]) => {
            let numbers = bytes.as_chunks().0.iter();
            numbers.map(|b| i32::from_le_bytes(*b).into()).collect()
        }
        (dtype, shape) => {
            let found = format!("is {dtype} of shape {shape:?}, expected I64 of shape [2]");
            return Err(module.defect(NAME, found));
        }
    };
    let length = |number: &i64| {
        let length = usize::try_from(*number).ok()?;
        (1..=LONGEST_SIDE).contains(&length).then_some(length)
    };
    let lengths: Option<Vec<usize>> = numbers.iter().map(length).collect();
    match lengths.as_deref() {
        Some(&[outputs, inputs]) => Ok([outputs, inputs]),
        _ => {
            let found = format!("is {numbers:?}, expected two lengths from 1 to {LONGEST_SIDE}");
            Err(module.defect(NAME, found))
        }
    }
}

/// Before activation order is known all groups are -1.
fn is_unset(part: &Part) -> Result<bool, LoadError> {
    let mut first = [0; WORD_BYTES];
    if part.bytes() < WORD_BYTES {
        return Ok(false);
    }
    part.read(0, &mut first)?;
    Ok(i32::from_le_bytes(first) == -1)
}

impl Source for Words {
    fn read(&self, first: usize, count: usize, block: &mut Block) -> Result<(), LoadError> {
        let row_bytes = self.width.div_ceil(self.bits.per_word()) * WORD_BYTES;
        let mut raw = vec![0; count * row_bytes];
        self.packed.read(first * row_bytes, &mut raw)?;
        let rows = raw.chunks(row_bytes);
        for (words, codes) in rows.zip(block.codes.chunks_mut(self.width)) {
            self.bits.unpack(words, codes);
        }
        self.scales.read(first..first + count, &mut block.scales)?;
        match &self.zeros {
            None => block.zeros.fill(self.bits.half_range()),
            Some(zeros) => self.read_zeros(zeros, first, count, &mut block.zeros)?,
        }
        Ok(())
    }
}

impl Words {
    fn read_zeros(
        &self,
        part: &Part,
        first: usize,
        count: usize,
        zeros: &mut [f32],
    ) -> Result<(), LoadError> {
        let (per_word, groups) = (self.bits.per_word(), self.scales.groups);
        let from = first / per_word;
        let rows = (first + count).div_ceil(per_word) - from;
        let mut raw = vec![0; rows * groups * WORD_BYTES];
        part.read(from * groups * WORD_BYTES, &mut raw)?;
        for (output, zeros) in (first..).zip(zeros.chunks_mut(groups)) {
            let (row, lane) = (output / per_word - from, output % per_word);
            for (group, zero) in zeros.iter_mut().enumerate() {
                *zero = f32::from(self.bits.lane(word(&raw, row * groups + group), lane));
            }
        }
        Ok(())
    }
}
