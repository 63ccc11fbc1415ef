//! The decoder of a `tokenizer.json` as a chain of stages that take tokens one by one.
//!
//! Each stage is the streaming form of the decoder of the same name in the `tokenizers` crate. Up to
//! [`Stage::ByteLevel`] or `Fuse` a stage sees whole tokens; after it the text is one token that
//! comes in pieces, and only stages that can live with that are accepted.

use super::TokenizerError;
use super::pattern::{Pattern, PatternConfig};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

/// State of decoding one reply.
#[derive(Debug, Clone)]
pub(super) struct Detokenizer {
    stages: Vec<Stage>,
}

impl Detokenizer {
    /// # Errors
    /// A decoder that is not known, or that needs all tokens at once.
    pub(super) fn new(decoder: Option<&Value>) -> Result<Detokenizer, TokenizerError> {
        let Some(decoder) = decoder else {
            return Ok(Detokenizer {
                stages: vec![Stage::Spaces { first: true }],
            });
        };
        let config =
            DecoderConfig::deserialize(decoder).map_err(|e| unsupported(&e.to_string()))?;
        let mut plan = Plan::default();
        plan.add(config)?;
        Ok(Detokenizer {
            stages: plan.stages,
        })
    }

    pub(super) fn push(&mut self, token: String, text: &mut String) {
        push_through(&mut self.stages, token, text);
    }

    pub(super) fn finish(&mut self, text: &mut String) {
        for at in 0..self.stages.len() {
            for token in self.stages[at].finish() {
                push_through(&mut self.stages[at + 1..], token, text);
            }
        }
    }

    /// What a token stands for in the middle of a reply, maybe part of a character.
    pub(super) fn bytes_of(&self, mut token: String) -> Vec<u8> {
        for stage in &self.stages {
            token = match stage {
                Stage::Spaces { .. } => format!(" {token}"),
                Stage::Replace { pattern, content } => pattern.replace(token, content),
                Stage::Metaspace { replacement, .. } => token.replace(*replacement, " "),
                Stage::StripToken { content, start } => {
                    strip_start(&token, *content, &mut { *start })
                }
                // The start of the reply is behind.
                Stage::StripText { .. } => token,
                Stage::ByteFallback { .. } => match fallback_byte(&token) {
                    Some(byte) => return vec![byte],
                    None => token,
                },
                Stage::ByteLevel { .. } => return byte_level_bytes(&token),
            };
        }
        token.into_bytes()
    }
}

/// All at once, by way of the stream: what decodes a whole reply is what streams it.
impl tokenizers::Decoder for Detokenizer {
    fn decode_chain(&self, tokens: Vec<String>) -> tokenizers::Result<Vec<String>> {
        let mut stream = self.clone();
        let mut text = String::new();
        for token in tokens {
            stream.push(token, &mut text);
        }
        stream.finish(&mut text);
        Ok(vec![text])
    }
}

fn push_through(stages: &mut [Stage], token: String, text: &mut String) {
    match stages.split_first_mut() {
        None => text.push_str(&token),
        Some((stage, rest)) => {
            for token in stage.push(token) {
                push_through(rest, token, text);
            }
        }
    }
}

/// `decoder` in `tokenizer.json`.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum DecoderConfig {
    ByteLevel {},
    ByteFallback {},
    Fuse {},
    Metaspace {
        replacement: char,
        prepend_scheme: String,
    },
    Replace {
        pattern: PatternConfig,
        content: String,
    },
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    Sequence {
        decoders: Vec<DecoderConfig>,
    },
}

/// Stages under construction.
#[derive(Default)]
struct Plan {
    stages: Vec<Stage>,
    /// From here on the text is one token in pieces.
    fused: bool,
}

impl Plan {
    fn add(&mut self, config: DecoderConfig) -> Result<(), TokenizerError> {
        use DecoderConfig::*;
        let stage = match config {
            Sequence { decoders } => return decoders.into_iter().try_for_each(|d| self.add(d)),
            Fuse {} => {
                self.fused = true;
                return Ok(());
            }
            Strip {
                content,
                start,
                stop: 0,
            } if self.fused => Stage::StripText {
                content,
                left: start,
            },
            ref other if self.fused => {
                return Err(unsupported(&format!("{other:?} after Fuse or ByteLevel")));
            }
            ByteLevel {} => {
                self.fused = true;
                Stage::ByteLevel {
                    pending: Zeroizing::default(),
                }
            }
            ByteFallback {} => Stage::ByteFallback {
                run: Zeroizing::default(),
            },
            Metaspace {
                replacement,
                prepend_scheme,
            } => Stage::Metaspace {
                replacement,
                strip: prepend_scheme != "never",
            },
            Replace { pattern, content } => Stage::Replace {
                pattern: Replaced::new(pattern)?,
                content,
            },
            Strip {
                content,
                start,
                stop: 0,
            } => Stage::StripToken { content, start },
            other => return Err(unsupported(&format!("{other:?}"))),
        };
        self.stages.push(stage);
        Ok(())
    }
}

fn unsupported(found: &str) -> TokenizerError {
    TokenizerError::UnsupportedDecoder {
        found: found.into(),
    }
}

