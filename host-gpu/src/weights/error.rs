//! Why a checkpoint is refused.

use std::path::PathBuf;

use talaria_wire::manifest::ManifestError;

use crate::backend::BackendError;

/// Why a checkpoint cannot be served, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Reading failed.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No config.json.
    #[error("{dir} has no config.json: give the directory of a Hugging Face checkpoint, or a GGUF file", dir = dir.display())]
    NoConfig {
        /// Directory given.
        dir: PathBuf,
    },
    /// A JSON file that is not JSON, or not of the form known.
    #[error("{file} does not parse: {problem}: download the checkpoint again or correct the file")]
    Json {
        /// File name.
        file: String,
        /// Where and why.
        problem: String,
    },
    /// What stands for a file where Git LFS did not run.
    #[error(
        "{file} is a Git LFS pointer, not the file itself: run `git lfs pull` in the checkpoint's \
         directory, or download the file again"
    )]
    LfsPointer {
        /// File name.
        file: String,
    },
    /// A value of config.json or generation_config.json that cannot be.
    #[error("{file}: {problem}")]
    Config {
        /// File name.
        file: &'static str,
        /// What was expected and what came.
        problem: String,
    },
    /// Another architecture.
    #[error("architecture {found} is not supported; supported: {supported}")]
    Architecture {
        /// As in config.json.
        found: String,
        /// All that are.
        supported: String,
    },
    /// A feature of a supported architecture that the payload does not compute.
    #[error("config.json: {feature} is not supported; supported: {supported}")]
    Feature {
        /// What the configuration asks for.
        feature: String,
        /// What could be there instead.
        supported: &'static str,
    },
    /// Quantised weights of a kind that is not known.
    #[error(
        "the checkpoint is quantised ({method}), which is not supported; supported: {supported}, or the \
         original bf16, f16 or f32 checkpoint, which Talaria quantises by itself"
    )]
    Quantised {
        /// `quant_method` of the configuration.
        method: String,
        /// All that are.
        supported: &'static str,
    },
    /// The tensors of a quantised layer contradict each other or the configuration.
    #[error(
        "tensor {tensor} {problem}: download the checkpoint again, or check quantization_config in config.json"
    )]
    QuantisedTensor {
        /// Its name.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// No weights at all.
    #[error("{dir} has no weights, neither model.safetensors nor its shards nor any other *.safetensors: {hint}", dir = dir.display())]
    NoWeights {
        /// Directory given.
        dir: PathBuf,
        /// What to do.
        hint: &'static str,
    },
    /// A shard that another file tells of.
    #[error("the shard {shard} is missing, {source_of_name} names it: download it again")]
    MissingShard {
        /// File name.
        shard: String,
        /// The index, or another shard.
        source_of_name: String,
    },
    /// Files that cannot all be of one model.
    #[error(
        "several files may hold the weights ({files}) and there is no model.safetensors.index.json to \
         choose: download it, or leave only the files of one model"
    )]
    AmbiguousWeights {
        /// Their names.
        files: String,
    },
    /// The file is shorter than its header says.
    #[error(
        "{file} is truncated: its header describes {expected} bytes, the file has {found}: \
         download it again"
    )]
    Truncated {
        /// File name.
        file: String,
        /// Bytes by the header.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The header contradicts itself or the file.
    #[error("{file} has an invalid safetensors header: {problem}: download it again")]
    Header {
        /// File name.
        file: String,
        /// What contradicts what.
        problem: String,
    },
    /// A GGUF file that contradicts itself or holds what is not supported.
    #[error("{file}: {problem}")]
    Gguf {
        /// File name.
        file: String,
        /// What was expected and what came.
        problem: String,
    },
    /// A tensor that the architecture needs.
    #[error("tensor {tensor} is missing: the checkpoint is incomplete or not a {model_type} model")]
    MissingTensor {
        /// Its name.
        tensor: String,
        /// Family by the configuration.
        model_type: String,
    },
    /// No lm_head, and nothing says that the embedding is it.
    #[error(
        "tensor lm_head.weight is missing and config.json does not set tie_word_embeddings to true: \
         set it if the embedding is the lm_head too, else the checkpoint is incomplete"
    )]
    Untied,
    /// A tensor of a layer that the architecture does not have: leaving it out would compute another model.
    #[error("tensor {tensor} is not part of a {model_type} model as config.json describes it")]
    UnexpectedTensor {
        /// Its name.
        tensor: String,
        /// Family by the configuration.
        model_type: String,
    },
    /// Shape other than config.json says.
    #[error("tensor {tensor} has shape {found:?}, expected {expected:?} by config.json")]
    Shape {
        /// Its name.
        tensor: String,
        /// By config.json.
        expected: Vec<usize>,
        /// By the file.
        found: Vec<usize>,
    },
    /// Element type that is no plain float.
    #[error(
        "tensor {tensor} is stored as {found}; supported: BF16, F16, F32, and what quantization_config in \
         config.json describes"
    )]
    Dtype {
        /// Its name.
        tensor: String,
        /// By the file.
        found: String,
    },
    /// NaN or infinity.
    #[error("tensor {tensor} is {value} at {index:?}{folded}: every weight must be finite")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// Index in the tensor.
        index: Vec<usize>,
        /// NaN or infinite.
        value: f32,
        /// Whether only so after the gain of the norm before was folded in.
        folded: &'static str,
    },
    /// Products would not be exact.
    #[error(
        "{matrix} is too wide for exact products: output {output} has weights of magnitude {l1} in \
         sum (as integers of one int8 plane), the most that leaves rows of {min_bits} bits is \
         {limit}: {hint}"
    )]
    TooWide {
        /// Name of the projection.
        matrix: String,
        /// Output with the largest sum.
        output: usize,
        /// Its sum of magnitudes.
        l1: u64,
        /// Bits a row needs.
        min_bits: u32,
        /// Largest sum of magnitudes allowed.
        limit: u64,
        /// What to do.
        hint: &'static str,
    },
    /// A tokenizer file that cannot be used.
    #[error("{file} {problem}: download it again, or remove it to serve token ids only")]
    TextFile {
        /// File name.
        file: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The parts do not agree with each other.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The device refused.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl LoadError {
    /// A contradiction in config.json.
    pub(crate) fn config(problem: impl Into<String>) -> Self {
        LoadError::Config {
            file: "config.json",
            problem: problem.into(),
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| LoadError::Io { path, source }
    }
}
