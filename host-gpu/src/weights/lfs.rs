//! Git LFS pointers: what stands in the place of a large file where `git clone` ran without Git LFS.
//!
//! Specification: <https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md>. Its first line is always the version,
//! and it is shorter than 1024 bytes.

use super::LoadError;

const FIRST_LINE: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Bytes of a file that [`refuse_pointer`] wants to see.
pub(super) const HEAD_BYTES: u64 = FIRST_LINE.len() as u64;

/// Refuses a file that begins as a pointer does; `head` is its beginning or all of it.
pub(super) fn refuse_pointer(file: &str, head: &[u8]) -> Result<(), LoadError> {
    if head.starts_with(FIRST_LINE) {
        return Err(LoadError::LfsPointer { file: file.into() });
    }
    Ok(())
}
