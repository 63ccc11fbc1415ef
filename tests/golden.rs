//! Checkpoints with what Hugging Face transformers computes with them (fixtures/README.md).

use safetensors::SafeTensors;
use serde::Deserialize;
use std::path::PathBuf;

/// Every checkpoint with goldens.
pub const MODELS: [&str; 4] = ["demo-qwen3", "tiny-qwen2", "tiny-llama", "tiny-mistral"];

/// Tolerance on logits and hidden states against transformers in float32: int16 weights and rows of 18 to
/// 22 bits stay below it in a simulation of this arithmetic on all these checkpoints.
pub const TOLERANCE: f32 = 5e-3;

/// golden.json, as far as tests use it.
#[derive(Deserialize)]
pub struct Golden {
    /// Prompts p0, p1, ...
    pub prompts: Vec<Prompt>,
    /// Evaluation passages; the demo has some.
    pub eval: Option<Eval>,
    /// Texts and their ids.
    pub tokenizer_cases: Vec<serde_json::Value>,
}

/// One prompt.
#[derive(Deserialize)]
pub struct Prompt {
    /// `p0`, ...
    pub name: String,
    /// `text` or `chat`.
    pub kind: String,
    /// The (rendered) prompt.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// 48 greedy tokens, not stopping anywhere.
    pub greedy_ids: Vec<u32>,
    /// Of a chat.
    pub messages: Option<Vec<Message>>,
    /// Greedy tokens to the stop token, which is included.
    pub stopped_ids: Option<Vec<u32>>,
    /// Their text without special tokens.
    pub stopped_text: Option<String>,
}

/// One message of a chat.
#[derive(Clone, Deserialize)]
pub struct Message {
    /// `user`, ...
    pub role: String,
    /// Text.
    pub content: String,
}

/// Loss on passages.
#[derive(Deserialize)]
pub struct Eval {
    /// One for each.
    pub passages: Vec<serde_json::Value>,
    /// Mean over all, nats a token.
    pub mean_nll: f64,
}

/// Where a checkpoint is.
pub fn model_dir(model: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(model)
}

/// golden.json of a checkpoint.
pub fn golden(model: &str) -> Golden {
    let bytes = std::fs::read(model_dir(model).join("golden.json")).expect("fixture");
    serde_json::from_slice(&bytes).expect("golden.json")
}

/// golden.safetensors of a checkpoint.
pub struct Tensors(Vec<u8>);

impl Tensors {
    /// Reads the file.
    pub fn read(model: &str) -> Self {
        Self::of(&model_dir(model).join("golden.safetensors"))
    }

    /// Reads a file of the same kind.
    pub fn of(path: &std::path::Path) -> Self {
        Self(std::fs::read(path).expect("fixture"))
    }

    /// A float32 tensor.
    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.elements(name).map(f32::from_le_bytes).collect()
    }

    /// An int64 tensor of token ids.
    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.elements(name)
            .map(|b| i64::from_le_bytes(b) as u32)
            .collect()
    }

    fn elements<const N: usize>(&self, name: &str) -> impl Iterator<Item = [u8; N]> {
        let tensors = SafeTensors::deserialize(&self.0).expect("golden.safetensors");
        let tensor = tensors
            .tensor(name)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        tensor.data().as_chunks::<N>().0.to_vec().into_iter()
    }
}

/// The largest difference, which must be within [`TOLERANCE`].
pub fn assert_close(what: &str, found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "{what}");
    let difference = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // NaN must not pass as small.
    let worst = difference.fold(0.0, |worst: f32, d| if d <= worst { worst } else { d });
    assert!(worst <= TOLERANCE, "{what}: off by {worst}");
    worst
}

/// A copy of a fixture, to be changed.
pub fn copy_of(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(model_dir(name)).expect("fixture") {
        let entry = entry.expect("fixture");
        // Beside the checkpoint, no part of it: alone it would be taken for weights of another file name.
        if entry.file_name() == "golden.safetensors" {
            continue;
        }
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copy");
    }
    dir
}
