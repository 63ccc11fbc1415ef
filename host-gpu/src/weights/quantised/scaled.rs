//! A byte an element, output by output: FP8 and int8 with scales (and zero points) beside them.
//!
//! Names and layouts: transformers' fine-grained FP8 and DeepSeek's `weight_scale_inv`, which multiplies in spite of its
//! name; `weight_scale` of AutoFP8, FBGEMM and compressed-tensors' `float-quantized`, `int-quantized` and
//! `naive-quantized`.

use ::safetensors::Dtype;

use super::Module;
use super::grid::{Grid, Sharing};
use super::grouped::{Block, Code, Grouped, Groups, Source};
use crate::weights::LoadError;
use crate::weights::checkpoint::Entry;
use crate::weights::safetensors::Part;

/// How bytes become numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// `F8_E4M3` or `I8`.
    pub dtype: Dtype,
    /// How scales are shared, unless one is for all or one an output.
    pub sharing: Option<Sharing>,
}

struct Bytes {
    weight: Part,
    width: usize,
    scales: Grid,
    zeros: Option<Grid>,
}

pub(super) fn entry(mut module: Module, config: &Scaled) -> Result<Entry, LoadError> {
    let (weight, matrix) = module.matrix("weight", config.dtype)?;
    let inverse = module.has("weight_scale_inv");
    let scale = if inverse {
        "weight_scale_inv"
    } else {
        "weight_scale"
    };
    let scales = Grid::scales(&mut module, scale, matrix, config.sharing)?;
    let zeros = Grid::zeros(&mut module, "weight_zero_point", matrix, config.sharing)?;
    if zeros
        .as_ref()
        .is_some_and(|zeros| zeros.groups != scales.groups)
    {
        return Err(module.defect("weight_zero_point", "is not of the shape of the scales"));
    }
    let [outputs, width] = matrix;
    let grouped = Grouped {
        width,
        groups: scales.groups,
        group_of: Groups::Of(scales.group_size()),
        code: match config.dtype {
            Dtype::I8 => Code::Signed,
            _ => Code::E4m3,
        },
        source: Bytes {
            weight,
            width,
            scales,
            zeros,
        },
    };
    Ok(grouped.into_entry(outputs))
}

impl Source for Bytes {
    fn read(&self, first: usize, count: usize, block: &mut Block) -> Result<(), LoadError> {
        self.weight.read(first * self.width, &mut block.codes)?;
        self.scales.read(first..first + count, &mut block.scales)?;
        match &self.zeros {
            None => Ok(()),
            Some(zeros) => zeros.read(first..first + count, &mut block.zeros),
        }
    }
}
