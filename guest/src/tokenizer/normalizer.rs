//! `normalizer` of a `tokenizer.json`.
//!
//! The steps are the `tokenizers` crate's, but for those that it gets wrong: a Replace (its regular expressions are
//! not the reference's, see [`super::pattern`]) and a Precompiled (its automaton is followed without looking).

mod precompiled;

use super::TokenizerError;
use super::pattern::{NotEmpty, Pattern, PatternConfig};
use super::steps::{self, broken, kind, unsupported};
use precompiled::Charsmap;
use serde::Deserialize;
use serde_json::Value;
use std::cell::Cell;
use tokenizers::{NormalizedString, NormalizerWrapper};

/// Steps from the text to what the vocabulary was made of.
#[derive(Debug)]
pub(super) struct Normalizer {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Replace { pattern: Pattern, content: String },
    Precompiled(Charsmap),
    Crate(NormalizerWrapper),
}

impl Normalizer {
    /// # Errors
    /// A step that is broken or not supported.
    pub(super) fn new(config: &Value) -> Result<Normalizer, TokenizerError> {
        let steps = steps::flat(config, "normalizers")?;
        let steps = steps
            .into_iter()
            .filter_map(|config| Step::new(config).transpose());
        Ok(Normalizer {
            steps: steps.collect::<Result<_, _>>()?,
        })
    }
}

impl Step {
    /// None for a step that does nothing.
    fn new(config: &Value) -> Result<Option<Step>, TokenizerError> {
        #[derive(Deserialize)]
        struct Replace {
            pattern: PatternConfig,
            content: String,
        }
        #[derive(Deserialize)]
        struct Precompiled {
            precompiled_charsmap: Option<String>,
        }
        match kind(config)? {
            "Replace" => {
                let Replace { pattern, content } = Replace::deserialize(config).map_err(broken)?;
                let pattern = Pattern::new(&pattern)?;
                Ok(Some(Step::Replace { pattern, content }))
            }
            "Precompiled" => {
                let config = Precompiled::deserialize(config).map_err(broken)?;
                let charsmap = config.precompiled_charsmap.unwrap_or_default();
                Ok(Some(Step::Precompiled(Charsmap::new(&charsmap)?)))
            }
            // The crate counts wrong.
            "Prepend" if config.get("prepend").is_some_and(|text| text == "") => Ok(None),
            "BertNormalizer" | "Strip" | "StripAccents" | "NFC" | "NFD" | "NFKC" | "NFKD"
            | "Lowercase" | "Nmt" | "Prepend" | "ByteLevel" => Ok(Some(Step::Crate(
                NormalizerWrapper::deserialize(config).map_err(broken)?,
            ))),
            other => Err(unsupported(format!("the normalizer {other}"))),
        }
    }

    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        match self {
            Step::Replace { pattern, content } => text.replace(NotEmpty(pattern), content),
            Step::Precompiled(charsmap) => {
                charsmap.normalize(text);
                Ok(())
            }
            Step::Crate(step) => tokenizers::Normalizer::normalize(step, text),
        }
    }
}

thread_local! {
    /// Why normalizing failed since it was last taken: the crate drops a normalizer's error where it encodes.
    static FAILED: Cell<Option<String>> = const { Cell::new(None) };
}

/// Why the last text could not be normalized on this thread, if so.
pub(super) fn take_failure() -> Option<String> {
    FAILED.take()
}

impl tokenizers::Normalizer for Normalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        for step in &self.steps {
            // Nothing of the text in the reason: neither the crate nor this module's errors quote it.
            step.normalize(text)
                .inspect_err(|e| FAILED.set(Some(e.to_string())))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
