//! `tokenizer.ggml.*` as the tokenizer.json and tokenizer_config.json that it was made from.
//!
//! Two kinds: `gpt2`, byte-level BPE with its merges; and `llama`, SentencePiece BPE, whose merges follow from the
//! scores of its pieces as transformers' converter has it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value as Json, json};
use talaria_wire::manifest::MAX_MANIFEST_BYTES;

use super::super::LoadError;
use super::header::{Header, Value};
use super::pre_tokenizer::PreTokenizer;

/// Longest piece of a `llama` vocabulary, in bytes: its merges are looked for at every place of every piece.
const MAX_PIECE_BYTES: usize = 1024;
/// Bytes of all merges that are made, at most: with the pieces they must fit a manifest.
const MAX_MERGES_BYTES: usize = MAX_MANIFEST_BYTES / 8;

/// Kinds of tokens, `tokenizer.ggml.token_type`.
const UNKNOWN: i128 = 2;
const CONTROL: i128 = 3;
const USER_DEFINED: i128 = 4;
const UNUSED: i128 = 5;

/// Control tokens that end a reply in models whose file names just one of them, as llama.cpp knows them.
const ENDS: [&str; 10] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<EOT>",
    "<|EOT|>",
    "<end_of_utterance>",
];

/// Which tokenizer.
enum Kind {
    Gpt2(PreTokenizer),
    Llama,
}

/// The vocabulary of a file.
pub struct Vocabulary<'h> {
    header: &'h Header,
    kind: Kind,
    tokens: Vec<&'h str>,
    /// As many as tokens.
    types: Vec<i128>,
}

impl<'h> Vocabulary<'h> {
    /// Reads it, if there is one.
    ///
    /// # Errors
    /// It is of a kind that is not supported, or contradicts itself.
    pub fn of(header: &'h Header) -> Result<Option<Self>, LoadError> {
        let Some(model) = text(header, "tokenizer.ggml.model")? else {
            return Ok(None);
        };
        let kind = match model {
            "none" | "no_vocab" => return Ok(None),
            "gpt2" => Kind::Gpt2(pre_tokenizer(header)?),
            "llama" => Kind::Llama,
            other => {
                return Err(header.invalid(format!(
                    "tokenizer.ggml.model {other} is not supported; supported: gpt2, llama"
                )));
            }
        };
        let tokens = texts(header, "tokenizer.ggml.tokens")?
            .ok_or_else(|| header.invalid("it has no tokenizer.ggml.tokens".into()))?;
        let types = match header.metadata.get("tokenizer.ggml.token_type") {
            None => vec![1; tokens.len()],
            Some(types) => types.scalars().map(|t| integer(&t).unwrap_or(1)).collect(),
        };
        if types.len() != tokens.len() {
            return Err(header.invalid(format!(
                "it has {} tokens and {} token types",
                tokens.len(),
                types.len()
            )));
        }
        Ok(Some(Self {
            header,
            kind,
            tokens,
            types,
        }))
    }

