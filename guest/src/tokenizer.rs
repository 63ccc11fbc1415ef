//! Text to token ids and back, as the checkpoint's `tokenizer.json` says, and the tokens that
//! `tokenizer_config.json` adds.
//!
//! Encoding is the `tokenizers` crate's, so it is Hugging Face's by construction, but for its regular expressions
//! ([`pattern`]) and a few steps of a normalizer. Decoding is this module's own ([`TextStream`]): that crate's decoders
//! want all tokens at once, a reply arrives one by one.
//!
//! Not constant-time: which vocabulary entries are looked up depends on the text.

mod added_tokens;
mod detokenizer;
mod file;
mod normalizer;
mod pattern;
mod post_processor;
mod pre_tokenizer;
mod steps;

use crate::chat_template::{CONFIG_FILE, MAX_FILE_BYTES, SPECIAL_TOKENS_FILE};
use added_tokens::Renumbered;
pub(crate) use added_tokens::merged_with_map;
use detokenizer::Detokenizer;
use normalizer::Normalizer;
use pre_tokenizer::PreTokenizer;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use thiserror::Error;
use tokenizers::{
    AddedToken, Encoding, Model, ModelWrapper, OffsetType, PostProcessorWrapper, PreTokenizer as _,
    TokenizerImpl,
};

/// The file of the vocabulary, and of how a text becomes tokens of it.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Most bytes of one text. Contexts of 128 Ki tokens are about 0.6 MiB of English.
pub const MAX_TEXT_BYTES: usize = 2 << 20;
/// Most bytes of `tokenizer.json`: the largest in use have about 35 MiB.
pub const MAX_TOKENIZER_BYTES: usize = 128 << 20;

/// Why there is no tokenizer, or why it refused a text. Says nothing of the text.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The host sent no `tokenizer.json`.
    #[error(
        "the checkpoint has no {TOKENIZER_FILE}: save it again with a fast tokenizer (transformers' \
         save_pretrained), or give the prompt as token ids"
    )]
    Missing,
    /// The file is larger than [`MAX_TOKENIZER_BYTES`].
    #[error("{TOKENIZER_FILE} has {found} bytes, at most {MAX_TOKENIZER_BYTES} are possible")]
    FileTooLarge {
        /// Its bytes.
        found: usize,
    },
    /// It, or the configuration beside it, is not what such a file is.
    #[error("{file} is broken, download or save it again: {reason}")]
    Broken {
        /// Its name.
        file: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// It is valid, but asks for something that is not supported.
    #[error(
        "{TOKENIZER_FILE} has something that is not supported: {what}. Encode the prompt with transformers and give it \
         as token ids"
    )]
    Unsupported {
        /// What it is.
        what: String,
    },
    /// Its decoder cannot be streamed.
    #[error(
        "the decoder in {TOKENIZER_FILE} is not supported: {found}. Supported are ByteLevel, Metaspace, \
         and sequences of Replace (of a string, or of a regular \
         expression that does not look around), ByteFallback, Fuse and Strip (at the start)"
    )]
    UnsupportedDecoder {
        /// The step that is not.
        found: String,
    },
    /// More than [`MAX_TEXT_BYTES`].
    #[error("the text has {found} bytes, at most {MAX_TEXT_BYTES} are possible: shorten it")]
    TextTooLong {
        /// Its bytes.
        found: usize,
    },
    /// More than [`Tokenizer::encode_at_most`] was to find.
    #[error("the text has more than {most} tokens: shorten it")]
    TooManyTokens {
        /// Tokens that were to be found.
        most: usize,
    },
    /// The model of the tokenizer found no tokens for the text.
    #[error("the text cannot be encoded with this checkpoint's tokenizer: {reason}")]
    Encode {
        /// What the `tokenizers` crate says.
        reason: String,
    },
    /// The decoder failed.
    #[error("the tokens cannot be decoded with this checkpoint's tokenizer: {reason}")]
    Decode {
        /// What the `tokenizers` crate says.
        reason: String,
    },
}

type Inner =
    TokenizerImpl<ModelWrapper, Normalizer, PreTokenizer, PostProcessorWrapper, Detokenizer>;

/// A checkpoint's tokenizer.
pub struct Tokenizer {
    inner: Inner,
    renumbered: Renumbered,
    /// Before the first token.
    detokenizer: Detokenizer,
}

