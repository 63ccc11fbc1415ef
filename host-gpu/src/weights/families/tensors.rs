//! What the tensors of a family are called, whatever prefix a checkpoint puts before them (`weights/names.rs`).

use talaria_wire::manifest::{Place, Role};

/// Names of modules; their tensors are `NAME.weight` and `NAME.bias`.
#[derive(Clone, Copy, Debug)]
pub struct TensorNames {
    /// What comes before the number of a layer.
    pub layers: &'static str,
    /// Table of token embeddings (vocab_size, hidden_size).
    pub embedding: &'static str,
    /// Query, key and value.
    pub qkv: Linears,
    /// Attention output.
    pub o: Linears,
    /// Gate and up.
    pub gate_up: Linears,
    /// Feed-forward output.
    pub down: Linears,
    /// Logits.
    pub lm_head: Linears,
    /// Norm of each query head.
    pub q_norm: &'static str,
    /// Norm of each key head.
    pub k_norm: &'static str,
}

/// Linear layers that make one projection.
#[derive(Clone, Copy, Debug)]
pub struct Linears {
    /// The norm before, whose gain is folded into the matrix.
    pub norm: Option<&'static str>,
    /// In the order of the projection's outputs; one alone has all of them.
    pub parts: &'static [&'static str],
}

/// Names of Llama, which most families kept.
pub(super) const LLAMA: TensorNames = TensorNames {
    layers: "model.layers",
    embedding: "model.embed_tokens",
    qkv: Linears {
        norm: Some("input_layernorm"),
        parts: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    },
    o: Linears {
        norm: None,
        parts: &["self_attn.o_proj"],
    },
    gate_up: Linears {
        norm: Some("post_attention_layernorm"),
        parts: &["mlp.gate_proj", "mlp.up_proj"],
    },
    down: Linears {
        norm: None,
        parts: &["mlp.down_proj"],
    },
    lm_head: Linears {
        norm: Some("model.norm"),
        parts: &["lm_head"],
    },
    q_norm: "self_attn.q_norm",
    k_norm: "self_attn.k_norm",
};

impl TensorNames {
    /// What makes a projection; none for the embedding, which is a table.
    pub fn linears(&self, role: Role) -> Option<Linears> {
        match role {
            Role::Embedding => None,
            Role::Qkv => Some(self.qkv),
            Role::O => Some(self.o),
            Role::GateUp => Some(self.gate_up),
            Role::Down => Some(self.down),
            Role::LmHead => Some(self.lm_head),
        }
    }

    /// Full name of a module of the layer of `place`, or of one that is there once.
    pub fn at(&self, place: Place, module: &str) -> String {
        match place.role.is_of_layers() {
            true => format!("{}.{}.{module}", self.layers, place.layer),
            false => module.into(),
        }
    }
}
