//! `tokenizer.json`, read.

use super::steps::{broken, unsupported};
use super::{TOKENIZER_FILE, TokenizerError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::{AddedToken, ModelWrapper};

/// All of it but truncation and padding: a prompt is never cut or filled up in silence, whatever the file was saved
/// with.
#[derive(Deserialize)]
pub(super) struct File<M> {
    version: Option<String>,
    #[serde(default)]
    pub(super) added_tokens: Vec<AddedToken>,
    pub(super) normalizer: Option<Value>,
    pub(super) pre_tokenizer: Option<Value>,
    pub(super) post_processor: Option<Value>,
    pub(super) decoder: Option<Value>,
    pub(super) model: M,
}

/// What the `tokenizers` crate should not be given: it panics for a prefix in a BPE model, and keeps the model as a
/// tree of JSON values first if it is to find out itself which kind it is.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    kind: Option<String>,
    continuing_subword_prefix: Option<String>,
    dropout: Option<f64>,
}

/// # Errors
/// It is broken, or asks for something that is not supported.
pub(super) fn read(json: &[u8]) -> Result<File<ModelWrapper>, TokenizerError> {
    let Kind {
        kind,
        continuing_subword_prefix,
        dropout,
    } = parse(json)?.model;
    let prefix = continuing_subword_prefix.is_some_and(|prefix| !prefix.is_empty());
    if prefix && kind.as_deref() != Some("WordPiece") {
        return Err(unsupported(
            "continuing_subword_prefix in a BPE model".into(),
        ));
    }
    if dropout.is_some_and(|dropout| dropout > 0.0) {
        return Err(unsupported(
            "a BPE model with dropout, which is chance".into(),
        ));
    }
    let mut file = match kind.as_deref() {
        Some("BPE") => parse::<BPE>(json)?.with_model(),
        None | Some("WordPiece" | "WordLevel" | "Unigram") => parse::<ModelWrapper>(json)?,
        Some(other) => return Err(unsupported(format!("the model {other}"))),
    };
    match file.version.as_deref() {
        None | Some("1.0") => {}
        Some(other) => return Err(unsupported(format!("version {other} of {TOKENIZER_FILE}"))),
    }
    // The crate caches words by text: those of one session would outlive it and speed up another's.
    file.model.resize_cache(0);
    Ok(file)
}

fn parse<M: DeserializeOwned>(json: &[u8]) -> Result<File<M>, TokenizerError> {
    serde_json::from_slice(json).map_err(broken)
}

impl File<BPE> {
    fn with_model(self) -> File<ModelWrapper> {
        File {
            version: self.version,
            added_tokens: self.added_tokens,
            normalizer: self.normalizer,
            pre_tokenizer: self.pre_tokenizer,
            post_processor: self.post_processor,
            decoder: self.decoder,
            model: ModelWrapper::BPE(self.model),
        }
    }
}