impl Tokenizer {
    /// From the files of a checkpoint, by name.
    ///
    /// # Errors
    /// `tokenizer.json` is missing, too large, broken, or not supported; a configuration beside it is broken.
    pub fn from_files(files: &BTreeMap<String, Vec<u8>>) -> Result<Tokenizer, TokenizerError> {
        let json = files.get(TOKENIZER_FILE).ok_or(TokenizerError::Missing)?;
        if json.len() > MAX_TOKENIZER_BYTES {
            return Err(TokenizerError::FileTooLarge { found: json.len() });
        }
        let file = file::read(json)?;
        let config = json_object(files, CONFIG_FILE)?;
        let special_tokens = json_object(files, SPECIAL_TOKENS_FILE)?;
        let known = file
            .added_tokens
            .iter()
            .map(|token| &*token.content)
            .collect();
        let more = added_tokens::to_add(&config, &special_tokens, &known)?;
        let detokenizer = Detokenizer::new(file.decoder.as_ref())?;
        let mut inner = Inner::new(file.model);
        let normalizer = file.normalizer.as_ref().map(Normalizer::new).transpose()?;
        inner.with_normalizer(normalizer).map_err(steps::broken)?;
        inner.with_pre_tokenizer(
            file.pre_tokenizer
                .as_ref()
                .map(PreTokenizer::new)
                .transpose()?,
        );
        let post_processor = file
            .post_processor
            .as_ref()
            .map(post_processor::post_processor);
        inner.with_post_processor(post_processor.transpose()?);
        inner.with_decoder(Some(detokenizer.clone()));
        inner.add_tokens(file.added_tokens).map_err(steps::broken)?;
        // Those that have an id by themselves keep it.
        let new = |token: &AddedToken| inner.token_to_id(&token.content).is_none();
        let ids: Vec<_> = more
            .iter()
            .filter(|(_, token)| new(token))
            .cloned()
            .collect();
        inner
            .add_tokens(more.into_iter().map(|(_, token)| token))
            .map_err(steps::broken)?;
        let renumbered = ids
            .iter()
            .filter_map(|(id, token)| Some((inner.token_to_id(&token.content)?, (*id)?)));
        let renumbered = Renumbered::new(renumbered);
        if config.get("split_special_tokens") == Some(&Value::Bool(true)) {
            inner.set_encode_special_tokens(true);
        }
        Ok(Tokenizer {
            inner,
            renumbered,
            detokenizer,
        })
    }

