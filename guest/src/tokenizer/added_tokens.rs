//! Tokens beside the vocabulary, where `tokenizer.json` is not all of it: transformers loads that file and then adds
//! what `tokenizer_config.json` says (in its absence of `added_tokens_decoder`, `special_tokens_map.json`), token by
//! token, as this does (`TokenizersBackend.__init__` and `_from_pretrained` of transformers 5.24).
//!
//! What is different: transformers gives a token that is in no vocabulary the next free id, whatever id the
//! configuration has for it, which is the same in a checkpoint that it saved. Here the configuration's id holds, see
//! [`Renumbered`].

use super::TokenizerError;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use tokenizers::AddedToken;

/// What transformers knows by name in every tokenizer, in its order.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Most added tokens. Those in use have up to some thousands.
const MAX_TOKENS: usize = 64 << 10;

/// The tokens to add, in order, with their ids where the configuration gives them. `known`: the contents of those that
/// `tokenizer.json` adds.
///
/// # Errors
/// A token is not what it should be, in `tokenizer_config.json` as elsewhere.
pub(super) fn to_add(
    config: &Map<String, Value>,
    map: &Map<String, Value>,
    known: &HashSet<&str>,
) -> Result<Vec<(Option<u32>, AddedToken)>, TokenizerError> {
    let decoder = decoder_tokens(config)?;
    let named = merged_with_map(config, map);
    let named_tokens = named_tokens(&named)?;
    let names: HashSet<String> = named_tokens
        .iter()
        .map(|token| token.content.clone())
        .collect();
    let mut tokens = decoder;
    let mut contents: HashSet<String> = tokens
        .iter()
        .map(|(_, token)| token.content.clone())
        .collect();
    for token in named_tokens.into_iter().chain(listed_tokens(&named)?) {
        if !known.contains(&*token.content) && contents.insert(token.content.clone()) {
            tokens.push((None, token));
        }
    }
    if tokens.len() > MAX_TOKENS {
        return Err(broken(format!("more than {MAX_TOKENS} added tokens")));
    }
    tokens
        .iter_mut()
        .for_each(|(_, token)| token.special |= names.contains(&token.content));
    Ok(tokens)
}

/// `tokenizer_config.json` with `special_tokens_map.json`, which counts where the first has no `added_tokens_decoder`,
/// and then more.
pub(crate) fn merged_with_map(
    config: &Map<String, Value>,
    map: &Map<String, Value>,
) -> Map<String, Value> {
    let mut merged = config.clone();
    if !config.contains_key("added_tokens_decoder") {
        merged.extend(
            map.iter()
                .map(|(name, token)| (name.clone(), token.clone())),
        );
    }
    merged
}

/// Ids that the `tokenizers` crate counts on by itself, and those that the configuration has for the same tokens.
#[derive(Debug, Default)]
pub(super) struct Renumbered {
    outside: HashMap<u32, u32>,
    inside: HashMap<u32, u32>,
}

impl Renumbered {
    /// `tokens`: the crate's id and the configuration's.
    pub(super) fn new(tokens: impl IntoIterator<Item = (u32, u32)>) -> Renumbered {
        let outside: HashMap<u32, u32> = tokens
            .into_iter()
            .filter(|(crates, own)| crates != own)
            .collect();
        let inside = outside
            .iter()
            .map(|(crates, own)| (*own, *crates))
            .collect();
        Renumbered { outside, inside }
    }

    /// Of an id of the crate.
    pub(super) fn outside(&self, id: u32) -> u32 {
        self.outside.get(&id).copied().unwrap_or(id)
    }

    /// The crate's, if there is a token.
    pub(super) fn inside(&self, id: u32) -> Option<u32> {
        match self.inside.get(&id) {
            Some(id) => Some(*id),
            None => (!self.outside.contains_key(&id)).then_some(id),
        }
    }
}

/// `added_tokens_decoder`, by id.
fn decoder_tokens(
    config: &Map<String, Value>,
) -> Result<Vec<(Option<u32>, AddedToken)>, TokenizerError> {
    let Some(entries) = config.get("added_tokens_decoder") else {
        return Ok(Vec::new());
    };
    let entries = entries
        .as_object()
        .ok_or_else(|| broken("added_tokens_decoder is not a mapping"))?;
    let mut tokens = BTreeMap::new();
    for (id, token) in entries {
        let id: u32 = id
            .parse()
            .map_err(|_| broken(format!("added_tokens_decoder has the id {id:?}")))?;
        tokens.insert(id, (Some(id), added_token(token, false)?));
    }
    Ok(tokens.into_values().collect())
}

/// Tokens that have a name, `bos_token` or one of the model's own.
fn named_tokens(config: &Map<String, Value>) -> Result<Vec<AddedToken>, TokenizerError> {
    let of_model = |name: &&String| name.ends_with("_token") && !NAMED.contains(&name.as_str());
    let of_model = config.keys().filter(of_model).map(String::as_str);
    let named = NAMED
        .into_iter()
        .chain(of_model)
        .filter_map(|name| config.get(name));
    let extra = config
        .get("extra_special_tokens")
        .and_then(Value::as_object);
    let tokens = named
        .chain(extra.into_iter().flat_map(Map::values))
        .filter(|token| is_token(token));
    tokens.map(|token| added_token(token, true)).collect()
}

/// Special tokens without a name.
fn listed_tokens(config: &Map<String, Value>) -> Result<Vec<AddedToken>, TokenizerError> {
    let lists = ["extra_special_tokens", "additional_special_tokens"];
    let mut lists = lists
        .into_iter()
        .filter_map(|name| config.get(name)?.as_array());
    let list = lists.find(|list| !list.is_empty());
    let tokens = list.into_iter().flatten().filter(|token| is_token(token));
    tokens.map(|token| added_token(token, true)).collect()
}

fn is_token(token: &Value) -> bool {
    token.is_string() || token.is_object()
}

/// A token as a text or as an object.
fn added_token(token: &Value, special: bool) -> Result<AddedToken, TokenizerError> {
    /// As Python's constructor of `AddedToken` has it.
    #[derive(Deserialize)]
    struct Token {
        content: String,
        single_word: Option<bool>,
        lstrip: Option<bool>,
        rstrip: Option<bool>,
        normalized: Option<bool>,
        special: Option<bool>,
    }
    if let Some(content) = token.as_str() {
        return Ok(AddedToken::from(content, special));
    }
    let token = Token::deserialize(token).map_err(|e| broken(format!("an added token: {e}")))?;
    let special = special || token.special.unwrap_or(false);
    Ok(AddedToken {
        content: token.content,
        single_word: token.single_word.unwrap_or(false),
        lstrip: token.lstrip.unwrap_or(false),
        rstrip: token.rstrip.unwrap_or(false),
        normalized: token.normalized.unwrap_or(!special),
        special,
    })
}

fn broken(reason: impl ToString) -> TokenizerError {
    TokenizerError::Broken {
        file: super::CONFIG_FILE,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests;
