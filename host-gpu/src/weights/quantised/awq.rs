//! AWQ, version `gemm`: `qweight` and `qzeros` pack eight outputs of one input, or of one group, in a word of 32 bits,
//! in an order of their own.
//!
//! `w[i][c] = (q[i][c] - z[g][c]) * scales[g][c]`, `g = i / group_size`. Definition: `awq/utils/packing_utils.py` of
//! AutoAWQ 0.2.9.

use ::safetensors::Dtype;
use rayon::prelude::*;

use super::Module;
use super::gptq::{Bits, Scales, WORD_BYTES, columns, groups_of, word};
use super::grouped::{Block, Code, Grouped, Groups, Source};
use crate::weights::LoadError;
use crate::weights::checkpoint::Entry;
use crate::weights::safetensors::Part;

/// Outputs of a word.
const PER_WORD: usize = Bits::Four.per_word();

/// Where in a word each of its outputs is: bits 4 `LANES[c]` and up hold output c. (Outputs 0, 2, 4, 6, 1, 3, 5, 7
/// from the lowest bits up.)
const LANES: [usize; PER_WORD] = [0, 4, 1, 5, 2, 6, 3, 7];

/// What `quantization_config` says of AWQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awq {
    /// Inputs of a group; none: all.
    pub group_size: Option<usize>,
}

struct Columns {
    qweight: Part,
    /// Of `qweight`, in words.
    shape: [usize; 2],
    qzeros: Part,
    /// Of `qzeros`, in words.
    zeros_shape: [usize; 2],
    scales: Scales,
}

pub(super) fn entry(mut module: Module, config: &Awq) -> Result<Entry, LoadError> {
    let (qweight, [width, words]) = module.matrix("qweight", Dtype::I32)?;
    let outputs = words * PER_WORD;
    let (size, groups) = groups_of(width, config.group_size);
    let scales = Scales::of(&mut module, [groups, outputs])?;
    let zeros_shape = [groups, words];
    let qzeros = module.shaped("qzeros", Dtype::I32, &zeros_shape)?;
    let grouped = Grouped {
        width,
        groups,
        group_of: Groups::Of(size),
        code: Code::Unsigned,
        source: Columns {
            qweight,
            shape: [width, words],
            qzeros,
            zeros_shape,
            scales,
        },
    };
    Ok(grouped.into_entry(outputs))
}

impl Source for Columns {
    fn read(&self, first: usize, count: usize, block: &mut Block) -> Result<(), LoadError> {
        let from = first / PER_WORD;
        let of_row = (first + count).div_ceil(PER_WORD) - from;
        // Element `row` of an output, in words of all outputs between.
        let element = |slab: &[u8], row: usize, output: usize| {
            let word = word(slab, row * of_row + output / PER_WORD - from);
            Bits::Four.lane(word, LANES[output % PER_WORD])
        };
        let slab = columns(&self.qweight, self.shape, WORD_BYTES, from, of_row)?;
        let [width, _] = self.shape;
        let outputs = block.codes.par_chunks_mut(width).enumerate();
        outputs.for_each(|(i, codes)| {
            for (row, code) in codes.iter_mut().enumerate() {
                *code = element(&slab, row, first + i);
            }
        });
        self.scales.read(first, count, &mut block.scales)?;
        let slab = columns(&self.qzeros, self.zeros_shape, WORD_BYTES, from, of_row)?;
        let [groups, _] = self.zeros_shape;
        for (output, zeros) in (first..).zip(block.zeros.chunks_mut(groups)) {
            for (group, zero) in zeros.iter_mut().enumerate() {
                *zero = f32::from(element(&slab, group, output));
            }
        }
        Ok(())
    }
}
