//! The manifest: all that the payload must know of a checkpoint besides the weight matrices.
//!
//! A GPU host derives it from a Hugging Face directory and serves it; the payload parses it as
//! untrusted bytes and binds it into the model digest ([`crate::digest`]). Families differ only in
//! the features recorded here (biases, q/k norm, rope scaling, windows), so the payload needs one
//! decoder for all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Dimensions and features of the decoder.
    pub decoder: Decoder,
    /// How weights are stored: planes an element.
    pub weights: WeightFormat,
    /// Every weight matrix in canonical order: embedding; per layer qkv, o, gate_up, down; lm_head.
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

/// Rotary position embedding over the halves of a head (`rotate_half`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Rescaling of the frequencies for long contexts.
    pub scaling: RopeScaling,
}

/// Rescaling of rotary frequencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RopeScaling {
    /// None (`default`).
    None,
    /// `linear`: every frequency divided by `factor`.
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// `llama3`: long wavelengths divided by `factor`, short ones kept, a ramp between.
    Llama3 {
        /// Divisor of the long wavelengths.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are short.
        high_freq_factor: f64,
        /// Context length of the original training.
        original_max_position_embeddings: u32,
    },
}

/// Weight storage: integers of a column share a power-of-two scale.
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

    /// Name as on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            WeightFormat::Int16 => "int16",
            WeightFormat::Int8 => "int8",
        }
    }
}

/// What a projection is in the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// One weight matrix `W (k,n)`: `y (n,) = x (k,) @ W`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// Place in the decoder.
    pub role: Role,
    /// Layer, 0 for embedding and lm_head.
    pub layer: u32,
    /// Input features.
    pub k: u32,
    /// Outputs.
    pub n: u32,
    /// Per output c: `W[j][c] = round(w[j][c] * 2^exponents[c])`.
    pub exponents: Vec<i16>,
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
        let shapes = self.decoder.shapes(layers);
        check(self.projections.len() == shapes.len(), || {
            format!("{} projections for {layers} layers", self.projections.len())
        })?;
        for (projection, (role, layer, k, n)) in self.projections.iter().zip(shapes) {
            projection.validate(role, layer, k, n)?;
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

    fn validate(&self, role: Role, layer: u32, k: u32, n: u32) -> Result<(), ManifestError> {
        let name = || format!("{role:?} of layer {layer}");
        check(
            (self.role, self.layer, self.k, self.n) == (role, layer, k, n),
            || {
                format!(
                    "{} expected with {k} inputs and {n} outputs, found {:?} of layer {} with {} and {}",
                    name(),
                    self.role,
                    self.layer,
                    self.k,
                    self.n
                )
            },
        )?;
        check(self.exponents.len() == n as usize, || {
            format!(
                "{}: {} exponents for {n} outputs",
                name(),
                self.exponents.len()
            )
        })?;
        check(
            self.exponents.iter().all(|e| (-200..=200).contains(e)),
            || format!("{}: exponent out of range", name()),
        )?;
        check(
            self.bias.is_empty() || self.bias.len() == n as usize,
            || format!("{}: {} biases for {n} outputs", name(), self.bias.len()),
        )?;
        check(self.bias.iter().all(|b| b.is_finite()), || {
            format!("{}: bias not finite", name())
        })
    }
}

impl Decoder {
    /// Largest value of any dimension; keeps every product of two within 2^48.
    const MAX_DIMENSION: u32 = 1 << 24;

    /// Elements of all query heads.
    pub fn q_size(&self) -> u32 {
        self.num_attention_heads * self.head_dim
    }

    /// Elements of all key heads, and of all value heads.
    pub fn kv_size(&self) -> u32 {
        self.num_key_value_heads * self.head_dim
    }

    /// Role, layer, k and n of every projection in canonical order.
    pub fn shapes(&self, layers: usize) -> Vec<(Role, u32, u32, u32)> {
        let (h, i, v) = (self.hidden_size, self.intermediate_size, self.vocab_size);
        let (q, kv) = (self.q_size(), self.kv_size());
        let mut shapes = Vec::with_capacity(4 * layers + 2);
        shapes.push((Role::Embedding, 0, v, h));
        for l in 0..layers as u32 {
            shapes.push((Role::Qkv, l, h, q + 2 * kv));
            shapes.push((Role::O, l, q, h));
            shapes.push((Role::GateUp, l, h, 2 * i));
            shapes.push((Role::Down, l, i, h));
        }
        shapes.push((Role::LmHead, 0, h, v));
        shapes
    }

    /// Checks that every dimension is in range and that they agree; [`Decoder::shapes`] and the sizes are
    /// then free of overflow. The error says which does not.
    pub fn validate(&self) -> Result<(), String> {
        let dimensions = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
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
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim = {} is odd", self.head_dim));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(format!("rms_norm_eps = {}", self.rms_norm_eps));
        }
        self.rope.validate()
    }
}

impl Rope {
    fn validate(&self) -> Result<(), String> {
        let positive = |name: &str, value: f64| {
            let good = value.is_finite() && value > 0.0;
            if good {
                Ok(())
            } else {
                Err(format!("rope {name} = {value}, expected a positive number"))
            }
        };
        positive("theta", self.theta)?;
        match self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("factor", factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                ..
            } => {
                positive("factor", factor)?;
                positive("low_freq_factor", low_freq_factor)?;
                positive("high_freq_factor", high_freq_factor)?;
                if high_freq_factor <= low_freq_factor {
                    return Err("rope high_freq_factor must exceed low_freq_factor".into());
                }
                Ok(())
            }
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
