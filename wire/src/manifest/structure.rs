//! Structures of decoders: which projections there are, in which order, and by that which decoder of the payload
//! computes what stands between them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{Decoder, Place, Role};

/// A structure that the payload computes. Travels by name, so that a payload that does not know one can say which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// Per layer `x += o(attention(qkv(norm(x))))`, then `x += down(gated(gate_up(norm(x))))`: Llama and its kin.
    PreNorm,
}

impl Structure {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::PreNorm];

    /// Name in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreNorm => "pre-norm",
        }
    }

    /// The structure of a name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|structure| structure.name() == name)
    }

    /// Place, k and n of every projection in canonical order, in every structure the embedding first and lm_head last.
    /// The decoder is valid ([`Decoder::validate`]).
    pub fn shapes(self, decoder: &Decoder, layers: usize) -> Vec<(Place, u32, u32)> {
        match self {
            Self::PreNorm => pre_norm(decoder, layers),
        }
    }
}

/// Embedding; per layer qkv, o, gate_up, down; lm_head.
fn pre_norm(decoder: &Decoder, layers: usize) -> Vec<(Place, u32, u32)> {
    let (h, i) = (decoder.hidden_size, decoder.intermediate_size);
    let (q, kv) = (decoder.q_size(), decoder.kv_size());
    let of_layer = |layer| {
        [
            (Role::Qkv.of(layer), h, q + 2 * kv),
            (Role::O.of(layer), q, h),
            (Role::GateUp.of(layer), h, 2 * i),
            (Role::Down.of(layer), i, h),
        ]
    };
    let mut shapes = vec![(Place::EMBEDDING, decoder.vocab_size, h)];
    shapes.extend((0..layers as u32).flat_map(of_layer));
    shapes.push((Place::LM_HEAD, h, decoder.vocab_size));
    shapes
}

impl Serialize for Structure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Structure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <&str>::deserialize(deserializer)?;
        Self::find(name).ok_or_else(|| D::Error::custom("a structure that is not known"))
    }
}
