//! `post_processor` of a `tokenizer.json`: the `tokenizers` crate's, but what it takes on trust and would panic for. A
//! panic in the payload ends the instance without a message.

use super::TokenizerError;
use super::steps::{self, broken, kind, unsupported};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tokenizers::PostProcessorWrapper;

/// # Errors
/// It is not supported, or a template of it adds a token that it does not define, or a second text.
pub(super) fn post_processor(config: &Value) -> Result<PostProcessorWrapper, TokenizerError> {
    const KINDS: [&str; 4] = [
        "BertProcessing",
        "RobertaProcessing",
        "ByteLevel",
        "TemplateProcessing",
    ];
    for step in steps::flat(config, "processors")? {
        let kind = kind(step)?;
        if !KINDS.contains(&kind) {
            return Err(unsupported(format!("the post-processor {kind}")));
        }
    }
    let processor = PostProcessorWrapper::deserialize(config).map_err(broken)?;
    // As JSON, because the crate keeps the fields to itself.
    let json = serde_json::to_value(&processor).map_err(broken)?;
    match Config::deserialize(json).map_err(broken)?.first_mistake() {
        None => Ok(processor),
        Some(mistake) => Err(broken(format!("the post-processor {mistake}"))),
    }
}

/// `post_processor` in `tokenizer.json`, as far as it can go wrong.
#[derive(Deserialize)]
#[serde(tag = "type")]
enum Config {
    Sequence {
        processors: Vec<Config>,
    },
    TemplateProcessing {
        single: Vec<Piece>,
        special_tokens: BTreeMap<String, serde::de::IgnoredAny>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
enum Piece {
    SpecialToken { id: String },
    Sequence { id: String },
}

impl Config {
    fn first_mistake(&self) -> Option<String> {
        match self {
            Config::Other => None,
            Config::Sequence { processors } => processors.iter().find_map(Config::first_mistake),
            Config::TemplateProcessing {
                single,
                special_tokens,
            } => single.iter().find_map(|piece| match piece {
                Piece::SpecialToken { id } if !special_tokens.contains_key(id) => {
                    Some(format!("adds {id:?} but does not define it"))
                }
                Piece::Sequence { id } if id != "A" => Some("adds a second text to one".into()),
                _ => None,
            }),
        }
    }
}
