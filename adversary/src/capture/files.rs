//! capture.json and labels.json.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::AdversaryError;

/// Version of both files.
pub const FORMAT: u32 = 1;

const FACTS: &str = "capture.json";
const LABELS: &str = "labels.json";
/// No file of a capture but a record is longer.
const MAX_JSON_BYTES: u64 = 256 << 20;

/// What anyone knows of a capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the masking.
    pub masking: String,
    /// Digest of the model, 64 hex digits.
    pub model_digest: String,
    /// Under module-lwe, the name of its parameter set and the seed of A in 64 hex digits.
    pub module_lwe: Option<(String, String)>,
    /// For each host, how many of the requests that it saw belong to set-up.
    pub setup_sends: Vec<u64>,
    /// For each prompt, how many requests host 1 had seen since set-up when it was handed over. Only one prompt is in
    /// work at a time.
    pub begins: Vec<u64>,
}

/// The truth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// [`FORMAT`].
    pub format: u32,
    /// One for each prompt, in order.
    pub requests: Vec<Label>,
}

/// What one request was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Whether the attacker sent it, as any customer may, and so knows it.
    pub own: bool,
    /// The prompt.
    pub prompt_ids: Vec<u32>,
    /// The reply.
    pub token_ids: Vec<u32>,
}

impl Facts {
    pub(super) fn read(dir: &Path) -> Result<Self, AdversaryError> {
        let facts: Self = read(dir, FACTS)?;
        check_format(dir, FACTS, facts.format)?;
        Ok(facts)
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), AdversaryError> {
        write(dir, FACTS, self)
    }
}

impl Labels {
    pub(super) fn read(dir: &Path) -> Result<Self, AdversaryError> {
        let labels: Self = read(dir, LABELS)?;
        check_format(dir, LABELS, labels.format)?;
        Ok(labels)
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), AdversaryError> {
        write(dir, LABELS, self)
    }
}

fn check_format(dir: &Path, name: &str, found: u32) -> Result<(), AdversaryError> {
    if found == FORMAT {
        return Ok(());
    }
    Err(AdversaryError::malformed(
        &dir.join(name),
        format!("format {found}, expected {FORMAT}: capture again with this release"),
    ))
}

fn read<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<T, AdversaryError> {
    let path = dir.join(name);
    let length = std::fs::metadata(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => AdversaryError::malformed(
            &path,
            "is missing: give --capture a directory that `talaria-adversary capture` wrote",
        ),
        _ => AdversaryError::file(&path)(error),
    })?;
    if length.len() > MAX_JSON_BYTES {
        let message = format!("{} bytes, expected at most {MAX_JSON_BYTES}", length.len());
        return Err(AdversaryError::malformed(&path, message));
    }
    let bytes = std::fs::read(&path).map_err(AdversaryError::file(&path))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        AdversaryError::malformed(
            &path,
            format!("is not what a capture holds: {error}; capture again"),
        )
    })
}

fn write(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), AdversaryError> {
    let path = dir.join(name);
    let json = serde_json::to_vec_pretty(value)
        .map_err(|error| AdversaryError::malformed(&path, error.to_string()))?;
    std::fs::write(&path, json).map_err(AdversaryError::file(&path))
}
