//! GPTQ: `qweight` packs inputs of one output in words of 32 bits, lowest bits first, `qzeros` outputs of one group.
//!
//! `w[i][c] = (q[i][c] - z[g][c]) * scales[g][c]`, `g = g_idx[i]`. The first version of the format stores z - 1.
//! Definition: `qlinear_cuda.py` of AutoGPTQ 0.7.1.

use ::safetensors::Dtype;
use rayon::prelude::*;

use super::Module;
use super::grid::float_of;
use super::grouped::{Block, Code, Grouped, Groups, Source};
use crate::weights::LoadError;
use crate::weights::checkpoint::Entry;
use crate::weights::rows::Encoding;
use crate::weights::safetensors::{Float, Part};

/// Bytes of a word.
pub(super) const WORD_BYTES: usize = 4;

/// Bits of an element; a word holds a whole number of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// 4.
    Four,
    /// 8.
    Eight,
}

/// What `quantization_config` says of GPTQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gptq {
    /// Of an element.
    pub bits: Bits,
    /// Inputs of a group; none: all.
    pub group_size: Option<usize>,
    /// What is stored of a zero point is so much less: 1 in the first version of the format.
    pub zero_offset: u8,
}

impl Bits {
    const fn count(self) -> usize {
        match self {
            Bits::Four => 4,
            Bits::Eight => 8,
        }
    }

    /// Elements of a word.
    pub(super) const fn per_word(self) -> usize {
        32 / self.count()
    }

    /// What is added to make signed numbers unsigned.
    pub(super) const fn half_range(self) -> f32 {
        (1 << (self.count() - 1)) as f32
    }

    /// Element `lane` of a word, from the lowest bits up.
    pub(super) const fn lane(self, word: u32, lane: usize) -> u8 {
        let mask = (1 << self.count()) - 1;
        ((word >> (self.count() * lane)) & mask) as u8
    }

    /// As many elements as `codes` holds.
    pub(super) fn unpack(self, words: &[u8], codes: &mut [u8]) {
        let (words, _) = words.as_chunks::<WORD_BYTES>();
        for (word, codes) in words.iter().zip(codes.chunks_mut(self.per_word())) {
            let word = u32::from_le_bytes(*word);
            for (lane, code) in codes.iter_mut().enumerate() {
                *code = self.lane(word, lane);
            }
        }
    }
}

/// Word `at` of little-endian bytes.
pub(super) fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes.as_chunks().0[at])
}

/// `count` columns from column `first` on of all rows of a matrix (rows, columns) with elements of so many bytes.
pub(super) fn columns(
    part: &Part,
    [rows, columns]: [usize; 2],
    bytes: usize,
    first: usize,
    count: usize,
) -> Result<Vec<u8>, LoadError> {
    let mut slab = vec![0; rows * count * bytes];
    if slab.is_empty() {
        return Ok(slab);
    }
    for (row, slab) in slab.chunks_mut(count * bytes).enumerate() {
        part.read((row * columns + first) * bytes, slab)?;
    }
    Ok(slab)
}

/// Scales stored group by group, (groups, outputs).
pub(super) struct Scales {
    part: Part,
    float: Float,
    shape: [usize; 2],
}

impl Scales {
    /// The scales of this shape.
    pub(super) fn of(module: &mut Module, shape: [usize; 2]) -> Result<Self, LoadError> {
        const NAME: &str = "scales";
        let part = module.need(NAME)?;
        let float = float_of(module, NAME, &part)?;
        match part.shape() == shape {
            true => Ok(Self { part, float, shape }),
            false => {
                let found = format!("has shape {:?}, expected {shape:?}", part.shape());
                Err(module.defect(NAME, found))
            }
        }
    }

    /// Those of consecutive outputs, outputs x groups.
    pub(super) fn read(
        &self,
        first: usize,
        count: usize,
        out: &mut [f32],
    ) -> Result<(), LoadError> {
        let [groups, _] = self.shape;
        let raw = columns(&self.part, self.shape, self.float.bytes(), first, count)?;
        let mut scales = vec![0.0; groups * count];
        self.float.decode(&raw, &mut scales);
        for (output, out) in out.chunks_mut(groups).enumerate() {
            for (group, out) in out.iter_mut().enumerate() {
                *out = scales[group * count + output];
            }
        }
        Ok(())
    }
}

/// Groups of so many inputs; one at least.
pub(super) fn groups_of(inputs: usize, group_size: Option<usize>) -> (usize, usize) {
    let size = group_size.unwrap_or(inputs).max(1);
    (size, inputs.div_ceil(size).max(1))
}

struct Columns {
    bits: Bits,
    zero_offset: u8,
    qweight: Part,
    /// Of `qweight`, in words.
    shape: [usize; 2],
    qzeros: Part,
    /// Of `qzeros`, in words.
    zeros_shape: [usize; 2],
    scales: Scales,
}

pub(super) fn entry(mut module: Module, config: &Gptq) -> Result<Entry, LoadError> {
    let per_word = config.bits.per_word();
    let (qweight, [words, outputs]) = module.matrix("qweight", Dtype::I32)?;
    let width = words * per_word;
    let (size, groups) = groups_of(width, config.group_size);
    let scales = Scales::of(&mut module, [groups, outputs])?;
    let zeros_shape = [groups, outputs.div_ceil(per_word)];
    let qzeros = module.shaped("qzeros", Dtype::I32, &zeros_shape)?;
    let group_of = match module.take("g_idx") {
        Some(part) => Groups::Listed(module.group_list("g_idx", part, width, groups)?),
        None => Groups::Of(size),
    };
    let grouped = Grouped {
        width,
        groups,
        group_of,
        code: Code::Unsigned,
        source: Columns {
            bits: config.bits,
            zero_offset: config.zero_offset,
            qweight,
            shape: [words, outputs],
            qzeros,
            zeros_shape,
            scales,
        },
    };
    Ok(grouped.into_entry(outputs))
}

impl Source for Columns {
    fn read(&self, first: usize, count: usize, block: &mut Block) -> Result<(), LoadError> {
        let (per_word, [words, _]) = (self.bits.per_word(), self.shape);
        let slab = columns(&self.qweight, self.shape, WORD_BYTES, first, count)?;
        let outputs = block.codes.par_chunks_mut(words * per_word).enumerate();
        outputs.for_each(|(output, codes)| {
            for (row, codes) in codes.chunks_mut(per_word).enumerate() {
                let word = word(&slab, row * count + output);
                for (lane, code) in codes.iter_mut().enumerate() {
                    *code = self.bits.lane(word, lane);
                }
            }
        });
        self.scales.read(first, count, &mut block.scales)?;
        let from = first / per_word;
        let of_row = (first + count).div_ceil(per_word) - from;
        let slab = columns(&self.qzeros, self.zeros_shape, WORD_BYTES, from, of_row)?;
        let groups = self.zeros_shape[0];
        for (output, zeros) in (first..).zip(block.zeros.chunks_mut(groups)) {
            let (at, lane) = (output / per_word - from, output % per_word);
            for (group, zero) in zeros.iter_mut().enumerate() {
                let stored = self.bits.lane(word(&slab, group * of_row + at), lane);
                *zero = f32::from(stored) + f32::from(self.zero_offset);
            }
        }
        Ok(())
    }
}
