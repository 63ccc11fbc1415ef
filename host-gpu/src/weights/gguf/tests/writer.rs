//! Writes GGUF files, good ones and ones with a chosen defect.

use std::io::Write;

use safetensors::Dtype;
use tempfile::NamedTempFile;

use crate::weights::tests::checkpoint::{HEAD_DIM, Tiny};

/// A tensor: dimensions fastest first.
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) dimensions: Vec<u64>,
    pub(super) kind: u32,
    pub(super) bytes: Vec<u8>,
    /// Instead of where it is.
    pub(super) offset: Option<u64>,
}

/// A file not written yet: change it, then write it.
pub(super) struct File {
    pub(super) version: u32,
    /// Key and value with its type.
    pub(super) pairs: Vec<(String, Vec<u8>)>,
    pub(super) tensors: Vec<Stored>,
    /// Instead of how many there are.
    pub(super) tensor_count: Option<u64>,
    pub(super) pair_count: Option<u64>,
}

pub(super) fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [&8u32.to_le_bytes()[..], &string(text.as_bytes())].concat()
}

pub(super) fn u32_value(number: u32) -> Vec<u8> {
    [4u32.to_le_bytes(), number.to_le_bytes()].concat()
}

pub(super) fn f32_value(number: f32) -> Vec<u8> {
    [6u32.to_le_bytes(), number.to_le_bytes()].concat()
}

pub(super) fn bool_value(flag: bool) -> Vec<u8> {
    [&7u32.to_le_bytes()[..], &[u8::from(flag)]].concat()
}

fn array(kind: u32, count: usize, elements: Vec<u8>) -> Vec<u8> {
    let head = [9u32.to_le_bytes(), kind.to_le_bytes()].concat();
    [head, (count as u64).to_le_bytes().to_vec(), elements].concat()
}

pub(super) fn texts(all: &[&str]) -> Vec<u8> {
    let strings = all.iter().flat_map(|t| string(t.as_bytes()));
    array(8, all.len(), strings.collect())
}

pub(super) fn i32_array(all: &[i32]) -> Vec<u8> {
    array(
        5,
        all.len(),
        all.iter().flat_map(|n| n.to_le_bytes()).collect(),
    )
}

pub(super) fn f32_array(all: &[f32]) -> Vec<u8> {
    array(
        6,
        all.len(),
        all.iter().flat_map(|n| n.to_le_bytes()).collect(),
    )
}

impl File {
    /// What a checkpoint of one of the families would be converted to.
    pub(super) fn of(tiny: &Tiny) -> Self {
        let config = |key: &str| tiny.config[key].as_u64().unwrap() as u32;
        let architecture = tiny.config["model_type"].as_str().unwrap().to_owned();
        let mut file = Self {
            version: 3,
            pairs: vec![("general.architecture".into(), text(&architecture))],
            tensors: Vec::new(),
            tensor_count: None,
            pair_count: None,
        };
        for (theirs, ours) in [
            ("block_count", "num_hidden_layers"),
            ("context_length", "max_position_embeddings"),
            ("embedding_length", "hidden_size"),
            ("feed_forward_length", "intermediate_size"),
            ("attention.head_count", "num_attention_heads"),
            ("attention.head_count_kv", "num_key_value_heads"),
            ("attention.key_length", "head_dim"),
            ("attention.value_length", "head_dim"),
        ] {
            file.set(&format!("{architecture}.{theirs}"), u32_value(config(ours)));
        }
        let eps = tiny.config["rms_norm_eps"].as_f64().unwrap() as f32;
        file.set(
            &format!("{architecture}.attention.layer_norm_rms_epsilon"),
            f32_value(eps),
        );
        let theta = tiny.config["rope_theta"].as_f64().unwrap() as f32;
        file.set(&format!("{architecture}.rope.freq_base"), f32_value(theta));
        for (name, tensor) in &tiny.tensors {
            let kind = match tensor.dtype {
                Dtype::F32 => 0,
                Dtype::F16 => 1,
                Dtype::BF16 => 30,
                other => panic!("no test stores {other}"),
            };
            let mut tensor = tensor.clone();
            let rotary = name.contains(".q_proj.") || name.contains(".k_proj.");
            if architecture == "llama" && rotary {
                tensor.values = permuted(&tensor.values, tensor.values.len() / tensor.shape[0]);
            }
            file.tensors.push(Stored {
                name: ggml_name(name),
                dimensions: tensor.shape.iter().rev().map(|d| *d as u64).collect(),
                kind,
                bytes: tensor.bytes(),
                offset: None,
            });
        }
        file
    }

    /// Sets a pair, in the place of one of the same key.
    pub(super) fn set(&mut self, key: &str, value: Vec<u8>) -> &mut Self {
        self.pairs.retain(|(other, _)| other != key);
        self.pairs.push((key.into(), value));
        self
    }

    /// A tensor.
    pub(super) fn tensor(&mut self, name: &str) -> &mut Stored {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap()
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        let tensors = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        bytes.extend(tensors.to_le_bytes());
        let pairs = self.pair_count.unwrap_or(self.pairs.len() as u64);
        bytes.extend(pairs.to_le_bytes());
        for (key, value) in &self.pairs {
            bytes.extend(string(key.as_bytes()));
            bytes.extend(value);
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            bytes.extend(string(tensor.name.as_bytes()));
            bytes.extend((tensor.dimensions.len() as u32).to_le_bytes());
            for d in &tensor.dimensions {
                bytes.extend(d.to_le_bytes());
            }
            bytes.extend(tensor.kind.to_le_bytes());
            let offset = tensor.offset.unwrap_or(data.len() as u64);
            bytes.extend(offset.to_le_bytes());
            data.extend(&tensor.bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(data);
        bytes
    }

    pub(super) fn write(&self) -> NamedTempFile {
        written(&self.bytes())
    }
}

pub(super) fn written(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::with_suffix(".gguf").unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// `LlamaModel.permute` of convert_hf_to_gguf.py: the halves of every head become pairs.
fn permuted(values: &[f32], width: usize) -> Vec<f32> {
    let heads = values.chunks(HEAD_DIM * width);
    heads
        .flat_map(|head| {
            let (first, second) = head.split_at(HEAD_DIM / 2 * width);
            let pairs = first.chunks(width).zip(second.chunks(width));
            pairs.flat_map(|(a, b)| [a, b].concat()).collect::<Vec<_>>()
        })
        .collect()
}

/// By gguf-py's tensor_mapping.py.
fn ggml_name(name: &str) -> String {
    let parts = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    let mut name = name.to_owned();
    for (theirs, ours) in parts {
        name = name.replace(theirs, ours);
    }
    name
}
