//! Files that a command reads and writes.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use talaria_evidence::{EvidenceError, MAX_EVIDENCE_BYTES};

use crate::answer::{Answer, AnswerError, MAX_ANSWER_BYTES};
use crate::policy::{MAX_POLICY_BYTES, Policy, PolicyError};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum InputError {
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, io::Error),
    #[error("{0} is longer than {1} bytes")]
    TooLong(PathBuf, usize),
    #[error("{0}: not UTF-8")]
    NotText(PathBuf),
    #[error("{0}: {1}")]
    Evidence(PathBuf, EvidenceError),
    #[error("{0}: {1}")]
    Policy(PathBuf, PolicyError),
    #[error("{0}: {1}")]
    Answer(PathBuf, AnswerError),
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, io::Error),
    #[error("{0} exists: {1}")]
    Exists(PathBuf, &'static str),
}

/// Reads a policy.
pub(super) fn policy(path: &Path) -> Result<Policy, InputError> {
    let bytes = read(path, MAX_POLICY_BYTES)?;
    let text = String::from_utf8(bytes).map_err(|_| InputError::NotText(path.into()))?;
    Policy::from_toml(&text).map_err(|e| InputError::Policy(path.into(), e))
}

/// Reads evidence or collateral.
pub(super) fn evidence<T>(
    path: &Path,
    from_json: fn(&[u8]) -> Result<T, EvidenceError>,
) -> Result<T, InputError> {
    let bytes = read(path, MAX_EVIDENCE_BYTES)?;
    from_json(&bytes).map_err(|e| InputError::Evidence(path.into(), e))
}

/// Reads an answer.
pub(super) fn answer(path: &Path) -> Result<Answer, InputError> {
    let bytes = read(path, MAX_ANSWER_BYTES)?;
    Answer::from_json(&bytes).map_err(|e| InputError::Answer(path.into(), e))
}

fn read(path: &Path, longest: usize) -> Result<Vec<u8>, InputError> {
    let failed = |e| InputError::Read(path.into(), e);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(longest as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > longest {
        return Err(InputError::TooLong(path.into(), longest));
    }
    Ok(bytes)
}

/// Writes a file that only its owner may read; `replace` an existing one or refuse.
pub(super) fn write_private(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    match replace {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}
