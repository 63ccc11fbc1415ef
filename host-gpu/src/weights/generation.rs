//! Generation defaults: generation_config.json where it is there, stop tokens of config.json else.

use serde::Deserialize;
use talaria_wire::manifest::Generation;

use super::LoadError;
use super::config::Config;
use super::json::parse;

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
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_k: Option<i64>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

/// Defaults from the bytes of generation_config.json, if any, and from config.json.
pub fn describe(file: Option<&[u8]>, config: &Config) -> Result<Generation, LoadError> {
    let keys: Keys = file.map_or(Ok(Keys::default()), |bytes| parse(FILE, bytes))?;
    let given = [
        (FILE, &keys.eos_token_id),
        ("config.json", &config.eos_token_id),
    ];
    Ok(Generation {
        eos_token_ids: eos_token_ids(given, config.vocab_size)?,
        do_sample: keys.do_sample.unwrap_or(false),
        temperature: keys.temperature,
        // 0 and -1 are "all tokens".
        top_k: keys
            .top_k
            .and_then(|k| u32::try_from(k).ok())
            .filter(|k| *k > 0),
        top_p: keys.top_p,
        min_p: keys.min_p,
        repetition_penalty: keys.repetition_penalty,
    })
}

/// Those of the first file that has any. An id outside the vocabulary is never generated, so it ends nothing.
///
/// # Errors
/// All are outside: no reply would end.
fn eos_token_ids(
    files: [(&'static str, &Option<Ids>); 2],
    vocab: u32,
) -> Result<Vec<u32>, LoadError> {
    let given = |(file, ids): (_, &Option<Ids>)| Some((file, ids.clone()?));
    let Some((file, ids)) = files.into_iter().find_map(given) else {
        return Ok(Vec::new());
    };
    let inside = |id: &i64| u32::try_from(*id).ok().filter(|id| *id < vocab);
    let inside: Vec<u32> = ids.as_slice().iter().filter_map(inside).collect();
    match ids.as_slice().first() {
        Some(id) if inside.is_empty() => Err(LoadError::Config {
            file,
            problem: format!("eos_token_id {id} is outside the vocabulary of {vocab} tokens"),
        }),
        _ => Ok(inside),
    }
}
