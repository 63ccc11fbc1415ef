//! Which tensors make which projection, in canonical order, and what travels in the manifest instead.
//!
//! Hugging Face stores a linear layer as (out, in), that is output by output, as planes are. RMSNorm
//! gains scale input features, so they are folded into the matrix that follows the norm.

use std::collections::HashSet;

use talaria_wire::manifest::{LayerExtras, Role};

use super::checkpoint::{Checkpoint, Tensor};
use super::config::Described;
use super::{LoadError, names};

/// One projection and where its weights are.
pub struct Matrix<'a> {
    /// Place in the decoder.
    pub role: Role,
    /// Layer, 0 for embedding and lm_head.
    pub layer: u32,
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
        self.role == Role::Embedding
    }

    /// For people: `layer 3 gate_up`.
    pub fn name(&self) -> String {
        projection_name(self.role, self.layer)
    }
}

/// Name of a projection for people: `embedding`, `layer 3 gate_up`, `lm_head`.
pub fn projection_name(role: Role, layer: u32) -> String {
    match role {
        Role::Embedding => "embedding".into(),
        Role::Qkv => format!("layer {layer} qkv"),
        Role::O => format!("layer {layer} o"),
        Role::GateUp => format!("layer {layer} gate_up"),
        Role::Down => format!("layer {layer} down"),
        Role::LmHead => "lm_head".into(),
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
            found: HashSet::new(),
        };
        let layers = described.windows.len();
        let shapes = described.decoder.shapes(layers);
        let matrices = shapes
            .into_iter()
            .map(|(role, layer, k, n)| finder.matrix(role, layer, k as usize, n as usize))
            .collect::<Result<_, _>>()?;
        let extras = described.windows.iter().zip(0..);
        let layers = extras
            .map(|(window, layer)| finder.extras(layer, *window))
            .collect::<Result<_, _>>()?;
        finder.refuse_leftovers()?;
        Ok(Self { matrices, layers })
    }
}

const EMBED_TOKENS: &str = "model.embed_tokens.weight";
const LM_HEAD: &str = "lm_head.weight";

/// Looks tensors up and remembers which.
struct Finder<'a, 'd> {
    checkpoint: &'a Checkpoint,
    described: &'d Described,
    found: HashSet<String>,
}

impl<'a> Finder<'a, '_> {
    fn matrix(
        &mut self,
        role: Role,
        layer: u32,
        k: usize,
        n: usize,
    ) -> Result<Matrix<'a>, LoadError> {
        let decoder = &self.described.decoder;
        let biases = self.described.family.biases(&self.described.config);
        let (q, kv) = (decoder.q_size() as usize, decoder.kv_size() as usize);
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        let (norm, linears, biased) = match role {
            Role::Embedding => {
                let tensors = vec![self.tensor(EMBED_TOKENS, &[k, n])?];
                return Ok(Matrix {
                    role,
                    layer,
                    k,
                    n,
                    tensors,
                    gain: vec![],
                    bias: vec![],
                });
            }
            Role::LmHead => {
                let tensors = vec![self.lm_head(n, k)?];
                let gain = self.values("model.norm.weight", k)?;
                return Ok(Matrix {
                    role,
                    layer,
                    k,
                    n,
                    tensors,
                    gain,
                    bias: vec![],
                });
            }
            Role::Qkv => (
                Some("input_layernorm.weight"),
                vec![
                    ("self_attn.q_proj", q),
                    ("self_attn.k_proj", kv),
                    ("self_attn.v_proj", kv),
                ],
                biases.qkv,
            ),
            Role::O => (None, vec![("self_attn.o_proj", n)], biases.o),
            Role::GateUp => (
                Some("post_attention_layernorm.weight"),
                vec![("mlp.gate_proj", n / 2), ("mlp.up_proj", n / 2)],
                biases.mlp,
            ),
            Role::Down => (None, vec![("mlp.down_proj", n)], biases.mlp),
        };
        let gain = norm.map_or(Ok(vec![]), |norm| self.values(&at(norm), k))?;
        let mut tensors = Vec::with_capacity(linears.len());
        let mut bias = Vec::new();
        for (linear, outputs) in linears {
            tensors.push(self.tensor(&at(&format!("{linear}.weight")), &[outputs, k])?);
            if biased {
                bias.extend(self.values(&at(&format!("{linear}.bias")), outputs)?);
            }
        }
        Ok(Matrix {
            role,
            layer,
            k,
            n,
            tensors,
            gain,
            bias,
        })
    }

    /// Its own tensor where there is one, as transformers 5 does; else the embedding's if tied.
    fn lm_head(&mut self, vocab: usize, hidden: usize) -> Result<Tensor<'a>, LoadError> {
        let tied = self.described.config.tie_word_embeddings.unwrap_or(false);
        let name = match self.checkpoint.has(LM_HEAD) {
            true => LM_HEAD,
            false if tied => EMBED_TOKENS,
            false => return Err(LoadError::Untied),
        };
        self.tensor(name, &[vocab, hidden])
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
            let at = |name: &str| format!("model.layers.{layer}.self_attn.{name}.weight");
            extras.q_norm = self.values(&at("q_norm"), head_dim)?;
            extras.k_norm = self.values(&at("k_norm"), head_dim)?;
        }
        Ok(extras)
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor<'a>, LoadError> {
        self.found.insert(name.into());
        self.checkpoint.tensor(name, shape)
    }

    fn values(&mut self, name: &str, length: usize) -> Result<Vec<f32>, LoadError> {
        self.tensor(name, &[length])?.read_all()
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
