//! One GGUF file as a checkpoint: ggml's format, weights, configuration and tokenizer in one file.
//!
//! Everything is turned into what a Hugging Face directory would have said and then goes the same way:
//!
//! ```text
//! metadata ─> config.json, tokenizer.json, tokenizer_config.json
//! tensors ──> rows under Hugging Face's names, blocks of small integers widened to f32 as ggml does
//! ```
//!
//! * [`header`]: keys, values and tensor descriptions; bounds first
//! * [`blocks`], [`super_blocks`]: the quantised types, by ggml's definition
//! * [`tensors`]: names, types, and the order of rotary dimensions
//! * [`config`], [`vocabulary`], [`pre_tokenizer`]: metadata in Hugging Face's words
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

pub mod blocks;
pub mod config;
pub mod header;
pub mod pre_tokenizer;
pub mod super_blocks;
pub mod tensors;
pub mod vocabulary;

use std::collections::BTreeMap;
use std::path::Path;

use super::LoadError;
use super::checkpoint::Checkpoint;
use super::config::{self as hugging_face, Described};
use header::Header;

/// What a GGUF file holds; no weight is read yet.
pub struct Gguf {
    /// Dimensions and features.
    pub described: Described,
    /// Tensors by Hugging Face's names.
    pub checkpoint: Checkpoint,
    /// tokenizer.json and tokenizer_config.json; empty if the file has no vocabulary.
    pub text_files: BTreeMap<String, Vec<u8>>,
}

impl Gguf {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// It is no GGUF file, is cut off, contradicts itself, or holds what the payload does not compute.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let header = Header::read(path)?;
        let architecture = config::Architecture::of(&header)?;
        let vocabulary = vocabulary::Vocabulary::of(&header)?;
        let config = config::config_json(&header, architecture, vocabulary.as_ref())?;
        let described = hugging_face::describe(config.to_string().as_bytes())?;
        let text_files = vocabulary.map_or(Ok(BTreeMap::new()), |v| v.text_files())?;
        let checkpoint = tensors::checkpoint(&header, architecture, &described.decoder)?;
        Ok(Self {
            described,
            checkpoint,
            text_files,
        })
    }
}

#[cfg(test)]
mod tests;
