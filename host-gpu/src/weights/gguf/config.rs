//! The metadata of a GGUF file as the config.json that it was made from.
//!
//! Keys: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, `Keys` in gguf-py's constants.py.

use serde_json::{Map, Value as Json, json};

use super::super::LoadError;
use super::super::rows::Rows;
use super::header::{Header, Value};
use super::tensors;
use super::vocabulary::Vocabulary;

/// Divisors of rotary frequencies, stored as tensors: of all contexts, of long ones, of short ones.
pub(super) const ROPE_FACTORS: [&str; 3] = [
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
];

/// The embedding, whose rows are the vocabulary.
const EMBEDDING: &str = "token_embd.weight";

/// `general.architecture`, of those that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama, and Mistral, which ggml counts as Llama.
    Llama,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3, dense.
    Qwen3,
}

const ARCHITECTURES: [Architecture; 3] = [
    Architecture::Llama,
    Architecture::Qwen2,
    Architecture::Qwen3,
];

impl Architecture {
    /// The one that a file names.
    pub fn of(header: &Header) -> Result<Self, LoadError> {
        let found = match header.metadata.get("general.architecture") {
            Some(Value::Text(name)) => String::from_utf8_lossy(name).into_owned(),
            _ => return Err(header.invalid("it has no general.architecture".into())),
        };
        let named = ARCHITECTURES.into_iter().find(|a| a.name() == found);
        named.ok_or_else(|| LoadError::Architecture {
            found,
            supported: ARCHITECTURES.map(Architecture::name).join(", "),
        })
    }

    /// ggml's name, which begins all keys.
    pub const fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// Whether the rotated dimensions of a head are stored in pairs instead of halves.
    pub const fn is_interleaved(self) -> bool {
        matches!(self, Architecture::Llama)
    }
}

/// Keys that change the forward pass in a way that the payload does not compute, unless they are 0 or false.
const REFUSED: [&str; 10] = [
    "expert_count",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attention.scale",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "logit_scale",
    "embedding_scale",
    "residual_scale",
    "use_parallel_residual",
];

/// config.json.
pub(super) fn config_json(
    header: &Header,
    architecture: Architecture,
    vocabulary: Option<&Vocabulary>,
) -> Result<Json, LoadError> {
    let keys = Keys {
        header,
        architecture: architecture.name(),
    };
    keys.refuse_unsupported()?;
    let has = |tensor: &str| header.tensors.contains_key(tensor);
    let mut config = Map::new();
    let mut set = |key: &str, value: Json| config.insert(key.into(), value);
    set("architectures", json!([architecture.class()]));
    set("model_type", json!(architecture.name()));
    let hidden_size = keys.required("embedding_length")?;
    let heads = keys.required("attention.head_count")?;
    set("hidden_size", json!(hidden_size));
    set(
        "intermediate_size",
        json!(keys.required("feed_forward_length")?),
    );
    set("num_hidden_layers", json!(keys.required("block_count")?));
    set("num_attention_heads", json!(heads));
    let kv_heads = keys.integer("attention.head_count_kv")?;
    set("num_key_value_heads", json!(kv_heads.unwrap_or(heads)));
    set(
        "max_position_embeddings",
        json!(keys.required("context_length")?),
    );
    let head_dim = keys.head_dim(hidden_size, heads)?;
    set("head_dim", json!(head_dim));
    let eps = keys.float("attention.layer_norm_rms_epsilon")?;
    set(
        "rms_norm_eps",
        json!(eps.ok_or_else(|| keys.missing("attention.layer_norm_rms_epsilon"))?),
    );
    set("vocab_size", json!(keys.vocab_size()?));
    set("tie_word_embeddings", json!(!has("output.weight")));
    set("attention_bias", json!(has("blk.0.attn_q.bias")));
    set("mlp_bias", json!(has("blk.0.ffn_gate.bias")));
    if let Some(dimensions) = keys.integer("rope.dimension_count")?
        && dimensions != head_dim
    {
        let factor = dimensions as f64 / head_dim as f64;
        set("partial_rotary_factor", json!(factor));
    }
    set(
        "rope_theta",
        json!(keys.float("rope.freq_base")?.unwrap_or(10_000.0)),
    );
    set("rope_scaling", keys.rope_scaling(head_dim)?);
    if let Some(vocabulary) = vocabulary {
        set("eos_token_id", json!(vocabulary.end_of_generation()));
    }
    Ok(Json::Object(config))
}

