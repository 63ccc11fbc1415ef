//! Tokenizer files, carried to the payload as they are; JSON that only Python takes for JSON, in RFC 8259.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::IgnoredAny;
use talaria_wire::manifest::MAX_MANIFEST_BYTES;

use super::checkpoint::read_optional;
use super::{LoadError, json};

/// JSON files, then the template. All are optional: without them the model serves token ids only.
const JSON_FILES: [&str; 3] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
];
const TEMPLATE: &str = "chat_template.jinja";

/// Longest file accepted, in bytes: together they must fit a manifest.
const MAX_TEXT_FILE_BYTES: u64 = MAX_MANIFEST_BYTES as u64 / 4;

/// Reads those that are there, and checks that JSON is JSON and text is text.
pub(super) fn read(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>, LoadError> {
    let mut files = BTreeMap::new();
    for file in JSON_FILES.into_iter().chain([TEMPLATE]) {
        if let Some(bytes) = read_optional(&dir.join(file), MAX_TEXT_FILE_BYTES)? {
            let bytes = match file {
                TEMPLATE => bytes,
                _ => json::normal(&bytes),
            };
            check(file, &bytes)?;
            files.insert(file.into(), bytes);
        }
    }
    Ok(files)
}

fn check(file: &'static str, bytes: &[u8]) -> Result<(), LoadError> {
    let problem = match file {
        TEMPLATE => std::str::from_utf8(bytes)
            .err()
            .map(|e| format!("is not text: {e}")),
        _ => serde_json::from_slice::<IgnoredAny>(bytes)
            .err()
            .map(|e| format!("is not JSON: {e}")),
    };
    problem.map_or(Ok(()), |problem| Err(LoadError::TextFile { file, problem }))
}