    /// Tokens that end a reply.
    pub fn end_of_generation(&self) -> Vec<u32> {
        let named = ["eos", "eot", "eom"];
        let mut ids: Vec<u32> = named.into_iter().filter_map(|name| self.id(name)).collect();
        let control = self.types.iter().zip(&self.tokens).zip(0..);
        ids.extend(control.filter_map(|((kind, token), id)| {
            (*kind == CONTROL && ENDS.contains(token)).then_some(id)
        }));
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(*id));
        ids
    }

    /// tokenizer.json and tokenizer_config.json.
    pub fn text_files(&self) -> Result<BTreeMap<String, Vec<u8>>, LoadError> {
        let tokenizer = match &self.kind {
            Kind::Gpt2(pre_tokenizer) => self.byte_level(pre_tokenizer)?,
            Kind::Llama => self.sentence_piece()?,
        };
        let config = self.config()?;
        Ok(BTreeMap::from([
            ("tokenizer.json".into(), tokenizer.to_string().into_bytes()),
            (
                "tokenizer_config.json".into(),
                config.to_string().into_bytes(),
            ),
        ]))
    }

    fn config(&self) -> Result<Json, LoadError> {
        let mut config = Map::new();
        for (key, name) in [
            ("bos_token", "bos"),
            ("eos_token", "eos"),
            ("unk_token", "unknown"),
            ("pad_token", "padding"),
        ] {
            if let Some(token) = self.id(name).and_then(|id| self.token(id)) {
                config.insert(key.into(), json!(token));
            }
        }
        config.insert("add_bos_token".into(), json!(self.adds_bos()));
        config.insert("add_eos_token".into(), json!(self.adds_eos()));
        config.insert("clean_up_tokenization_spaces".into(), json!(false));
        if let Some(template) = text(self.header, "tokenizer.chat_template")? {
            config.insert("chat_template".into(), json!(template));
        }
        Ok(Json::Object(config))
    }

    /// Byte-level BPE: words, bytes as characters, merges.
    fn byte_level(&self, pre_tokenizer: &PreTokenizer) -> Result<Json, LoadError> {
        let vocab = self.vocab();
        let merges = texts(self.header, "tokenizer.ggml.merges")?.ok_or_else(|| {
            self.header
                .invalid("it has no tokenizer.ggml.merges".into())
        })?;
        let merges = merges.into_iter().map(|merge| {
            // A token may be a space, a merge is of two tokens that are not empty.
            let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
            let pair = at.map(|(at, _)| (&merge[..at], &merge[at + 1..]));
            let known = |(left, right): &(&str, &str)| {
                [*left, *right, &format!("{left}{right}")]
                    .iter()
                    .all(|token| vocab.contains_key(*token))
            };
            pair.filter(known).ok_or_else(|| {
                let problem = format!("the merge {merge:?} is not of two tokens that make a third");
                self.header.invalid(problem)
            })
        });
        let merges = merges.collect::<Result<Vec<_>, _>>()?;
        let decoder = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
        Ok(self.tokenizer(Parts {
            normalizer: pre_tokenizer.normalizer.clone(),
            pre_tokenizer: pre_tokenizer.json.clone(),
            decoder,
            model: json!({
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": pre_tokenizer.ignore_merges, "vocab": vocab, "merges": merges,
            }),
        }))
    }

    /// SentencePiece BPE: one word, spaces as U+2581, bytes that have no piece as `<0x..>`.
    fn sentence_piece(&self) -> Result<Json, LoadError> {
        let vocab = self.vocab();
        let merges = self.merges_of_scores(&vocab)?;
        let prefix = flag(self.header, "tokenizer.ggml.add_space_prefix").unwrap_or(true);
        let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let normalizers = match prefix {
            true => vec![json!({"type": "Prepend", "prepend": "▁"}), spaces],
            false => vec![spaces],
        };
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefix {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let unknown = self.id("unknown").and_then(|id| self.token(id));
        Ok(self.tokenizer(Parts {
            normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
            pre_tokenizer: Json::Null,
            decoder: json!({"type": "Sequence", "decoders": decoders}),
            model: json!({
                "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": vocab, "merges": merges,
            }),
        }))
    }

    /// Every way to make a piece of two others, best score first: `generate_merges` of transformers'
    /// convert_slow_tokenizer.py.
    fn merges_of_scores<'a>(
        &self,
        vocab: &BTreeMap<&'a str, u32>,
    ) -> Result<Vec<(&'a str, &'a str)>, LoadError> {
        let scores: Vec<f64> = match self.header.metadata.get("tokenizer.ggml.scores") {
            None => {
                return Err(self
                    .header
                    .invalid("it has no tokenizer.ggml.scores".into()));
            }
            Some(scores) => scores.scalars().map(|s| float(&s)).collect(),
        };
        if scores.len() != self.tokens.len() {
            return Err(self.header.invalid(format!(
                "it has {} tokens and {} scores",
                self.tokens.len(),
                scores.len()
            )));
        }
        // The order of ids decides between equals.
        let mut pieces: Vec<_> = vocab.iter().map(|(piece, id)| (*id, *piece)).collect();
        pieces.sort_unstable();
        let known: HashMap<&str, u32> = vocab.iter().map(|(piece, id)| (*piece, *id)).collect();
        let mut merges = Vec::new();
        let mut bytes = 0;
        for (id, piece) in pieces {
            if piece.len() > MAX_PIECE_BYTES {
                return Err(self.header.invalid(format!(
                    "token {id} has {} bytes, the most allowed is {MAX_PIECE_BYTES}",
                    piece.len()
                )));
            }
            let places = piece
                .char_indices()
                .skip(1)
                .map(|(at, _)| piece.split_at(at));
            let mut local: Vec<_> = places
                .filter_map(|(left, right)| {
                    Some((*known.get(left)?, *known.get(right)?, left, right))
                })
                .collect();
            local.sort_unstable_by_key(|(left, right, ..)| (*left, *right));
            bytes += local.len() * (piece.len() + 8);
            if bytes > MAX_MERGES_BYTES {
                return Err(self.header.invalid(format!(
                    "the merges of its vocabulary take more than {MAX_MERGES_BYTES} bytes"
                )));
            }
            let score = scores[id as usize];
            merges.extend(
                local
                    .into_iter()
                    .map(|(_, _, left, right)| (score, left, right)),
            );
        }
        let length = |piece: &str| piece.chars().count();
        merges.sort_by(|(a, a_left, a_right), (b, b_left, b_right)| {
            (b.total_cmp(a))
                .then(length(b_left).cmp(&length(a_left)))
                .then(length(b_right).cmp(&length(a_right)))
        });
        Ok(merges
            .into_iter()
            .map(|(_, left, right)| (left, right))
            .collect())
    }

    /// Ids by token; of tokens that are there twice the first, of unused ones none.
    fn vocab(&self) -> BTreeMap<&'h str, u32> {
        let mut vocab = BTreeMap::new();
        for ((token, kind), id) in self.tokens.iter().zip(&self.types).zip(0..) {
            if *kind != UNUSED {
                vocab.entry(*token).or_insert(id);
            }
        }
        vocab
    }

    fn tokenizer(&self, parts: Parts) -> Json {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": self.added_tokens(),
            "normalizer": parts.normalizer, "pre_tokenizer": parts.pre_tokenizer,
            "post_processor": self.post_processor(), "decoder": parts.decoder, "model": parts.model,
        })
    }

    /// Tokens that are found in a text before it is cut into words.
    fn added_tokens(&self) -> Vec<Json> {
        let typed = self.tokens.iter().zip(&self.types).zip(0u32..);
        typed
            .filter(|((token, kind), _)| {
                matches!(**kind, UNKNOWN | CONTROL | USER_DEFINED) && !token.is_empty()
            })
            .map(|((token, kind), id)| {
                json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": *kind != USER_DEFINED})
            })
            .collect()
    }

    fn adds_bos(&self) -> bool {
        let default = match &self.kind {
            Kind::Gpt2(pre_tokenizer) => pre_tokenizer.adds_bos,
            Kind::Llama => true,
        };
        flag(self.header, "tokenizer.ggml.add_bos_token").unwrap_or(default)
    }

    fn adds_eos(&self) -> bool {
        flag(self.header, "tokenizer.ggml.add_eos_token").unwrap_or(false)
    }

    /// Tokens put before and after a text.
    fn post_processor(&self) -> Json {
        let wanted = |wanted: bool, name: &str| {
            let id = self.id(name).filter(|_| wanted)?;
            Some((id, self.token(id)?))
        };
        let bos = wanted(self.adds_bos(), "bos");
        let eos = wanted(self.adds_eos(), "eos");
        if bos.is_none() && eos.is_none() {
            return Json::Null;
        }
        let special = |token: Option<(u32, &str)>, kind: u32| {
            token.map(|(_, token)| json!({"SpecialToken": {"id": token, "type_id": kind}}))
        };
        let text = |id: &str, kind: u32| Some(json!({"Sequence": {"id": id, "type_id": kind}}));
        let single = [special(bos, 0), text("A", 0), special(eos, 0)];
        let pair = [
            special(bos, 0),
            text("A", 0),
            special(eos, 0),
            special(bos, 1),
            text("B", 1),
            special(eos, 1),
        ];
        let mut tokens = Map::new();
        for (id, token) in bos.into_iter().chain(eos) {
            tokens.insert(
                token.into(),
                json!({"id": token, "ids": [id], "tokens": [token]}),
            );
        }
        json!({
            "type": "TemplateProcessing",
            "single": single.into_iter().flatten().collect::<Vec<_>>(),
            "pair": pair.into_iter().flatten().collect::<Vec<_>>(),
            "special_tokens": tokens,
        })
    }

    /// `tokenizer.ggml.NAME_token_id`, if it is one of the tokens.
    fn id(&self, name: &str) -> Option<u32> {
        let value = self
            .header
            .metadata
            .get(&format!("tokenizer.ggml.{name}_token_id"))?;
        let id = u32::try_from(integer(value)?).ok()?;
        ((id as usize) < self.tokens.len()).then_some(id)
    }

    fn token(&self, id: u32) -> Option<&'h str> {
        self.tokens.get(id as usize).copied()
    }
}