/// Looks up keys of an architecture.
struct Keys<'h> {
    header: &'h Header,
    architecture: &'static str,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.header.metadata.get(&self.key(key))
    }

    fn missing(&self, key: &str) -> LoadError {
        self.header.invalid(format!("it has no {}", self.key(key)))
    }

    fn required(&self, key: &str) -> Result<u64, LoadError> {
        self.integer(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number, or the one that all layers have.
    fn integer(&self, key: &str) -> Result<Option<u64>, LoadError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let mut layers = value.scalars();
        let first = layers.next();
        let number = match &first {
            Some(Value::Integer(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| {
            let key = self.key(key);
            self.header.invalid(format!("{key} is no number"))
        })?;
        if layers.all(|other| Some(other) == first) {
            return Ok(Some(number));
        }
        Err(LoadError::Feature {
            feature: format!("{} that differs by layer", self.key(key)),
            supported: "layers that are all alike",
        })
    }

    fn float(&self, key: &str) -> Result<Option<f64>, LoadError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(number)) if number.is_finite() => Ok(Some(*number)),
            Some(_) => {
                let key = self.key(key);
                Err(self.header.invalid(format!("{key} is no finite number")))
            }
        }
    }

    fn refuse_unsupported(&self) -> Result<(), LoadError> {
        let neutral = [Value::Integer(0), Value::Float(0.0), Value::Bool(false)];
        for key in REFUSED {
            match self.get(key) {
                Some(value) if !neutral.contains(value) => {
                    return Err(LoadError::Feature {
                        feature: self.key(key),
                        supported: "files without it",
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn head_dim(&self, hidden_size: u64, heads: u64) -> Result<u64, LoadError> {
        let key = self.integer("attention.key_length")?;
        let value = self.integer("attention.value_length")?;
        let derived = hidden_size.checked_div(heads).unwrap_or(0);
        let head_dim = key.unwrap_or(derived);
        if value.unwrap_or(derived) != head_dim {
            return Err(LoadError::Feature {
                feature: format!(
                    "{} other than key_length",
                    self.key("attention.value_length")
                ),
                supported: "keys and values of one length",
            });
        }
        Ok(head_dim)
    }

    fn vocab_size(&self) -> Result<usize, LoadError> {
        match self.header.tensors.get(EMBEDDING).map(|t| &t.shape[..]) {
            Some([rows, _]) => Ok(*rows),
            Some(_) => Err(self.header.invalid(format!("{EMBEDDING} is no matrix"))),
            None => Err(LoadError::MissingTensor {
                tensor: EMBEDDING.into(),
                model_type: self.architecture.into(),
            }),
        }
    }

    /// `rope_scaling`: the type that the metadata names, or divisors of frequencies stored as a tensor.
    fn rope_scaling(&self, head_dim: u64) -> Result<Json, LoadError> {
        let [all, long, short] = ROPE_FACTORS;
        let original = self.integer("rope.scaling.original_context_length")?;
        if let Some(factors) = self.factors(all, head_dim)? {
            // Llama 3 and later, whose rescaling is stored as what it makes of each frequency.
            return Ok(json!({
                "rope_type": "longrope", "long_factor": &factors, "short_factor": factors, "attention_factor": 1.0,
                "original_max_position_embeddings": original.map_or(self.required("context_length"), Ok)?,
            }));
        }
        if let (Some(long), Some(short)) = (
            self.factors(long, head_dim)?,
            self.factors(short, head_dim)?,
        ) {
            let attention = self.float("rope.scaling.attn_factor")?;
            return Ok(json!({
                "rope_type": "longrope", "long_factor": long, "short_factor": short,
                "attention_factor": attention.unwrap_or(1.0),
                "original_max_position_embeddings": original.ok_or_else(|| self.missing("rope.scaling.original_context_length"))?,
            }));
        }
        let kind = match self.get("rope.scaling.type") {
            Some(Value::Text(kind)) => String::from_utf8_lossy(kind).into_owned(),
            // The key of files of 2023.
            _ if self.get("rope.scale_linear").is_some() => "linear".into(),
            _ => "none".into(),
        };
        let factor = match self.float("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.float("rope.scale_linear")?,
        };
        match kind.as_str() {
            "none" => Ok(Json::Null),
            "linear" => match factor {
                None | Some(0.0 | 1.0) => Ok(Json::Null),
                Some(factor) => Ok(json!({"rope_type": "linear", "factor": factor})),
            },
            "yarn" => self.yarn(factor, original),
            other => Err(LoadError::Feature {
                feature: format!("{} {other}", self.key("rope.scaling.type")),
                supported: "none, linear, yarn, or factors stored as tensors",
            }),
        }
    }

    fn yarn(&self, factor: Option<f64>, original: Option<u64>) -> Result<Json, LoadError> {
        let factor = factor.ok_or_else(|| self.missing("rope.scaling.factor"))?;
        let mut yarn = json!({"rope_type": "yarn", "factor": factor});
        let mut set = |key: &str, value: Option<Json>| {
            if let Some(value) = value {
                yarn[key] = value;
            }
        };
        set(
            "original_max_position_embeddings",
            original.map(|o| json!(o)),
        );
        for (ours, theirs) in [
            ("beta_fast", "yarn_beta_fast"),
            ("beta_slow", "yarn_beta_slow"),
        ] {
            let beta = self.float(&format!("rope.scaling.{theirs}"))?;
            set(ours, beta.map(|b| json!(b)));
        }
        // ggml multiplies its factor by the one that transformers takes by default.
        let attention = match self.float("rope.scaling.yarn_attn_factor")? {
            None => self.float("rope.scaling.attn_factor")?,
            attention => attention,
        };
        set(
            "attention_factor",
            attention.map(|a| json!(a * (0.1 * factor.ln() + 1.0))),
        );
        Ok(yarn)
    }

    /// Divisors of the frequencies of a head (head_dim / 2,), if the file has them.
    fn factors(&self, tensor: &str, head_dim: u64) -> Result<Option<Vec<f32>>, LoadError> {
        let Some(info) = self.header.tensors.get(tensor) else {
            return Ok(None);
        };
        if info.shape.len() != 1 || info.shape[0] as u64 != head_dim / 2 {
            return Err(LoadError::Shape {
                tensor: tensor.into(),
                expected: vec![(head_dim / 2) as usize],
                found: info.shape.clone(),
            });
        }
        let stored = tensors::stored(self.header, info);
        let mut raw = vec![0; info.row_bytes];
        let mut factors = vec![0.0; info.shape[0]];
        stored.read(0, &mut raw)?;
        stored.decode(0, &raw, &mut factors);
        match factors.iter().position(|f| !f.is_finite() || *f <= 0.0) {
            None => Ok(Some(factors)),
            Some(at) => Err(self.header.invalid(format!(
                "{tensor} is {} at {at}: every factor must be above 0",
                factors[at]
            ))),
        }
    }
}
