//! SmolLM2-135M-Instruct, a real model: where its GGUF file is, and what an independent forward pass makes of it
//! (fixtures/smollm2/README.md).

use serde::Deserialize;
use std::path::PathBuf;

use crate::golden::{Message, model_dir};

/// golden.json, as far as tests use it.
#[derive(Deserialize)]
pub struct Golden {
    /// Where the file comes from.
    pub source: Source,
    /// Loss on a text.
    pub eval: Eval,
    /// Prompts with their greedy continuations.
    pub prompts: Vec<Prompt>,
}

/// The GGUF file.
#[derive(Deserialize)]
pub struct Source {
    /// SHA-256, in hex.
    pub sha256: String,
}

/// A text and its loss.
#[derive(Deserialize)]
pub struct Eval {
    /// What is read.
    pub text: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Mean nats a token, of all but the first.
    pub loss: f64,
}

/// A prompt: text or chat.
#[derive(Deserialize)]
pub struct Prompt {
    /// For messages.
    pub name: String,
    /// Plain text.
    pub prompt: Option<String>,
    /// Messages, rendered with the file's own template.
    pub chat: Option<Vec<Message>>,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// 48 greedy tokens, not stopping anywhere.
    pub greedy_ids: Vec<u32>,
    /// Their text without special tokens.
    pub text: String,
    /// By how much the best logit leads, at least.
    pub min_margin: f64,
}

/// Margins below this are within rounding of another summation order.
pub const MIN_MARGIN: f64 = 1e-3;

/// The golden values.
pub fn golden() -> Golden {
    let bytes = std::fs::read(model_dir("smollm2").join("golden.json")).expect("fixture");
    serde_json::from_slice(&bytes).expect("golden.json")
}

/// The GGUF file that `TALARIA_SMOLLM2` names. None without: a loud skip, or a failure with
/// `TALARIA_REQUIRE_SMOLLM2=1`.
pub fn file() -> Option<PathBuf> {
    if let Some(file) = std::env::var_os("TALARIA_SMOLLM2") {
        let file = PathBuf::from(file);
        assert!(
            file.is_file(),
            "TALARIA_SMOLLM2 names {}, which is no file",
            file.display()
        );
        return Some(file);
    }
    let required = std::env::var_os("TALARIA_REQUIRE_SMOLLM2").is_some_and(|v| v == "1");
    assert!(
        !required,
        "TALARIA_SMOLLM2 names no file, and TALARIA_REQUIRE_SMOLLM2=1"
    );
    eprintln!(
        "WARNING: skipped, no real model: TALARIA_SMOLLM2 names no file (README.md, Environment)"
    );
    None
}

/// Mean negative log-likelihood of tokens 1.., in nats; logits (T, V).
pub fn mean_loss(logits: &[f32], ids: &[u32]) -> f64 {
    let rows = logits.chunks(logits.len() / ids.len()).zip(&ids[1..]);
    let losses = rows.map(|(row, next)| {
        let max = row.iter().fold(f32::NEG_INFINITY, |m, l| m.max(*l));
        let sum: f64 = row.iter().map(|l| f64::from(l - max).exp()).sum();
        sum.ln() - f64::from(row[*next as usize] - max)
    });
    losses.sum::<f64>() / (ids.len() - 1) as f64
}
