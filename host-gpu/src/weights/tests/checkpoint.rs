//! Tiny checkpoints made on the fly, good ones and ones with a chosen defect.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A tensor as stored.
#[derive(Clone)]
pub(in crate::weights) struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Stored {
    pub(in crate::weights) fn bytes(&self) -> Vec<u8> {
        let values = self.values.iter();
        match self.dtype {
            Dtype::BF16 => values
                .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
                .collect(),
            Dtype::F16 => values
                .flat_map(|v| half::f16::from_f32(*v).to_le_bytes())
                .collect(),
            Dtype::F32 => values.flat_map(|v| v.to_le_bytes()).collect(),
            Dtype::I32 => values.flat_map(|v| (*v as i32).to_le_bytes()).collect(),
            other => panic!("no test stores {other}"),
        }
    }
}

/// A checkpoint not written yet: change it, then write it.
#[derive(Clone)]
pub(in crate::weights) struct Tiny {
    pub config: Value,
    pub tensors: BTreeMap<String, Stored>,
    pub files: BTreeMap<String, Vec<u8>>,
}

pub(in crate::weights) const HIDDEN: usize = 8;
pub(in crate::weights) const FFN: usize = 12;
pub(in crate::weights) const HEADS: usize = 4;
pub(in crate::weights) const KV_HEADS: usize = 2;
pub(in crate::weights) const HEAD_DIM: usize = 4;
pub(in crate::weights) const VOCAB: usize = 20;
pub(in crate::weights) const LAYERS: usize = 2;

impl Tiny {
    /// Two layers of a family, untied, every optional part that the family always has.
    pub(in crate::weights) fn of(model_type: &str, dtype: Dtype) -> Self {
        let architecture = match model_type {
            "qwen2" => "Qwen2ForCausalLM",
            "qwen3" => "Qwen3ForCausalLM",
            "llama" => "LlamaForCausalLM",
            "mistral" => "MistralForCausalLM",
            other => panic!("no family {other}"),
        };
        let config = json!({
            "architectures": [architecture], "model_type": model_type, "hidden_act": "silu",
            "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
            "vocab_size": VOCAB, "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0, "tie_word_embeddings": false, "sliding_window": null,
            "eos_token_id": 1, "bos_token_id": 2,
        });
        let mut tiny = Self {
            config,
            tensors: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        tiny.add("model.embed_tokens.weight", &[VOCAB, HIDDEN], dtype);
        tiny.add("model.norm.weight", &[HIDDEN], dtype);
        tiny.add("lm_head.weight", &[VOCAB, HIDDEN], dtype);
        for layer in 0..LAYERS {
            tiny.add_layer(layer, model_type, dtype);
        }
        tiny
    }

    /// A bf16 llama, for tests that are about something else.
    pub(in crate::weights) fn plain() -> Self {
        Self::of("llama", Dtype::BF16)
    }

    fn add_layer(&mut self, layer: usize, model_type: &str, dtype: Dtype) {
        let (q, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        let linears = [
            ("self_attn.q_proj", q, HIDDEN),
            ("self_attn.k_proj", kv, HIDDEN),
            ("self_attn.v_proj", kv, HIDDEN),
            ("self_attn.o_proj", HIDDEN, q),
            ("mlp.gate_proj", FFN, HIDDEN),
            ("mlp.up_proj", FFN, HIDDEN),
            ("mlp.down_proj", HIDDEN, FFN),
        ];
        for (i, (name, outputs, inputs)) in linears.into_iter().enumerate() {
            self.add(&at(&format!("{name}.weight")), &[outputs, inputs], dtype);
            if model_type == "qwen2" && i < 3 {
                self.add(&at(&format!("{name}.bias")), &[outputs], dtype);
            }
        }
        for norm in ["input_layernorm.weight", "post_attention_layernorm.weight"] {
            self.add(&at(norm), &[HIDDEN], dtype);
        }
        if model_type == "qwen3" {
            for norm in ["self_attn.q_norm.weight", "self_attn.k_norm.weight"] {
                self.add(&at(norm), &[HEAD_DIM], dtype);
            }
        }
    }

    /// Adds or replaces a tensor of made-up values, different for every name.
    pub(in crate::weights) fn add(&mut self, name: &str, shape: &[usize], dtype: Dtype) {
        let seed = name
            .bytes()
            .fold(1u32, |h, b| h.wrapping_mul(31) ^ u32::from(b));
        let value = |i: usize| {
            let mixed = (seed ^ i as u32).wrapping_mul(0x9e37_79b9).rotate_left(15);
            mixed.wrapping_mul(0x85eb_ca6b) as i32 as f32 / 2f32.powi(31)
        };
        let stored = Stored {
            dtype,
            shape: shape.into(),
            values: (0..shape.iter().product()).map(value).collect(),
        };
        self.tensors.insert(name.into(), stored);
    }

    /// The tensor of this name.
    pub(in crate::weights) fn tensor(&mut self, name: &str) -> &mut Stored {
        self.tensors.get_mut(name).unwrap()
    }

    /// Sets a key of config.json.
    pub(in crate::weights) fn set(&mut self, key: &str, value: Value) -> &mut Self {
        self.config[key] = value;
        self
    }

    /// Removes a key of config.json.
    pub(in crate::weights) fn unset(&mut self, key: &str) -> &mut Self {
        self.config.as_object_mut().unwrap().remove(key).unwrap();
        self
    }

    /// Writes it with one safetensors file.
    pub(in crate::weights) fn write(&self) -> TempDir {
        let dir = self.write_without_weights();
        write_tensors(&dir.path().join("model.safetensors"), self.tensors.iter());
        dir
    }

    /// Writes it in two shards and an index.
    pub(in crate::weights) fn write_sharded(&self) -> TempDir {
        let dir = self.write_without_weights();
        let mut weight_map = BTreeMap::new();
        for part in 0..2 {
            let name = format!("model-0000{}-of-00002.safetensors", part + 1);
            let tensors = self.tensors.iter().enumerate();
            let tensors: Vec<_> = tensors
                .filter(|(i, _)| i % 2 == part)
                .map(|(_, t)| t)
                .collect();
            weight_map.extend(
                tensors
                    .iter()
                    .map(|(tensor, _)| (tensor.to_string(), name.clone())),
            );
            write_tensors(&dir.path().join(name), tensors.into_iter());
        }
        let index = json!({ "metadata": {"total_size": 0}, "weight_map": weight_map });
        fs::write(
            dir.path().join("model.safetensors.index.json"),
            index.to_string(),
        )
        .unwrap();
        dir
    }

    fn write_without_weights(&self) -> TempDir {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("config.json"), self.config.to_string()).unwrap();
        for (name, bytes) in &self.files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }
}

fn write_tensors<'a>(path: &Path, tensors: impl Iterator<Item = (&'a String, &'a Stored)>) {
    let tensors: Vec<_> = tensors.map(|(name, t)| (name, t, t.bytes())).collect();
    let views = tensors.iter().map(|(name, t, bytes)| {
        (
            name,
            TensorView::new(t.dtype, t.shape.clone(), bytes).unwrap(),
        )
    });
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}