/// One step from tokens to text, with what it remembers of the tokens so far.
#[derive(Debug, Clone)]
enum Stage {
    /// No decoder: tokens joined by a space.
    Spaces { first: bool },
    /// Another spelling within each token.
    Replace { pattern: Replaced, content: String },
    /// `replacement` is a space, but nothing in the first token.
    Metaspace { replacement: char, strip: bool },
    /// Up to `start` times `content` off the start of each token.
    StripToken { content: char, start: usize },
    /// The same off the start of the text.
    StripText { content: char, left: usize },
    /// Tokens like `<0xE4>` are bytes; a run of them is a text if it is UTF-8 as a whole, else one
    /// replacement character a byte.
    ByteFallback { run: Zeroizing<Vec<u8>> },
    /// Each character of a token stands for a byte. `pending`: the start of a character, at most 3 bytes.
    ByteLevel { pending: Zeroizing<Vec<u8>> },
}

/// What a Replace replaces.
#[derive(Debug, Clone)]
enum Replaced {
    Text(String),
    /// One that cannot fail.
    Regex(Pattern),
}

impl Replaced {
    fn new(config: PatternConfig) -> Result<Replaced, TokenizerError> {
        match config {
            PatternConfig::String(text) if text.is_empty() => {
                Err(unsupported("Replace of nothing"))
            }
            PatternConfig::String(text) => Ok(Replaced::Text(text)),
            PatternConfig::Regex(source) => match Pattern::of_regex(&source)? {
                // A reply that comes token by token has no place for an error.
                pattern if pattern.can_fail() => Err(unsupported(&format!(
                    "Replace of {source:?}, which looks around or back"
                ))),
                pattern => Ok(Replaced::Regex(pattern)),
            },
        }
    }

    fn replace(&self, token: String, content: &str) -> String {
        match self {
            Replaced::Text(text) => token.replace(text.as_str(), content),
            Replaced::Regex(pattern) => pattern.replace(&token, content).unwrap_or(token),
        }
    }
}

impl Stage {
    fn push(&mut self, token: String) -> Vec<String> {
        match self {
            Stage::Spaces { first } => {
                let space = if std::mem::take(first) { "" } else { " " };
                vec![format!("{space}{token}")]
            }
            Stage::Replace { pattern, content } => vec![pattern.replace(token, content)],
            Stage::Metaspace { replacement, strip } => {
                let space = if std::mem::take(strip) { "" } else { " " };
                vec![token.replace(*replacement, space)]
            }
            Stage::StripToken { content, start } => {
                let mut left = *start;
                vec![strip_start(&token, *content, &mut left)]
            }
            Stage::StripText { content, left } => vec![strip_start(&token, *content, left)],
            Stage::ByteFallback { run } => match fallback_byte(&token) {
                Some(byte) => {
                    run.push(byte);
                    vec![]
                }
                None => bytes_to_tokens(std::mem::take(&mut **run))
                    .into_iter()
                    .chain([token])
                    .collect(),
            },
            Stage::ByteLevel { pending } => {
                pending.extend(byte_level_bytes(&token));
                vec![take_final_text(pending)]
            }
        }
    }

    fn finish(&mut self) -> Vec<String> {
        match self {
            Stage::ByteFallback { run } => bytes_to_tokens(std::mem::take(&mut **run)),
            Stage::ByteLevel { pending } => {
                vec![String::from_utf8_lossy(&std::mem::take(pending)).into_owned()]
            }
            _ => vec![],
        }
    }
}

/// Takes up to `left` times `content` off the start. Anything else there ends it: `left` becomes 0.
fn strip_start(token: &str, content: char, left: &mut usize) -> String {
    let mut rest = token;
    while *left > 0 && !rest.is_empty() {
        match rest.strip_prefix(content) {
            Some(shorter) => (rest, *left) = (shorter, *left - 1),
            None => *left = 0,
        }
    }
    rest.into()
}

/// The byte of a token like `<0xE4>`.
fn fallback_byte(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    match hex.len() {
        2 => u8::from_str_radix(hex, 16).ok(),
        _ => None,
    }
}

fn bytes_to_tokens(run: Vec<u8>) -> Vec<String> {
    match String::from_utf8(run) {
        Ok(text) if text.is_empty() => vec![],
        Ok(text) => vec![text],
        Err(e) => vec!["\u{FFFD}".into(); e.as_bytes().len()],
    }
}

/// The bytes that a token's characters stand for.
fn byte_level_bytes(token: &str) -> Vec<u8> {
    let bytes = token.chars().map(byte_level_byte).collect::<Option<_>>();
    // An added token, spelled as it is.
    bytes.unwrap_or_else(|| token.into())
}

/// GPT-2's spelling of bytes: printable Latin-1 as itself, the other 68 from U+0100 on in order.
fn byte_level_byte(spelled: char) -> Option<u8> {
    let code = u32::from(spelled);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// Takes all but the start of a character that later bytes may complete, with U+FFFD for bytes that
/// are not UTF-8, in the same places as [`String::from_utf8_lossy`] of the whole.
fn take_final_text(pending: &mut Vec<u8>) -> String {
    let tail = pending
        .utf8_chunks()
        .last()
        .map_or(&[][..], |chunk| chunk.invalid());
    let open = std::str::from_utf8(tail).is_err_and(|e| e.error_len().is_none());
    let rest = pending.split_off(pending.len() - if open { tail.len() } else { 0 });
    let complete = std::mem::replace(pending, rest);
    String::from_utf8_lossy(&complete).into_owned()
}

#[cfg(test)]
mod tests;
