//! The manifest: all that the payload must know of a checkpoint besides the weight matrices.
//!
//! A GPU host derives it from a Hugging Face directory and serves it; the payload parses it as
//! untrusted bytes and binds it into the model digest ([`crate::digest`]). Families differ only in
//! the features recorded here (biases, q/k norm, rope scaling, windows), so the payload needs one
//! decoder for all of one [`Structure`].

mod place;
mod structure;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use place::{Place, Role};
pub use structure::Structure;

use crate::shape::MatrixShape;
mod rope;

pub use rope::{Rope, RopeFrequencies};

/// Version of this format. A payload refuses any other.
pub const FORMAT: u32 = 2;

/// Longest manifest a reader accepts, in bytes (tokenizers of large vocabularies take some 10 MB).
pub const MAX_MANIFEST_BYTES: usize = 256 << 20;

/// A checkpoint without its weight matrices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Which decoder computes what stands between the projections.
    pub structure: Structure,
    /// Dimensions and features of the decoder.
    pub decoder: Decoder,
    /// How weights are stored: planes an element.
    pub weights: WeightFormat,
    /// Every weight matrix in canonical order ([`Structure::shapes`]).
    pub projections: Vec<Projection>,
    /// Per layer: what cannot be folded into a matrix.
    pub layers: Vec<LayerExtras>,
    /// Defaults from generation_config.json and config.json.
    pub generation: Generation,
    /// Tokenizer files as found in the checkpoint, JSON in RFC 8259, by file name (`tokenizer.json`,
    /// `tokenizer_config.json`, `chat_template.jinja`, `special_tokens_map.json`).
    pub text_files: BTreeMap<String, Vec<u8>>,
}

/// Dimensions and features of a decoder-only transformer; names as in Hugging Face configs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoder {
    /// Family as in config.json, for people: `qwen2`, `qwen3`, `llama`, `mistral`.
    pub model_type: String,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Width of the gated feed-forward layer.
    pub intermediate_size: u32,
    /// Query heads.
    pub num_attention_heads: u32,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: u32,
    /// Elements of a head; even.
    pub head_dim: u32,
    /// Tokens in the vocabulary.
    pub vocab_size: u32,
    /// Longest sequence, prompt and reply together.
    pub max_position_embeddings: u32,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f32,
    /// Rotary embedding.
    pub rope: Rope,
}

/// Weight storage: integers of a column share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WeightFormat {
    /// `W = 256 * hi + lo`, two balanced int8 planes.
    Int16,
    /// One int8 plane.
    Int8,
}

impl WeightFormat {
    /// Number of int8 planes of each matrix.
    pub const fn planes(self) -> usize {
        match self {
            WeightFormat::Int16 => 2,
            WeightFormat::Int8 => 1,
        }
    }

    /// The format with so many planes.
    pub const fn of_planes(planes: u32) -> Option<Self> {
        match planes {
            1 => Some(WeightFormat::Int8),
            2 => Some(WeightFormat::Int16),
            _ => None,
        }
    }

    /// Name as on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            WeightFormat::Int16 => "int16",
            WeightFormat::Int8 => "int8",
        }
    }
}

/// One weight matrix `W (k,n)`: `y (n,) = x (k,) @ W`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// Which one it is.
    pub place: Place,
    /// Input features.
    pub k: u32,
    /// Outputs.
    pub n: u32,
    /// Per output c: `W[j][c] = round(w[j][c] / scales[c])`. A power of two with int16 weights; a float near
    /// `max_j |w[j][c]| / 127` with int8.
    pub scales: Vec<f32>,
    /// Per output, added in the payload; empty where the family has none.
    pub bias: Vec<f32>,
}

/// What a layer needs besides matrices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerExtras {
    /// Gain of the per-head query norm (head_dim,), empty where the family has none.
    pub q_norm: Vec<f32>,
    /// Gain of the per-head key norm (head_dim,), empty where the family has none.
    pub k_norm: Vec<f32>,
    /// Position i sees j with `i - window < j <= i`; none: all j <= i.
    pub sliding_window: Option<u32>,
}

