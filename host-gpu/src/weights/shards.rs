//! Which files of a directory hold the weights: `model.safetensors`, the shards of an index, or, where there is
//! neither, what can be told from the names.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::checkpoint::{MAX_JSON_BYTES, read_optional};
use super::{LoadError, json};

const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";
const EXTENSION: &str = ".safetensors";

/// Most entries of a directory that are looked at.
const MAX_ENTRIES: usize = 1 << 16;

/// Where the weights are.
pub(super) enum Weights {
    /// File of each tensor, by the index; all files are there.
    Indexed(HashMap<String, String>),
    /// All tensors of these files.
    Files(Vec<String>),
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// Looks for the weights in a directory.
///
/// # Errors
/// There are none, some are missing, or files of several models lie side by side.
pub(super) fn find(dir: &Path) -> Result<Weights, LoadError> {
    if dir.join(SINGLE).is_file() {
        return Ok(Weights::Files(vec![SINGLE.into()]));
    }
    if let Some(index) = read_optional(&dir.join(INDEX), MAX_JSON_BYTES)? {
        let Index { weight_map } = json::parse(INDEX, &index)?;
        let shards: BTreeSet<_> = weight_map.values().collect();
        for shard in shards {
            check_shard(dir, shard)?;
        }
        return Ok(Weights::Indexed(weight_map));
    }
    by_name(dir, &safetensors_in(dir)?)
}

/// A shard must lie in the checkpoint's own directory.
fn check_shard(dir: &Path, shard: &str) -> Result<(), LoadError> {
    if shard.is_empty() || shard == ".." || shard.contains(['/', '\\']) {
        return Err(LoadError::Config {
            file: INDEX,
            problem: format!("shard {shard:?} is not the name of a file in the same directory"),
        });
    }
    match dir.join(shard).is_file() {
        true => Ok(()),
        false => Err(LoadError::MissingShard {
            shard: shard.into(),
            source_of_name: INDEX.into(),
        }),
    }
}

/// Names of all safetensors files, in order.
fn safetensors_in(dir: &Path) -> Result<Vec<String>, LoadError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)
        .map_err(LoadError::io(dir))?
        .take(MAX_ENTRIES)
    {
        let name = entry.map_err(LoadError::io(dir))?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(EXTENSION) && !name.starts_with('.') && dir.join(&*name).is_file() {
            names.push(name.into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// All shards of one set, or the one file there is.
fn by_name(dir: &Path, names: &[String]) -> Result<Weights, LoadError> {
    // What lies beside weights under names of its own: an adapter, and Mistral's copy in its own format.
    let of_model =
        |name: &&String| !name.starts_with("adapter_model") && !name.starts_with("consolidated");
    let candidates: Vec<&String> = names.iter().filter(of_model).collect();
    let Some(first) = candidates.first() else {
        return Err(no_weights(dir, names));
    };
    let ambiguous = || LoadError::AmbiguousWeights {
        files: candidates
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    };
    let Some(set) = Shard::of(first) else {
        return match candidates.len() {
            1 => Ok(Weights::Files(vec![(*first).clone()])),
            _ => Err(ambiguous()),
        };
    };
    let same_set =
        |name: &&String| Shard::of(name).is_some_and(|s| (s.stem, s.of) == (set.stem, set.of));
    if !candidates.iter().all(same_set) {
        return Err(ambiguous());
    }
    // Names are in order and differ, so the first that is not where it should be is missing.
    for number in 1..=set.of {
        let found = candidates.get(number - 1).and_then(|name| Shard::of(name));
        if found.is_none_or(|shard| shard.number != number) {
            return Err(LoadError::MissingShard {
                shard: set.name(number),
                source_of_name: (*first).clone(),
            });
        }
    }
    match candidates.len() == set.of {
        true => Ok(Weights::Files(names_of(&candidates))),
        false => Err(ambiguous()),
    }
}

fn names_of(names: &[&String]) -> Vec<String> {
    names.iter().map(|name| (*name).clone()).collect()
}

/// `STEM-00002-of-00007.safetensors`.
struct Shard<'n> {
    stem: &'n str,
    number: usize,
    of: usize,
}

impl<'n> Shard<'n> {
    fn of(name: &'n str) -> Option<Self> {
        let (rest, of) = name.strip_suffix(EXTENSION)?.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| match text.len() == 5 {
            true => text.parse::<u32>().ok(),
            false => None,
        };
        Some(Self {
            stem,
            number: digits(number)? as usize,
            of: digits(of)? as usize,
        })
    }

    fn name(&self, number: usize) -> String {
        format!("{}-{number:05}-of-{:05}{EXTENSION}", self.stem, self.of)
    }
}

fn no_weights(dir: &Path, names: &[String]) -> LoadError {
    let there = |name: &str| dir.join(name).exists();
    let hint = if names.iter().any(|name| name.starts_with("adapter_model")) {
        "there is only an adapter: merge it into its base model with peft, merge_and_unload()"
    } else if names.iter().any(|name| name.starts_with("consolidated")) {
        "there are only consolidated.safetensors: download the weights in Hugging Face's format too"
    } else if there("pytorch_model.bin") || there("pytorch_model.bin.index.json") {
        "there is a pytorch_model.bin: convert it with transformers, save_pretrained(safe_serialization=True)"
    } else {
        "download the weights of the checkpoint"
    };
    LoadError::NoWeights {
        dir: dir.into(),
        hint,
    }
}