    /// Token ids of a text. Special tokens written out in the text (`<|im_end|>`) are recognised, as in
    /// Hugging Face's.
    ///
    /// `add_special_tokens`: also add what the post-processor adds, often a token that begins the
    /// text. Hugging Face adds them to plain text by default; a rendered chat template holds them
    /// already, so never there.
    ///
    /// # Errors
    /// The text is too long, or not encodable, or a regular expression of the tokenizer takes too many steps for it.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        self.encode_at_most(text, add_special_tokens, usize::MAX)
    }

    /// As [`encode`](Self::encode), and gives up once the text has more than `most` tokens: so much of it, and no more,
    /// is looked up in the vocabulary.
    ///
    /// # Errors
    /// Likewise; too many tokens.
    pub fn encode_at_most(
        &self,
        text: &str,
        add_special_tokens: bool,
        most: usize,
    ) -> Result<Vec<u32>, TokenizerError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TokenizerError::TextTooLong { found: text.len() });
        }
        normalizer::take_failure();
        let left = Cell::new(Some(most));
        let encoding = self.encoding(text, add_special_tokens, &left);
        match (encoding, normalizer::take_failure()) {
            _ if left.get().is_none() => Err(TokenizerError::TooManyTokens { most }),
            (Ok(encoding), None) => {
                let ids = encoding.get_ids().iter();
                Ok(ids.map(|id| self.renumbered.outside(*id)).collect())
            }
            (Err(reason), _) => Err(TokenizerError::Encode {
                reason: reason.to_string(),
            }),
            (_, Some(reason)) => Err(TokenizerError::Encode { reason }),
        }
    }

    /// The steps of the crate's `encode_fast`. An error, and none left, once a piece of the text has more tokens than are
    /// left.
    fn encoding(
        &self,
        text: &str,
        add_special_tokens: bool,
        left: &Cell<Option<usize>>,
    ) -> tokenizers::Result<Encoding> {
        let added = self.inner.get_added_vocabulary();
        let mut pieces = added.extract_and_normalize(self.inner.get_normalizer(), text);
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        let model = self.inner.get_model();
        pieces.tokenize(|piece| {
            let tokens = model.tokenize(piece.get())?;
            left.set(left.get().and_then(|left| left.checked_sub(tokens.len())));
            left.get().map(|_| tokens).ok_or_else(|| "too many".into())
        })?;
        let encoding = pieces.into_encoding(None, 0, OffsetType::None)?;
        self.inner.post_process(encoding, None, add_special_tokens)
    }

    /// Text of token ids. Ids without a token are skipped, as in Hugging Face's; bytes that are not
    /// UTF-8 become U+FFFD. Spaces before punctuation stay (no `clean_up_tokenization_spaces`).
    ///
    /// # Errors
    /// The decoder of the `tokenizers` crate failed.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        let ids: Vec<u32> = ids
            .iter()
            .filter_map(|id| self.renumbered.inside(*id))
            .collect();
        let decoded = self.inner.decode(&ids, skip_special_tokens);
        decoded.map_err(|reason| TokenizerError::Decode {
            reason: reason.to_string(),
        })
    }

    /// Text of token ids that come one by one.
    pub fn stream(&self, skip_special_tokens: bool) -> TextStream {
        TextStream {
            detokenizer: self.detokenizer.clone(),
            skip_special_tokens,
        }
    }

    /// Id of a token given by its content, special or not.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner
            .token_to_id(token)
            .map(|id| self.renumbered.outside(id))
    }

    /// Content of a token, as the vocabulary spells it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(self.renumbered.inside(id)?)
    }

    /// The bytes that a token stands for in the middle of a text: maybe part of a character, empty if there is no
    /// such token. A special token's are its content.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        match self.decoder_token(id) {
            Some(token) if self.is_special(id) => token.into_bytes(),
            Some(token) => self.detokenizer.bytes_of(token),
            None => Vec::new(),
        }
    }

    /// Whether decoding can skip this token.
    pub fn is_special(&self, id: u32) -> bool {
        let token = self.decoder_token(id);
        token.is_some_and(|token| self.inner.get_added_vocabulary().is_special_token(&token))
    }

    /// One more than the largest id, added tokens included. A model's `vocab_size` may be larger: the
    /// rest are rows without a token.
    pub fn vocab_size(&self) -> usize {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        let added = added
            .keys()
            .map(|id| self.renumbered.outside(*id) as usize + 1);
        let last = added.max().unwrap_or(0);
        self.inner.get_vocab_size(true).max(last)
    }

    /// What a decoder gets for an id.
    fn decoder_token(&self, id: u32) -> Option<String> {
        let id = self.renumbered.inside(id)?;
        let added = self.inner.get_added_vocabulary().simple_id_to_token(id);
        added.or_else(|| self.inner.get_model().id_to_token(id))
    }
}

/// An empty one if there is no such file.
fn json_object(
    files: &BTreeMap<String, Vec<u8>>,
    file: &'static str,
) -> Result<serde_json::Map<String, Value>, TokenizerError> {
    let Some(bytes) = files.get(file) else {
        return Ok(serde_json::Map::new());
    };
    let broken = |reason: String| TokenizerError::Broken { file, reason };
    if bytes.len() > MAX_FILE_BYTES {
        return Err(broken(format!(
            "it has {} bytes, at most {MAX_FILE_BYTES} are possible",
            bytes.len()
        )));
    }
    serde_json::from_slice(bytes).map_err(|e| broken(e.to_string()))
}

/// The text of one reply, token by token. All that [`push`](TextStream::push) returned, and then
/// [`finish`](TextStream::finish), together are what [`Tokenizer::decode`] gives for all tokens.
///
/// Text comes out as soon as no later token can change it: a byte-level character with its last byte;
/// bytes of a SentencePiece vocabulary (`<0xE4>`) with the next token that is none, because one wrong
/// byte makes replacement characters of the whole run. A step costs what its token's text costs,
/// however long the reply is.
///
/// It is the reply's text alone: a SentencePiece tokenizer's decoder takes one space off its start.
#[derive(Debug, Clone)]
pub struct TextStream {
    detokenizer: Detokenizer,
    skip_special_tokens: bool,
}

impl TextStream {
    /// Takes the next token and returns the text that became final, maybe none. `tokenizer` has to be the
    /// one that made the stream.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        let mut text = String::new();
        if let Some(token) = tokenizer.decoder_token(id) {
            let special = tokenizer
                .inner
                .get_added_vocabulary()
                .is_special_token(&token);
            if !(self.skip_special_tokens && special) {
                self.detokenizer.push(token, &mut text);
            }
        }
        text
    }

    /// The reply is complete: what was still incomplete, as far as it can be shown.
    pub fn finish(&mut self) -> String {
        let mut text = String::new();
        self.detokenizer.finish(&mut text);
        text
    }
}

#[cfg(test)]
mod tests;