/// Generation defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// Tokens that end a reply.
    pub eos_token_ids: Vec<u32>,
    /// `do_sample` and what goes with it, for clients that ask for the model's defaults.
    pub do_sample: bool,
    /// Sampling temperature.
    pub temperature: Option<f32>,
    /// Keep the k likeliest tokens.
    pub top_k: Option<u32>,
    /// Keep the smallest set of tokens with this probability.
    pub top_p: Option<f32>,
    /// Keep tokens at least this likely relative to the likeliest.
    pub min_p: Option<f32>,
    /// Divides (multiplies if negative) logits of tokens seen.
    pub repetition_penalty: Option<f32>,
}

/// Why manifest bytes are refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Longer than [`MAX_MANIFEST_BYTES`].
    #[error("manifest of {0} bytes is longer than {MAX_MANIFEST_BYTES}")]
    TooLong(usize),
    /// Not a manifest.
    #[error("manifest does not parse: {0}")]
    Malformed(postcard::Error),
    /// Bytes after the end.
    #[error("manifest has {0} bytes after its end")]
    Trailing(usize),
    /// Another format.
    #[error("manifest format {0}, expected {FORMAT}: use hosts and payload of one release")]
    Format(u32),
    /// A decoder that this payload does not have.
    #[error(
        "the model is of structure {0:?}, this payload computes {known}: use a payload that has a decoder for it",
        known = Structure::ALL.map(Structure::name).join(", ")
    )]
    Structure(String),
    /// A field contradicts another.
    #[error("manifest is inconsistent: {0}")]
    Inconsistent(String),
}

impl Manifest {
    /// Canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain data always serialises")
    }

    /// Parses and validates bytes of an untrusted host: every length and dimension agrees with every
    /// other when this returns.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong(bytes.len()));
        }
        check_head(bytes)?;
        let (manifest, rest): (Self, _) =
            postcard::take_from_bytes(bytes).map_err(ManifestError::Malformed)?;
        if !rest.is_empty() {
            return Err(ManifestError::Trailing(rest.len()));
        }
        manifest.validate()?;
        Ok(manifest)
    }

    /// Checks that all parts agree.
    pub fn validate(&self) -> Result<(), ManifestError> {
        if self.format != FORMAT {
            return Err(ManifestError::Format(self.format));
        }
        self.decoder
            .validate()
            .map_err(ManifestError::Inconsistent)?;
        let layers = self.layers.len();
        let shapes = self.structure.shapes(&self.decoder, layers);
        check(self.projections.len() == shapes.len(), || {
            format!("{} projections for {layers} layers", self.projections.len())
        })?;
        for (projection, (place, k, n)) in self.projections.iter().zip(shapes) {
            projection.validate(place, k, n)?;
        }
        let d = self.decoder.head_dim as usize;
        for (l, extras) in self.layers.iter().enumerate() {
            for (name, gain) in [("q_norm", &extras.q_norm), ("k_norm", &extras.k_norm)] {
                check(gain.is_empty() || gain.len() == d, || {
                    format!(
                        "layer {l}: {name} has {} elements, head_dim is {d}",
                        gain.len()
                    )
                })?;
                check(gain.iter().all(|g| g.is_finite()), || {
                    format!("layer {l}: {name} not finite")
                })?;
            }
            check(extras.sliding_window != Some(0), || {
                format!("layer {l}: sliding window of 0")
            })?;
        }
        let vocab = self.decoder.vocab_size;
        for id in &self.generation.eos_token_ids {
            check(*id < vocab, || {
                format!("eos token {id} outside the vocabulary of {vocab}")
            })?;
        }
        Ok(())
    }

    /// Index of a projection, if the structure has it.
    pub fn index_of(&self, place: Place) -> Option<usize> {
        self.projections.iter().position(|p| p.place == place)
    }

    /// Bytes of all weight planes.
    pub fn weight_bytes(&self) -> u64 {
        let planes = self.weights.planes() as u64;
        self.projections
            .iter()
            .map(|p| p.plane_bytes() * planes)
            .sum()
    }
}

impl Projection {
    /// Bytes of one plane: k * n.
    pub fn plane_bytes(&self) -> u64 {
        u64::from(self.k) * u64::from(self.n)
    }

    /// Its shape in a model of this format.
    pub fn shape(&self, format: WeightFormat) -> MatrixShape {
        MatrixShape {
            k: self.k as usize,
            n: self.n as usize,
            format,
        }
    }

