//! `pre_tokenizer` of a `tokenizer.json`.
//!
//! The steps are the `tokenizers` crate's, but for those that search for regular expressions: see
//! [`super::pattern`].

use super::TokenizerError;
use super::pattern::{Pattern, PatternConfig};
use super::steps::{self, broken, kind, unsupported};
use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::pattern::Invert;
use tokenizers::{PreTokenizedString, PreTokenizerWrapper, SplitDelimiterBehavior};

/// GPT-2's words: what a ByteLevel with `use_regex` splits at.
const GPT2_WORDS: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// Steps from a text to words, within which tokens are.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Split {
        pattern: Pattern,
        behavior: SplitDelimiterBehavior,
        invert: bool,
    },
    /// A space before a text that does not begin with one.
    PrefixSpace,
    Crate(PreTokenizerWrapper),
}

impl PreTokenizer {
    /// # Errors
    /// A step that is broken or not supported.
    pub(super) fn new(config: &Value) -> Result<PreTokenizer, TokenizerError> {
        let mut steps = Vec::new();
        for config in steps::flat(config, "pretokenizers")? {
            add(config, &mut steps)?;
        }
        Ok(PreTokenizer { steps })
    }
}

fn add(config: &Value, steps: &mut Vec<Step>) -> Result<(), TokenizerError> {
    #[derive(Deserialize)]
    struct Split {
        pattern: PatternConfig,
        behavior: SplitDelimiterBehavior,
        invert: bool,
    }
    #[derive(Deserialize)]
    struct ByteLevel {
        add_prefix_space: bool,
        trim_offsets: bool,
        use_regex: Option<bool>,
    }
    let of_crate = |config: &Value| PreTokenizerWrapper::deserialize(config).map_err(broken);
    match kind(config)? {
        "Split" => {
            let Split {
                pattern,
                behavior,
                invert,
            } = Split::deserialize(config).map_err(broken)?;
            let pattern = Pattern::new(&pattern)?;
            steps.push(Step::Split {
                pattern,
                behavior,
                invert,
            });
        }
        "ByteLevel" => {
            let config = ByteLevel::deserialize(config).map_err(broken)?;
            if config.add_prefix_space {
                steps.push(Step::PrefixSpace);
            }
            if config.use_regex.unwrap_or(true) {
                steps.push(Step::Split {
                    pattern: Pattern::of_regex(GPT2_WORDS)?,
                    behavior: SplitDelimiterBehavior::Isolated,
                    invert: false,
                });
            }
            steps.push(Step::Crate(of_crate(&json!({
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": config.trim_offsets, "use_regex": false,
            }))?));
        }
        // The crate would go on forever.
        "FixedLength" if config.get("length").is_some_and(|length| length == 0) => {
            return Err(unsupported(
                "a pre-tokenizer that splits into pieces of no length".into(),
            ));
        }
        "BertPreTokenizer" | "CharDelimiterSplit" | "Delimiter" | "Metaspace" | "Whitespace"
        | "WhitespaceSplit" | "Punctuation" | "Digits" | "UnicodeScripts" | "FixedLength" => {
            steps.push(Step::Crate(of_crate(config)?))
        }
        other => return Err(unsupported(format!("the pre-tokenizer {other}"))),
    }
    Ok(())
}

impl tokenizers::PreTokenizer for PreTokenizer {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        self.steps.iter().try_for_each(|step| match step {
            Step::Split {
                pattern,
                behavior,
                invert: false,
            } => text.split(|_, piece| piece.split(pattern, *behavior)),
            Step::Split {
                pattern,
                behavior,
                invert: true,
            } => text.split(|_, piece| piece.split(Invert(pattern), *behavior)),
            Step::PrefixSpace => text.split(|_, mut piece| {
                if !piece.get().starts_with(' ') {
                    piece.prepend(" ");
                }
                Ok([piece])
            }),
            Step::Crate(step) => step.pre_tokenize(text),
        })
    }
}
