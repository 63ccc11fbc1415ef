//! Checkpoints that are quantised already: `quantization_config` says how, tensors that belong together say what.
//!
//! The weight of a linear layer is then small codes with scales and zero points, `w = (q - z) * s`, computed in f32:
//! `q - z` is exact and the product is rounded once. The reference implementations compute the same and round it to the
//! type of the scales besides, which is left out here.
//!
//! * [`scheme`]: what `quantization_config` may say
//! * `grouped`: a row of codes, its scales and zero points; how it becomes f32
//! * `gptq`, `awq`: 4 and 8 bits packed along inputs or outputs, stored input by input
//! * `scaled`: FP8 and int8, a byte an element; `packed`: compressed-tensors' words of 4 or 8 bits
//! * `grid`: scales and zero points by tensor, channel, group or block

mod awq;
mod gptq;
mod grid;
mod grouped;
mod packed;
mod scaled;
pub mod scheme;

use std::collections::HashMap;

use ::safetensors::Dtype;

use super::LoadError;
use super::checkpoint::Entry;
use super::names::Spelling;
use super::safetensors::Part;
pub use scheme::Scheme;

/// Tensors by canonical name.
pub(super) type Parts = HashMap<String, Part>;

/// Longest side of a matrix of words or bytes.
const LONGEST_SIDE: usize = 1 << 24;

/// Scales of activations. Ours are quantised row by row, more finely, so these are not needed.
const OF_ACTIVATIONS: [&str; 7] = [
    "input_scale",
    "input_scale_ub",
    "input_zero_point",
    "activation_scale",
    "activation_scale_inv",
    "output_scale",
    "output_zero_point",
];

/// All tensors of a checkpoint, those that make one quantised weight joined under its name.
///
/// # Errors
/// A part of a quantised weight is missing, or its type or shape contradicts the others or the configuration.
pub(super) fn join(
    mut parts: Parts,
    scheme: Option<&Scheme>,
    spelling: Spelling,
) -> Result<HashMap<String, Entry>, LoadError> {
    let mut joined = HashMap::new();
    if let Some(scheme) = scheme {
        let mut modules: Vec<String> = (parts.iter())
            .filter_map(|(name, part)| scheme.module(name, part))
            .collect();
        // The first defect is the same every time.
        modules.sort_unstable();
        for name in modules {
            let module = Module {
                name: &name,
                parts: &mut parts,
                spelling,
            };
            joined.insert(format!("{name}.weight"), module.entry(scheme)?);
        }
    }
    for (name, part) in parts {
        if joined.contains_key(&name) {
            let problem = "is there beside a quantised weight of the same layer";
            return Err(defect(spelling.stored(&name), problem));
        }
        joined.insert(name, part.into_entry());
    }
    Ok(joined)
}

fn defect(tensor: String, problem: impl Into<String>) -> LoadError {
    LoadError::QuantisedTensor {
        tensor,
        problem: problem.into(),
    }
}

/// The tensors of one linear layer.
struct Module<'m> {
    /// Canonical, without `.weight`.
    name: &'m str,
    parts: &'m mut Parts,
    spelling: Spelling,
}

impl Module<'_> {
    fn entry(mut self, scheme: &Scheme) -> Result<Entry, LoadError> {
        for part in OF_ACTIVATIONS {
            self.take(part);
        }
        match scheme {
            Scheme::Gptq(config) => gptq::entry(self, config),
            Scheme::Awq(config) => awq::entry(self, config),
            Scheme::Scaled(config) => scaled::entry(self, config),
            Scheme::Packed(config) => packed::entry(self, config),
        }
    }

    /// A part by the last component of its name.
    fn take(&mut self, part: &str) -> Option<Part> {
        self.parts.remove(&format!("{}.{part}", self.name))
    }

    fn has(&self, part: &str) -> bool {
        self.parts.contains_key(&format!("{}.{part}", self.name))
    }

    fn need(&mut self, part: &str) -> Result<Part, LoadError> {
        self.take(part)
            .ok_or_else(|| self.defect(part, "is missing, the layer is quantised and needs it"))
    }

    /// A part of two dimensions and this type.
    fn matrix(&mut self, name: &str, dtype: Dtype) -> Result<(Part, [usize; 2]), LoadError> {
        let part = self.need(name)?;
        self.check_type(name, &part, dtype)?;
        let sides = 1..=LONGEST_SIDE;
        match *part.shape() {
            [rows, columns] if sides.contains(&rows) && sides.contains(&columns) => {
                Ok((part, [rows, columns]))
            }
            _ => {
                let found = format!("has shape {:?}, expected a matrix", part.shape());
                Err(self.defect(name, found))
            }
        }
    }

    /// A part of this shape and type.
    fn shaped(&mut self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Part, LoadError> {
        let part = self.need(name)?;
        self.check_type(name, &part, dtype)?;
        match part.shape() == shape {
            true => Ok(part),
            false => {
                let found = format!("has shape {:?}, expected {shape:?}", part.shape());
                Err(self.defect(name, found))
            }
        }
    }

    fn check_type(&self, name: &str, part: &Part, dtype: Dtype) -> Result<(), LoadError> {
        match part.dtype() == dtype {
            true => Ok(()),
            false => {
                let found = format!("is stored as {}, expected {dtype}", part.dtype());
                Err(self.defect(name, found))
            }
        }
    }

    fn defect(&self, part: &str, problem: impl Into<String>) -> LoadError {
        defect(
            self.spelling.stored(&format!("{}.{part}", self.name)),
            problem,
        )
    }

    /// The group of each of `inputs` input features by a stored list, which is below `groups` everywhere.
    fn group_list(
        &self,
        name: &str,
        part: Part,
        inputs: usize,
        groups: usize,
    ) -> Result<Vec<u32>, LoadError> {
        self.check_type(name, &part, Dtype::I32)?;
        if part.shape() != [inputs] {
            let found = format!("has shape {:?}, expected [{inputs}]", part.shape());
            return Err(self.defect(name, found));
        }
        let mut bytes = vec![0; part.bytes()];
        part.read(0, &mut bytes)?;
        let (listed, _) = bytes.as_chunks::<4>();
        let listed: Vec<u32> = listed.iter().map(|b| u32::from_le_bytes(*b)).collect();
        // A negative one is above all that can be.
        match listed.iter().position(|group| *group as usize >= groups) {
            None => Ok(listed),
            Some(at) => Err(self.defect(
                name,
                format!(
                    "is {} at [{at}], there are {groups} groups",
                    listed[at] as i32
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
