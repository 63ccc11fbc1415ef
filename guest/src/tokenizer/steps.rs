//! What `normalizer`, `pre_tokenizer` and `decoder` of a `tokenizer.json` have in common: steps by type, in sequences.

use super::{TOKENIZER_FILE, TokenizerError};
use serde_json::Value;

/// Most steps of one of them. Those in use have up to about ten.
const MAX_STEPS: usize = 64;
/// Deepest nesting of sequences.
const MAX_DEPTH: usize = 8;

/// The steps of a sequence, and of sequences within it. `list`: where a sequence has them.
///
/// # Errors
/// There are too many.
pub(super) fn flat<'a>(config: &'a Value, list: &str) -> Result<Vec<&'a Value>, TokenizerError> {
    let mut steps = Vec::new();
    collect(config, list, 0, &mut steps)?;
    Ok(steps)
}

fn collect<'a>(
    config: &'a Value,
    list: &str,
    depth: usize,
    steps: &mut Vec<&'a Value>,
) -> Result<(), TokenizerError> {
    if steps.len() == MAX_STEPS || depth == MAX_DEPTH {
        return Err(unsupported(format!(
            "more than {MAX_STEPS} {list}, or so deep a sequence of them"
        )));
    }
    match config.get(list).and_then(Value::as_array) {
        Some(inner) if kind(config)? == "Sequence" => inner
            .iter()
            .try_for_each(|step| collect(step, list, depth + 1, steps)),
        _ => {
            steps.push(config);
            Ok(())
        }
    }
}

/// A step's `type`.
///
/// # Errors
/// It has none.
pub(super) fn kind(config: &Value) -> Result<&str, TokenizerError> {
    let kind = config.get("type").and_then(Value::as_str);
    kind.ok_or_else(|| broken("a step of a normalizer, pre-tokenizer or decoder has no type"))
}

pub(super) fn broken(reason: impl ToString) -> TokenizerError {
    TokenizerError::Broken {
        file: TOKENIZER_FILE,
        reason: reason.to_string(),
    }
}

pub(super) fn unsupported(what: String) -> TokenizerError {
    TokenizerError::Unsupported { what }
}