    fn validate(&self, place: Place, k: u32, n: u32) -> Result<(), ManifestError> {
        check((self.place, self.k, self.n) == (place, k, n), || {
            format!(
                "{place} expected with {k} inputs and {n} outputs, found {} with {} and {}",
                self.place, self.k, self.n
            )
        })?;
        check(self.scales.len() == n as usize, || {
            format!("{place}: {} scales for {n} outputs", self.scales.len())
        })?;
        // 2^-126 <= scale < 2^128: with the exponents of rows, f64 holds every product as a normal number.
        check(
            self.scales.iter().all(|s| s.is_normal() && *s > 0.0),
            || format!("{place}: a scale is not a positive normal float"),
        )?;
        check(
            self.bias.is_empty() || self.bias.len() == n as usize,
            || format!("{place}: {} biases for {n} outputs", self.bias.len()),
        )?;
        check(self.bias.iter().all(|b| b.is_finite()), || {
            format!("{place}: bias not finite")
        })
    }
}

impl Decoder {
    /// Largest value of any dimension; keeps every product of two within 2^48.
    const MAX_DIMENSION: u32 = 1 << 24;
    /// Most elements of a head: what has to be done for each position stays small.
    const MAX_HEAD_DIM: u32 = 1 << 12;

    /// Checks that a head of so many elements can be rotated. The error says why not.
    pub fn check_head_dim(head_dim: u32) -> Result<(), String> {
        if !(1..=Self::MAX_HEAD_DIM).contains(&head_dim) {
            return Err(format!(
                "head_dim = {head_dim}, expected 1..={}",
                Self::MAX_HEAD_DIM
            ));
        }
        if !head_dim.is_multiple_of(2) {
            return Err(format!("head_dim = {head_dim} is odd"));
        }
        Ok(())
    }

    /// Elements of all query heads.
    pub fn q_size(&self) -> u32 {
        self.num_attention_heads * self.head_dim
    }

    /// Elements of all key heads, and of all value heads.
    pub fn kv_size(&self) -> u32 {
        self.num_key_value_heads * self.head_dim
    }

    /// Checks that every dimension is in range and that they agree; [`Structure::shapes`] and the sizes are
    /// then free of overflow. The error says which does not.
    pub fn validate(&self) -> Result<(), String> {
        let dimensions = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (name, value) in dimensions {
            if !(1..=Self::MAX_DIMENSION).contains(&value) {
                return Err(format!(
                    "{name} = {value}, expected 1..={}",
                    Self::MAX_DIMENSION
                ));
            }
        }
        Self::check_head_dim(self.head_dim)?;
        let widest = u64::from(self.num_attention_heads.max(self.num_key_value_heads))
            * u64::from(self.head_dim);
        if widest * 3 > u64::from(Self::MAX_DIMENSION) {
            return Err(format!("heads of {widest} elements are too wide"));
        }
        if !self
            .num_attention_heads
            .is_multiple_of(self.num_key_value_heads)
        {
            return Err(format!(
                "{} query heads cannot share {} key heads",
                self.num_attention_heads, self.num_key_value_heads
            ));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(format!("rms_norm_eps = {}", self.rms_norm_eps));
        }
        self.rope.validate(self.head_dim)
    }
}

/// Longest name of a structure that is repeated in an error.
const MAX_STRUCTURE_NAME: usize = 64;

/// Format and structure come first, so that a manifest of another release is refused by name.
fn check_head(bytes: &[u8]) -> Result<(), ManifestError> {
    let (format, rest) =
        postcard::take_from_bytes::<u32>(bytes).map_err(ManifestError::Malformed)?;
    if format != FORMAT {
        return Err(ManifestError::Format(format));
    }
    let (structure, _) =
        postcard::take_from_bytes::<&str>(rest).map_err(ManifestError::Malformed)?;
    match Structure::find(structure) {
        Some(_) => Ok(()),
        None => {
            let name = structure.chars().take(MAX_STRUCTURE_NAME).collect();
            Err(ManifestError::Structure(name))
        }
    }
}

fn check(good: bool, message: impl FnOnce() -> String) -> Result<(), ManifestError> {
    if good {
        Ok(())
    } else {
        Err(ManifestError::Inconsistent(message()))
    }
}

#[cfg(test)]
mod tests;
