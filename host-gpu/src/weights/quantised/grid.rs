//! Scales or zero points of a matrix stored output by output: one for all, one an output, or a grid of blocks.

use std::ops::Range;

use ::safetensors::Dtype;

use super::Module;
use crate::weights::LoadError;
use crate::weights::rows::Encoding;
use crate::weights::safetensors::{Float, Part};

/// How many outputs and inputs share a number; both above 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Outputs.
    pub outputs: usize,
    /// Inputs.
    pub inputs: usize,
}

/// Numbers stored row by row, each row for `sharing.outputs` outputs.
pub(super) struct Grid {
    part: Part,
    number: Number,
    sharing: Sharing,
    /// Numbers of a row.
    pub(super) groups: usize,
}

#[derive(Clone, Copy)]
enum Number {
    Float(Float),
    Int8,
}

impl Number {
    fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::I8 => Some(Number::Int8),
            other => Float::of(other).map(Number::Float),
        }
    }

    fn bytes(self) -> usize {
        match self {
            Number::Float(float) => float.bytes(),
            Number::Int8 => 1,
        }
    }

    fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Number::Float(float) => float.decode(bytes, out),
            Number::Int8 => {
                for (out, byte) in out.iter_mut().zip(bytes) {
                    *out = f32::from(*byte as i8);
                }
            }
        }
    }
}

impl Sharing {
    /// Numbers of a matrix (outputs, inputs): rows and columns of the grid.
    fn grid(self, [outputs, inputs]: [usize; 2]) -> [usize; 2] {
        [outputs.div_ceil(self.outputs), inputs.div_ceil(self.inputs)]
    }
}

/// The floats of scales, or the type of what is none.
pub(super) fn float_of(module: &Module, name: &str, part: &Part) -> Result<Float, LoadError> {
    let refused = || {
        let found = format!("is stored as {}, expected BF16, F16 or F32", part.dtype());
        module.defect(name, found)
    };
    Float::of(part.dtype()).ok_or_else(refused)
}

impl Grid {
    /// The scales of a matrix (outputs, inputs); how they are shared can be told from their shape: one number is for
    /// all, else by `sharing` if that is given, else one an output.
    pub(super) fn scales(
        module: &mut Module,
        name: &str,
        matrix: [usize; 2],
        sharing: Option<Sharing>,
    ) -> Result<Self, LoadError> {
        let part = module.need(name)?;
        let number = Number::Float(float_of(module, name, &part)?);
        Self::of(module, name, part, number, matrix, sharing)
    }

    /// Zero points, if there are any.
    pub(super) fn zeros(
        module: &mut Module,
        name: &str,
        matrix: [usize; 2],
        sharing: Option<Sharing>,
    ) -> Result<Option<Self>, LoadError> {
        let Some(part) = module.take(name) else {
            return Ok(None);
        };
        let number = Number::of(part.dtype()).ok_or_else(|| {
            let found = format!("is stored as {}, expected I8 or a float", part.dtype());
            module.defect(name, found)
        })?;
        Self::of(module, name, part, number, matrix, sharing).map(Some)
    }

    fn of(
        module: &Module,
        name: &str,
        part: Part,
        number: Number,
        matrix: [usize; 2],
        sharing: Option<Sharing>,
    ) -> Result<Self, LoadError> {
        let [outputs, inputs] = matrix;
        let all = Sharing { outputs, inputs };
        let each = Sharing { outputs: 1, inputs };
        let shape = part.shape();
        let sharing = match sharing {
            _ if shape.iter().product::<usize>() == 1 && shape.len() <= 2 => all,
            Some(sharing) if shape == sharing.grid(matrix) => sharing,
            None if shape == [outputs] || shape == [outputs, 1] => each,
            _ => {
                let expected = sharing.unwrap_or(each).grid(matrix);
                let found = format!("has shape {shape:?}, expected [1] or {expected:?}");
                return Err(module.defect(name, found));
            }
        };
        Ok(Self {
            groups: sharing.grid(matrix)[1],
            part,
            number,
            sharing,
        })
    }

    /// Inputs that share a number.
    pub(super) fn group_size(&self) -> usize {
        self.sharing.inputs
    }

    /// The numbers of consecutive outputs, outputs x groups.
    pub(super) fn read(&self, outputs: Range<usize>, out: &mut [f32]) -> Result<(), LoadError> {
        let Some(last) = outputs.clone().last() else {
            return Ok(());
        };
        let first = outputs.start / self.sharing.outputs;
        let rows = last / self.sharing.outputs + 1 - first;
        let (bytes, count) = (self.number.bytes(), rows * self.groups);
        let mut raw = vec![0; count * bytes];
        self.part.read(first * self.groups * bytes, &mut raw)?;
        let mut numbers = vec![0.0; count];
        self.number.decode(&raw, &mut numbers);
        for (output, out) in outputs.zip(out.chunks_mut(self.groups)) {
            let row = output / self.sharing.outputs - first;
            out.copy_from_slice(&numbers[row * self.groups..][..self.groups]);
        }
        Ok(())
    }
}
