//! What differs between the families of decoders; all else is the same.

mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod tensors;

use talaria_wire::manifest::Structure;

pub use tensors::{Linears, TensorNames};

use super::LoadError;
use super::config::{Config, Head};

/// Which linear layers have biases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// Of q_proj, k_proj and v_proj.
    pub qkv: bool,
    /// Of o_proj.
    pub o: bool,
    /// Of gate_proj, up_proj and down_proj.
    pub mlp: bool,
}

/// A family of decoder-only transformers.
pub trait Family: Sync {
    /// `model_type` of config.json.
    fn model_type(&self) -> &'static str;

    /// Entry of `architectures` in config.json.
    fn architecture(&self) -> &'static str;

    /// Which decoder of the payload computes it.
    fn structure(&self) -> Structure {
        Structure::PreNorm
    }

    /// What its tensors are called.
    fn names(&self) -> &'static TensorNames {
        &tensors::LLAMA
    }

    /// Linear layers with biases.
    fn biases(&self, config: &Config) -> Biases;

    /// Whether queries and keys are normed per head.
    fn qk_norm(&self) -> bool {
        false
    }

    /// `head_dim` where config.json has none; none: hidden_size / num_attention_heads.
    fn default_head_dim(&self) -> Option<u32> {
        None
    }

    /// Whether a layer attends within a window, and how far; `layer_types` has not decided yet.
    fn sliding_window(&self, _config: &Config, _layer: u32) -> Option<u32> {
        None
    }

    /// The window of layers that `layer_types` calls `sliding_attention`.
    fn window_of_sliding_layers(&self, _config: &Config) -> Option<u32> {
        None
    }
}

/// All families.
const FAMILIES: [&dyn Family; 4] = [
    &qwen2::Qwen2,
    &qwen3::Qwen3,
    &llama::Llama,
    &mistral::Mistral,
];

/// The family that config.json names: by `architectures` where it is there, else by `model_type`.
pub fn of(head: &Head) -> Result<&'static dyn Family, LoadError> {
    FAMILIES
        .iter()
        .copied()
        .find(|family| match head.architecture() {
            Some(architecture) => architecture == family.architecture(),
            None => head.model_type.as_deref() == Some(family.model_type()),
        })
        .ok_or_else(|| LoadError::Architecture {
            found: found(head),
            supported: FAMILIES.map(Family::architecture).join(", "),
        })
}

fn found(head: &Head) -> String {
    match (head.architecture(), &head.model_type) {
        (Some(architecture), _) => architecture.into(),
        (None, Some(model_type)) => format!("of model_type {model_type}"),
        (None, None) => "(config.json has neither architectures nor model_type)".into(),
    }
}
