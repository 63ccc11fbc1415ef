//! Flags about weights and devices: the same in every program that has them.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use talaria_program::values::count;
use talaria_wire::manifest::WeightFormat;

use crate::backend::BackendKind;

/// Value of `--weights`.
pub fn weights() -> impl TypedValueParser<Value = WeightFormat> {
    let int16 = PossibleValue::new(WeightFormat::Int16.name())
        .help("Exact for bf16 checkpoints but for the smallest weights of a column");
    let int8 = PossibleValue::new(WeightFormat::Int8.name())
        .help("Half the memory and work, slightly other logits");
    PossibleValuesParser::new([int16, int8]).map(|name| match name == WeightFormat::Int8.name() {
        true => WeightFormat::Int8,
        false => WeightFormat::Int16,
    })
}

/// A checkpoint and the integers that stand for its weights.
#[derive(Clone, Debug, Args)]
pub struct CheckpointArgs {
    /// Directory of a Hugging Face checkpoint (config.json, *.safetensors, tokenizer.json), or a GGUF file.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Integers that stand for weights.
    #[arg(long, value_name = "FORMAT", default_value = "int16", value_parser = weights())]
    pub weights: WeightFormat,
}

/// What multiplies.
#[derive(Clone, Debug, Args)]
pub struct BackendArgs {
    /// What GPU hosts multiply on; see also `talaria-gpu devices`.
    #[arg(long, value_name = "KIND", value_enum, default_value_t = BackendKind::Auto)]
    pub backend: BackendKind,
}

/// How many threads.
#[derive(Clone, Debug, Args)]
pub struct ThreadsArgs {
    /// Threads of the CPU backend, of all hosts of this process together [default: one for each core].
    #[arg(long, value_name = "N", value_parser = count(1..=1024))]
    pub threads: Option<usize>,
}
