//! Generation defaults: generation_config.json where it is there, stop tokens of config.json else.

use serde::Deserialize;
use talaria_wire::manifest::Generation;

use super::LoadError;
use super::config::{Config, parse};

const FILE: &str = "generation_config.json";

/// One token id or several; Hugging Face writes either.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Ids {
    /// A number.
    One(i64),
    /// A list.
    Many(Vec<i64>),
}

impl Ids {
    fn as_slice(&self) -> &[i64] {
        match self {
            Ids::One(id) => std::slice::from_ref(id),
            Ids::Many(ids) => ids,
        }
    }
}

/// Keys of generation_config.json.
#[derive(Default, Deserialize)]
struct Keys {
    eos_token_id: Option<Ids>,
    bos_token_id: Option<Ids>,
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

/// Defaults from the bytes of generation_config.json, if any, and from config.json.
pub fn describe(file: Option<&[u8]>, config: &Config) -> Result<Generation, LoadError> {
    let keys: Keys = file.map_or(Ok(Keys::default()), |bytes| parse(FILE, bytes))?;
    let vocab = config.vocab_size;
    let eos = [
        (FILE, &keys.eos_token_id),
        ("config.json", &config.eos_token_id),
    ];
    let bos = [
        (FILE, &keys.bos_token_id),
        ("config.json", &config.bos_token_id),
    ];
    Ok(Generation {
        eos_token_ids: first_given("eos_token_id", eos, vocab)?,
        bos_token_id: first_given("bos_token_id", bos, vocab)?.first().copied(),
        do_sample: keys.do_sample.unwrap_or(false),
        temperature: keys.temperature,
        top_k: keys.top_k,
        top_p: keys.top_p,
        min_p: keys.min_p,
        repetition_penalty: keys.repetition_penalty,
    })
}

/// The ids of the first file that has any.
fn first_given(
    key: &str,
    files: [(&'static str, &Option<Ids>); 2],
    vocab: u32,
) -> Result<Vec<u32>, LoadError> {
    let Some((file, ids)) = files
        .into_iter()
        .find_map(|(file, ids)| ids.as_ref().map(|ids| (file, ids)))
    else {
        return Ok(Vec::new());
    };
    let inside = |id: &i64| match u32::try_from(*id) {
        Ok(id) if id < vocab => Ok(id),
        _ => Err(LoadError::Config {
            file,
            problem: format!("{key} {id} is outside the vocabulary of {vocab} tokens"),
        }),
    };
    ids.as_slice().iter().map(inside).collect()
}
