//! From a Hugging Face checkpoint or a GGUF file to a manifest and integer planes on a device.
//!
//! ```text
//! config.json ──> Config ──────────┐
//! *.safetensors ─> Checkpoint ──> Layout ──> blocks of planes ──> Backend
//! tokenizer.json, ... ─────────────┴─> Manifest
//! ```
//!
//! * [`config`], [`rope`], [`families`], [`generation`]: what config.json says, and how families differ
//! * [`rows`]: how a matrix may be stored, whatever the file format
//! * [`json`]: as Python reads it; `lfs`: what stands for a file that was not fetched
//! * [`safetensors`], `shards`, `names`, [`checkpoint`]: bounded, positioned reads of single or sharded files
//! * [`quantised`]: FP8, GPTQ, AWQ and compressed-tensors, as `quantization_config` says
//! * [`gguf`]: a GGUF file as such a checkpoint
//! * [`layout`]: which tensors make which projection, in canonical order
//! * [`quantise`], [`planes`], [`transpose`]: columns to integers with a scale, block by block
//! * [`load`]: all of it onto a [`Backend`](crate::backend::Backend), or into a digest
//! * [`synthetic`]: random checkpoints of realistic shapes, for benchmarks
//!
//! A checkpoint is untrusted: every length is checked before it is used, and a defect is a
//! [`LoadError`] that says what was expected, what was found and what to do.

pub mod checkpoint;
pub mod config;
pub mod error;
pub mod families;
pub mod generation;
pub mod gguf;
pub mod json;
pub mod layout;
mod lfs;
pub mod load;
mod names;
pub mod planes;
pub mod quantise;
pub mod quantised;
pub mod rope;
pub mod rows;
pub mod safetensors;
mod shards;
pub mod synthetic;
mod text_config;
pub mod text_files;
pub mod transpose;

pub use error::LoadError;
pub use load::{LoadProgress, Model, Surveyed, digest_dir, survey_dir};

#[cfg(test)]
mod tests;
