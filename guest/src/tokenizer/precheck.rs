//! What the `tokenizers` crate takes on trust in a `tokenizer.json`, and would panic for. A panic in
//! the payload ends the instance without a message.

use super::TokenizerError;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tokenizers::PostProcessorWrapper;

/// Before the crate sees the file.
///
/// # Errors
/// The model cuts a prefix off its tokens, which the crate does without looking; the decoder is no JSON all the way
/// down, which the crate takes for impossible; or normalizer or pre-tokenizer has a step that the crate gets lost in.
pub(super) fn file(json: &[u8]) -> Result<(), TokenizerError> {
    #[derive(Deserialize)]
    struct File {
        model: Model,
        normalizer: Option<Value>,
        pre_tokenizer: Option<Value>,
        #[serde(rename = "decoder")]
        _decoder: Option<Value>,
    }
    #[derive(Deserialize)]
    struct Model {
        continuing_subword_prefix: Option<String>,
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let File {
        model,
        normalizer,
        pre_tokenizer,
        ..
    } = serde_json::from_slice(json).map_err(|e| broken(e.to_string()))?;
    let normalizer = normalizer.and_then(|steps| first_mistake(&steps, &of_normalizer));
    let pre_tokenizer = pre_tokenizer.and_then(|steps| first_mistake(&steps, &of_pre_tokenizer));
    if let Some(mistake) = normalizer.or(pre_tokenizer) {
        return Err(broken(mistake.into()));
    }
    let prefix = model.continuing_subword_prefix.unwrap_or_default();
    match prefix.is_empty() || model.kind.as_deref() == Some("WordPiece") {
        true => Ok(()),
        false => Err(broken(
            "continuing_subword_prefix is not supported in a BPE model".into(),
        )),
    }
}

/// Of a step or any step within it.
fn first_mistake(step: &Value, of: &dyn Fn(&Step) -> Option<&'static str>) -> Option<&'static str> {
    match step {
        Value::Array(steps) => steps.iter().find_map(|step| first_mistake(step, of)),
        Value::Object(fields) => of(fields).or_else(|| {
            let mut steps = fields.values();
            steps.find_map(|step| first_mistake(step, of))
        }),
        _ => None,
    }
}

/// Fields of a step.
type Step = serde_json::Map<String, Value>;

/// The crate counts wrong where something is put into a text without something else going out.
fn of_normalizer(step: &Step) -> Option<&'static str> {
    let regex = |pattern: &Value| pattern.get("Regex").is_some();
    if step.get("prepend").is_some_and(|text| text == "") {
        Some("a normalizer prepends nothing")
    } else if step.get("pattern").is_some_and(regex) {
        Some("a normalizer replaces a regular expression, which is not supported")
    } else if step.get("pattern").is_some_and(|p| p["String"] == "") {
        Some("a normalizer replaces nothing")
    } else if step.contains_key("precompiled_charsmap") {
        // Its automaton is followed without looking.
        Some("a normalizer is Precompiled, which is not supported")
    } else {
        None
    }
}

fn of_pre_tokenizer(step: &Step) -> Option<&'static str> {
    let nothing = step.get("length").is_some_and(|length| length == 0);
    nothing.then_some("a pre-tokenizer splits into pieces of no length")
}

/// Before the first text is encoded.
///
/// # Errors
/// A template of the post-processor adds a token that it does not define, or a second text.
pub(super) fn post_processor(
    post_processor: Option<&PostProcessorWrapper>,
) -> Result<(), TokenizerError> {
    let Some(post_processor) = post_processor else {
        return Ok(());
    };
    // As JSON, because the crate keeps the fields to itself.
    let json = serde_json::to_value(post_processor).map_err(|e| broken(e.to_string()))?;
    let config = Config::deserialize(json).map_err(|e| broken(e.to_string()))?;
    match config.first_mistake() {
        None => Ok(()),
        Some(mistake) => Err(broken(format!("the post-processor {mistake}"))),
    }
}

fn broken(reason: String) -> TokenizerError {
    TokenizerError::Broken { reason }
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
