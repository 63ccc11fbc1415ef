//! Random Qwen3 checkpoints of realistic shapes, for benchmarks: nobody downloads gigabytes to measure.
//!
//! A directory as Hugging Face would have it: bf16 weights in one safetensors file, a tokenizer of
//! single bytes, ChatML. The text a random model writes is noise; its speed is that of a real one.

mod tensors;
mod tokenizer;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Value, json};

use tensors::{Random, Tensor};

/// Dimensions of a Qwen3 decoder with tied embeddings; names as in config.json.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Hugging Face's keys by their own names")]
pub struct Size {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
}

/// Sizes for which figures are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// 10 million parameters.
    Small,
    /// 297 million parameters: the layers and vocabulary of Qwen3-0.6B, nine layers deep.
    Medium,
    /// 596 million parameters: the shapes of Qwen3-0.6B.
    Large,
}

impl Preset {
    /// Its dimensions.
    pub const fn size(self) -> Size {
        const LARGE: Size = Size {
            hidden_size: 1024,
            intermediate_size: 3072,
            num_hidden_layers: 28,
            num_attention_heads: 16,
            num_key_value_heads: 8,
            head_dim: 128,
            vocab_size: 151_936,
            max_position_embeddings: 4096,
        };
        match self {
            Preset::Small => Size {
                hidden_size: 256,
                intermediate_size: 1024,
                num_hidden_layers: 8,
                num_attention_heads: 8,
                num_key_value_heads: 4,
                head_dim: 32,
                vocab_size: 8192,
                max_position_embeddings: 4096,
            },
            Preset::Medium => Size {
                num_hidden_layers: 9,
                ..LARGE
            },
            Preset::Large => LARGE,
        }
    }
}

impl Size {
    /// Number of parameters; the embedding is also the lm_head and counts once.
    pub fn parameters(&self) -> u64 {
        let tensors = tensors::all(self);
        tensors.iter().map(|t| t.elements() as u64).sum()
    }

    fn config(&self) -> Value {
        json!({
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "dtype": "bfloat16",
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1e6,
            "rope_scaling": null,
            "attention_bias": false,
            "use_sliding_window": false,
            "tie_word_embeddings": true,
            "bos_token_id": tokenizer::END_OF_TEXT,
            "eos_token_id": tokenizer::IM_END,
        })
    }
}

/// Writes a checkpoint into a directory, which is made if it is not there. The same size and seed give
/// the same bytes. Needs 2 bytes of disk a parameter and next to no memory.
///
/// # Errors
/// A dimension is 0, the vocabulary is too small for the tokenizer, or the disk refuses.
pub fn write(dir: &Path, size: &Size, seed: u64) -> io::Result<()> {
    check(size)?;
    fs::create_dir_all(dir)?;
    let json = |name: &str, value: Value| fs::write(dir.join(name), format!("{value:#}\n"));
    json("config.json", size.config())?;
    json("generation_config.json", tokenizer::generation_config())?;
    json("tokenizer.json", tokenizer::tokenizer())?;
    json("tokenizer_config.json", tokenizer::tokenizer_config())?;
    let file = File::create(dir.join("model.safetensors"))?;
    write_tensors(BufWriter::new(file), size, seed)
}

fn check(size: &Size) -> io::Result<()> {
    let refuse = |problem: String| Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    if size.vocab_size < tokenizer::TOKENS {
        return refuse(format!(
            "vocab_size {} is below the {} tokens of the byte-level tokenizer",
            size.vocab_size,
            tokenizer::TOKENS
        ));
    }
    match tensors::all(size).iter().find(|t| t.elements() == 0) {
        Some(empty) => refuse(format!("{} would be empty: {:?}", empty.name, empty.shape)),
        None => Ok(()),
    }
}

fn write_tensors(mut file: impl Write, size: &Size, seed: u64) -> io::Result<()> {
    let tensors = tensors::all(size);
    let header = header(&tensors)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let mut random = Random::new(seed);
    for tensor in &tensors {
        tensor.write(&mut random, &mut file)?;
    }
    file.flush()
}

/// The JSON header, padded with spaces so that data begins at a multiple of eight.
fn header(tensors: &[Tensor]) -> io::Result<Vec<u8>> {
    let mut end = 0;
    let infos = tensors.iter().map(|tensor| {
        let start = end;
        end += tensors::BYTES * tensor.elements();
        let info = TensorInfo {
            dtype: safetensors::Dtype::BF16,
            shape: tensor.shape.clone(),
            data_offsets: (start, end),
        };
        (tensor.name.clone(), info)
    });
    let metadata = Metadata::new(None, infos.collect()).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

#[cfg(test)]
mod tests;
