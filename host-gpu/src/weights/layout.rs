//! Which tensors make which projection, in canonical order, and what travels in the manifest instead.
//!
//! Hugging Face stores a linear layer as (out, in), that is output by output, as planes are. RMSNorm
//! gains scale input features, so they are folded into the matrix that follows the norm.

use std::collections::HashSet;

use talaria_wire::manifest::{Decoder, LayerExtras, Place, Role, WeightFormat};

use super::checkpoint::{Checkpoint, Tensor};
use super::config::Described;
use super::families::{Linears, TensorNames};
use super::{LoadError, names};
use crate::backend::MatrixShape;

/// One projection and where its weights are.
pub struct Matrix<'a> {
    /// Which one it is.
    pub place: Place,
    /// Input features.
    pub k: usize,
    /// Outputs.
    pub n: usize,
    /// Outputs in order, (n_i, k) each; for the embedding one (k, n) instead.
    pub tensors: Vec<Tensor<'a>>,
    /// Gain of the norm before, (k,); empty: none.
    pub gain: Vec<f32>,
    /// (n,); empty: none.
    pub bias: Vec<f32>,
}

impl Matrix<'_> {
    /// Whether the tensor is stored input by input.
    pub fn is_transposed(&self) -> bool {
        self.place == Place::EMBEDDING
    }

    /// Its shape in a model of this format.
    pub fn shape(&self, format: WeightFormat) -> MatrixShape {
        let (k, n) = (self.k, self.n);
        MatrixShape { k, n, format }
    }
}

/// All of a checkpoint but its text files and generation defaults.
pub struct Layout<'a> {
    /// In canonical order.
    pub matrices: Vec<Matrix<'a>>,
    /// Per layer.
    pub layers: Vec<LayerExtras>,
}

impl<'a> Layout<'a> {
    /// Finds every tensor and checks its shape and type, and reads the small ones.
    ///
    /// # Errors
    /// A tensor is missing, or left over in a layer: leaving it out would compute another model.
    pub fn of(checkpoint: &'a Checkpoint, described: &Described) -> Result<Self, LoadError> {
        let mut finder = Finder {
            checkpoint,
            described,
            names: described.family.names(),
            found: HashSet::new(),
        };
        let shapes = described.shapes();
        let matrices = shapes
            .into_iter()
            .map(|(place, k, n)| finder.matrix(place, k as usize, n as usize))
            .collect::<Result<_, _>>()?;
        let extras = described.windows.iter().zip(0..);
        let layers = extras
            .map(|(window, layer)| finder.extras(layer, *window))
            .collect::<Result<_, _>>()?;
        finder.refuse_leftovers()?;
        Ok(Self { matrices, layers })
    }
}

/// Looks tensors up and remembers which.
struct Finder<'a, 'd> {
    checkpoint: &'a Checkpoint,
    described: &'d Described,
    names: &'static TensorNames,
    found: HashSet<String>,
}

impl<'a> Finder<'a, '_> {
    fn matrix(&mut self, place: Place, k: usize, n: usize) -> Result<Matrix<'a>, LoadError> {
        let mut matrix = Matrix {
            place,
            k,
            n,
            tensors: vec![],
            gain: vec![],
            bias: vec![],
        };
        match self.names.linears(place.role) {
            None => matrix.tensors = vec![self.weight(self.names.embedding, &[k, n])?],
            Some(linears) => self.fill(&mut matrix, linears)?,
        }
        Ok(matrix)
    }

    fn fill(&mut self, matrix: &mut Matrix<'a>, linears: Linears) -> Result<(), LoadError> {
        let (place, k, n) = (matrix.place, matrix.k, matrix.n);
        let biased = self.is_biased(place.role);
        if let Some(norm) = linears.norm {
            matrix.gain = self.gain(&self.names.at(place, norm), k)?;
        }
        let outputs = match linears.parts {
            [_] => vec![n],
            _ => parts(place.role, &self.described.decoder, n),
        };
        for (part, outputs) in linears.parts.iter().zip(outputs) {
            let name = match place {
                Place::LM_HEAD => self.lm_head(part)?.into(),
                _ => self.names.at(place, part),
            };
            matrix.tensors.push(self.weight(&name, &[outputs, k])?);
            if biased {
                let bias = self.tensor(&format!("{name}.bias"), &[outputs])?;
                matrix.bias.extend(bias.read_all()?);
            }
        }
        Ok(())
    }

    fn is_biased(&self, role: Role) -> bool {
        let biases = self.described.family.biases(&self.described.config);
        match role {
            Role::Qkv => biases.qkv,
            Role::O => biases.o,
            Role::GateUp | Role::Down => biases.mlp,
            Role::Embedding | Role::LmHead => false,
        }
    }

    /// Its own tensor where there is one, as transformers 5 does; else the embedding's if tied.
    fn lm_head(&self, own: &'static str) -> Result<&'static str, LoadError> {
        let tied = self.described.config.tie_word_embeddings.unwrap_or(false);
        match self.checkpoint.has(&format!("{own}.weight")) {
            true => Ok(own),
            false if tied => Ok(self.names.embedding),
            false => Err(LoadError::Untied),
        }
    }

    fn extras(
        &mut self,
        layer: u32,
        sliding_window: Option<u32>,
    ) -> Result<LayerExtras, LoadError> {
        let mut extras = LayerExtras {
            q_norm: vec![],
            k_norm: vec![],
            sliding_window,
        };
        if self.described.family.qk_norm() {
            let head_dim = self.described.decoder.head_dim as usize;
            let at = |name: &str| self.names.at(Role::Qkv.of(layer), name);
            let (q_norm, k_norm) = (at(self.names.q_norm), at(self.names.k_norm));
            extras.q_norm = self.gain(&q_norm, head_dim)?;
            extras.k_norm = self.gain(&k_norm, head_dim)?;
        }
        Ok(extras)
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor<'a>, LoadError> {
        self.found.insert(name.into());
        self.checkpoint.tensor(name, shape)
    }

    fn weight(&mut self, module: &str, shape: &[usize]) -> Result<Tensor<'a>, LoadError> {
        self.tensor(&format!("{module}.weight"), shape)
    }

    fn gain(&mut self, norm: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        self.weight(norm, &[length])?.read_all()
    }

    /// Some quantisers write a bias of zeros for every linear layer: it changes nothing.
    fn refuse_leftovers(&self) -> Result<(), LoadError> {
        let layers = self.described.windows.len();
        let left = |name: &&str| !self.found.contains(*name) && names::takes_part(name, layers);
        let changes = |name: &&str| !(name.ends_with(".bias") && self.checkpoint.is_zero(name));
        let left = self.checkpoint.names().filter(left).filter(changes);
        match left.min() {
            None => Ok(()),
            Some(name) => Err(LoadError::UnexpectedTensor {
                tensor: self.checkpoint.stored_name(name),
                model_type: self.described.decoder.model_type.clone(),
            }),
        }
    }
}

/// Outputs of the linear layers that make a projection with n outputs.
fn parts(role: Role, decoder: &Decoder, n: usize) -> Vec<usize> {
    let (q, kv) = (decoder.q_size() as usize, decoder.kv_size() as usize);
    match role {
        Role::Qkv => vec![q, kv, kv],
        Role::GateUp => vec![n / 2; 2],
        Role::Embedding | Role::O | Role::Down | Role::LmHead => vec![n],
    }
}