/// What differs between kinds.
struct Parts {
    normalizer: Json,
    pre_tokenizer: Json,
    decoder: Json,
    model: Json,
}

fn pre_tokenizer(header: &Header) -> Result<PreTokenizer, LoadError> {
    let name = text(header, "tokenizer.ggml.pre")?.unwrap_or("default");
    PreTokenizer::named(name).ok_or_else(|| {
        let names = PreTokenizer::names();
        header.invalid(format!(
            "tokenizer.ggml.pre {name} is not supported; supported: {names}"
        ))
    })
}

fn text<'h>(header: &'h Header, key: &str) -> Result<Option<&'h str>, LoadError> {
    match header.metadata.get(key) {
        None => Ok(None),
        Some(Value::Text(bytes)) => utf8(header, key, bytes).map(Some),
        Some(_) => Err(header.invalid(format!("{key} is no text"))),
    }
}

fn texts<'h>(header: &'h Header, key: &str) -> Result<Option<Vec<&'h str>>, LoadError> {
    match header.metadata.get(key) {
        None => Ok(None),
        Some(Value::Texts(all)) => {
            let all = all.iter().map(|bytes| utf8(header, key, bytes));
            all.collect::<Result<_, _>>().map(Some)
        }
        Some(_) => Err(header.invalid(format!("{key} is no list of texts"))),
    }
}

fn utf8<'h>(header: &Header, key: &str, bytes: &'h [u8]) -> Result<&'h str, LoadError> {
    std::str::from_utf8(bytes).map_err(|_| header.invalid(format!("{key} is not UTF-8")))
}

fn flag(header: &Header, key: &str) -> Option<bool> {
    match header.metadata.get(key)? {
        Value::Bool(flag) => Some(*flag),
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(number) => *number,
        Value::Integer(number) => *number as f64,
        _ => f64::NAN,
    }
}
