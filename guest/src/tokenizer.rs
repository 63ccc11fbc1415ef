//! Text to token ids and back, as the checkpoint's `tokenizer.json` says.
//!
//! Encoding and whole decoding are the `tokenizers` crate's, so they are Hugging Face's by construction.
//! Streaming output is this module's own ([`TextStream`]): that crate's decoders want all tokens at
//! once, a reply arrives one by one.
//!
//! Not constant-time: which vocabulary entries are looked up depends on the text.

mod detokenizer;
mod precheck;

use detokenizer::Detokenizer;
use std::collections::BTreeMap;
use thiserror::Error;
use tokenizers::Model;

/// The one tokenizer file that is read.
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
    /// It is not what the `tokenizers` crate can read.
    #[error("{TOKENIZER_FILE} is broken, download or save it again: {reason}")]
    Broken {
        /// What the parser says.
        reason: String,
    },
    /// Its decoder cannot be streamed.
    #[error(
        "the decoder in {TOKENIZER_FILE} is not supported: {found}. Supported are ByteLevel, Metaspace, \
         and sequences of Replace (of a string), ByteFallback, Fuse and Strip (at the start)"
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

/// A checkpoint's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Before the first token.
    detokenizer: Detokenizer,
}

impl Tokenizer {
    /// From the files of a checkpoint, by name.
    ///
    /// # Errors
    /// `tokenizer.json` is missing, too large, broken, or decodes in a way that cannot be streamed.
    pub fn from_files(files: &BTreeMap<String, Vec<u8>>) -> Result<Tokenizer, TokenizerError> {
        let json = files.get(TOKENIZER_FILE).ok_or(TokenizerError::Missing)?;
        if json.len() > MAX_TOKENIZER_BYTES {
            return Err(TokenizerError::FileTooLarge { found: json.len() });
        }
        precheck::file(json)?;
        let broken = |reason: tokenizers::Error| TokenizerError::Broken {
            reason: reason.to_string(),
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(broken)?;
        precheck::post_processor(inner.get_post_processor())?;
        // A prompt is never cut or filled up in silence, whatever the file was saved with.
        inner.with_truncation(None).map_err(broken)?;
        inner.with_padding(None);
        // The crate caches words by text: those of one session would outlive it and speed up another's.
        let mut model = inner.get_model().clone();
        model.resize_cache(0);
        inner.with_model(model);
        let detokenizer = Detokenizer::new(inner.get_decoder())?;
        Ok(Tokenizer { inner, detokenizer })
    }

    /// Token ids of a text. Special tokens written out in the text (`<|im_end|>`) are recognised, as in
    /// Hugging Face's.
    ///
    /// `add_special_tokens`: also add what the post-processor adds, often a token that begins the
    /// text. Hugging Face adds them to plain text by default; a rendered chat template holds them
    /// already, so never there.
    ///
    /// # Errors
    /// The text is too long, or not encodable.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TokenizerError::TextTooLong { found: text.len() });
        }
        let encoding = self.inner.encode_fast(text, add_special_tokens);
        match encoding {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(reason) => Err(TokenizerError::Encode {
                reason: reason.to_string(),
            }),
        }
    }

    /// Text of token ids. Ids without a token are skipped, as in Hugging Face's; bytes that are not
    /// UTF-8 become U+FFFD. Spaces before punctuation stay (no `clean_up_tokenization_spaces`).
    ///
    /// # Errors
    /// The decoder of the `tokenizers` crate failed.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        let decoded = self.inner.decode(ids, skip_special_tokens);
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
        self.inner.token_to_id(token)
    }

    /// Content of a token, as the vocabulary spells it.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
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
        let last = added.keys().max().map_or(0, |&id| id as usize + 1);
        self.inner.get_vocab_size(true).max(last)
    }

    /// What a decoder gets for an id.
    fn decoder_token(&self, id: u32) -> Option<String> {
        let added = self.inner.get_added_vocabulary().simple_id_to_token(id);
        added.or_else(|| self.inner.get_model().id_to_token(id))
    }
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
