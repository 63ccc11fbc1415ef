//! Places of weight matrices in a decoder, and their names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a projection is in the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// One-hot row to hidden row: k = vocab_size, n = hidden_size.
    Embedding,
    /// Query, key and value, outputs in this order.
    Qkv,
    /// Attention output.
    O,
    /// Gate, then up.
    GateUp,
    /// Feed-forward output.
    Down,
    /// Hidden row to logits.
    LmHead,
}

impl Role {
    /// `embedding`, `qkv`, `gate_up`.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Embedding => "embedding",
            Role::Qkv => "qkv",
            Role::O => "o",
            Role::GateUp => "gate_up",
            Role::Down => "down",
            Role::LmHead => "lm_head",
        }
    }

    /// Whether every layer has one, or the decoder one for all.
    pub const fn is_of_layers(self) -> bool {
        !matches!(self, Role::Embedding | Role::LmHead)
    }

    /// The projection of a layer.
    pub const fn of(self, layer: u32) -> Place {
        Place { role: self, layer }
    }
}

/// Which projection of a decoder. Shown as `layer 3 qkv`, `embedding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// What it is.
    pub role: Role,
    /// Layer, 0 for what is there once.
    pub layer: u32,
}

impl Place {
    /// The embedding.
    pub const EMBEDDING: Self = Role::Embedding.of(0);
    /// The projection to logits.
    pub const LM_HEAD: Self = Role::LmHead.of(0);
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.role.is_of_layers() {
            write!(f, "layer {} ", self.layer)?;
        }
        f.write_str(self.role.name())
    }
}
