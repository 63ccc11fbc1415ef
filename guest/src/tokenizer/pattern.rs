//! Regular expressions of a `tokenizer.json`. They are Oniguruma's in Ruby syntax, as the reference compiles them with
//! that library; here they are translated to fancy-regex's, construct by construct, and a construct whose meaning
//! differs in a way that is not known is refused.
//!
//! What the `tokenizers` crate does by itself with fancy-regex is another thing: `^` and `$` lose their meaning of
//! lines, and a search that gives up (too many steps back) ends there in silence, which is another tokenisation.
//!
//! A pattern made to be slow is slow for each place of a text: a host can refuse service in simpler ways.

mod translate;

use super::TokenizerError;
use fancy_regex::{Regex, RegexBuilder};
use std::sync::Arc;
use tokenizers::Offsets;

/// Longest pattern: the largest in use have about 500 bytes.
const MAX_PATTERN_BYTES: usize = 8 << 10;
/// Most bytes of one compiled part.
const MAX_COMPILED_BYTES: usize = 4 << 20;
/// Most steps back in one search. A run of white space of n characters takes n in the patterns in common use.
const MAX_STEPS_BACK: usize = 4 << 20;

/// A pattern, compiled.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    regex: Arc<Regex>,
    /// Whether a search can take steps back, and so give up.
    backtracks: bool,
}

/// A `Pattern` in `tokenizer.json`.
#[derive(Debug, serde::Deserialize)]
pub(super) enum PatternConfig {
    String(String),
    Regex(String),
}

impl Pattern {
    /// # Errors
    /// A construct that is not supported, or a pattern that is empty or too large.
    pub(super) fn new(config: &PatternConfig) -> Result<Pattern, TokenizerError> {
        match config {
            PatternConfig::String(text) => Pattern::of_text(text),
            PatternConfig::Regex(source) => Pattern::of_regex(source),
        }
    }

    fn of_text(text: &str) -> Result<Pattern, TokenizerError> {
        if text.is_empty() {
            return Err(unsupported("", "is empty"));
        }
        Pattern::compiled(text, &fancy_regex::escape(text), false)
    }

    pub(super) fn of_regex(source: &str) -> Result<Pattern, TokenizerError> {
        if source.len() > MAX_PATTERN_BYTES {
            return Err(unsupported(
                &source[..source.floor_char_boundary(40)],
                &format!("has more than {MAX_PATTERN_BYTES} bytes"),
            ));
        }
        let translated =
            translate::from_oniguruma(source).map_err(|why| unsupported(source, &why))?;
        Pattern::compiled(source, &translated.pattern, translated.backtracks)
    }

    fn compiled(source: &str, pattern: &str, backtracks: bool) -> Result<Pattern, TokenizerError> {
        let regex = RegexBuilder::new(pattern)
            .backtrack_limit(MAX_STEPS_BACK)
            .delegate_size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|e| unsupported(source, &e.to_string()))?;
        Ok(Pattern {
            regex: Arc::new(regex),
            backtracks,
        })
    }

    /// Whether a search can give up, so that whoever searches must be able to fail.
    pub(super) fn can_fail(&self) -> bool {
        self.backtracks
    }

    /// Each match, in order; none in an empty text, as in the reference.
    ///
    /// # Errors
    /// The search takes too many steps back.
    fn matches(&self, text: &str) -> Result<Vec<Offsets>, fancy_regex::Error> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        self.regex
            .find_iter(text)
            .map(|found| found.map(|found| (found.start(), found.end())))
            .collect()
    }

    /// `content` instead of each match.
    ///
    /// # Errors
    /// The search takes too many steps back.
    pub(super) fn replace(&self, text: &str, content: &str) -> Result<String, fancy_regex::Error> {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = 0;
        for (start, end) in self.matches(text)? {
            replaced.push_str(&text[rest..start]);
            replaced.push_str(content);
            rest = end;
        }
        replaced.push_str(&text[rest..]);
        Ok(replaced)
    }
}

/// The crate's view: all of the text in pieces, which match or do not.
impl tokenizers::pattern::Pattern for &Pattern {
    fn find_matches(&self, inside: &str) -> tokenizers::Result<Vec<(Offsets, bool)>> {
        let mut pieces = Vec::new();
        let mut rest = 0;
        for (start, end) in self.matches(inside)? {
            if rest != start {
                pieces.push(((rest, start), false));
            }
            pieces.push(((start, end), true));
            rest = end;
        }
        if rest != inside.len() || pieces.is_empty() {
            pieces.push(((rest, inside.len()), false));
        }
        Ok(pieces)
    }
}

/// A pattern of which a match without length is an error: the crate counts wrong where something is put into a text
/// without something else going out.
pub(super) struct NotEmpty<'a>(pub(super) &'a Pattern);

impl tokenizers::pattern::Pattern for NotEmpty<'_> {
    fn find_matches(&self, inside: &str) -> tokenizers::Result<Vec<(Offsets, bool)>> {
        let pieces = self.0.find_matches(inside)?;
        match pieces
            .iter()
            .any(|((start, end), matches)| *matches && start == end)
        {
            true => Err("the normalizer replaces a match of no length".into()),
            false => Ok(pieces),
        }
    }
}

fn unsupported(source: &str, why: &str) -> TokenizerError {
    TokenizerError::Unsupported {
        what: format!("the pattern {source:?}: it {why}"),
    }
}

#[cfg(test)]
mod tests;
