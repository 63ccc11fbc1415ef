//! Compiled code kept between starts, on a user's own machine (`talaria-local`). A CVM keeps none: who supplies its
//! disk decides about owner, mode and content of what lies there.
//!
//! Whoever can write compiled code controls this process, so a file counts only if it lies in a
//! directory of the current user that nobody else may write, is itself such a file and no link, and
//! carries the digest of its content, of the `.wasm` it was made from and of wasmtime's version and
//! settings. The digest is no signature: it catches truncation and mix-ups, the owner and mode
//! checks keep others out. Any doubt: compile, as if there were no cache.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::{PayloadError, compile};

/// First bytes of a cache file; the digest and the code follow.
const MAGIC: &[u8; 16] = b"talaria-cwasm-1\n";
const DIGEST_BYTES: usize = 32;
/// Compiled code of a payload is some 10 MB.
const MAX_CODE_BYTES: u64 = 1 << 30;
/// Drafts of this process.
static DRAFTS: AtomicU32 = AtomicU32::new(0);
/// Others may not write.
const FOREIGN_WRITE: u32 = 0o022;

/// The component, from the cache or compiled and then cached. A cache that cannot be used is no
/// error.
pub(super) fn component(
    engine: &Engine,
    wasm: &[u8],
    wasm_sha256: &[u8; 32],
    dir: &Path,
) -> Result<Component, PayloadError> {
    let entry = Entry::new(engine, wasm_sha256, dir);
    match entry.read(engine) {
        Ok(component) => return Ok(component),
        Err(reason) => tracing::debug!(%reason, "compiling the payload"),
    }
    let component = compile(engine, wasm)?;
    if let Err(reason) = entry.write(&component) {
        tracing::warn!(%reason, dir = %dir.display(), "compiled payload is not cached");
    }
    Ok(component)
}

/// Place of one component compiled with one configuration.
struct Entry<'a> {
    dir: &'a Path,
    /// SHA-256 over the `.wasm`'s hash and all that compiled code depends on.
    key: [u8; 32],
}

impl<'a> Entry<'a> {
    fn new(engine: &Engine, wasm_sha256: &[u8; 32], dir: &'a Path) -> Self {
        let mut hasher = KeyHasher(Sha256::new_with_prefix(MAGIC));
        hasher.write(wasm_sha256);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let key = hasher.0.finalize().into();
        Self { dir, key }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(hex::encode(self.key)).with_extension("cwasm")
    }

    /// SHA-256 over key and code.
    fn digest(&self, code: &[u8]) -> [u8; DIGEST_BYTES] {
        let hasher = Sha256::new_with_prefix(self.key);
        hasher.chain_update(code).finalize().into()
    }

    fn read(&self, engine: &Engine) -> Result<Component, String> {
        check_directory(self.dir)?;
        let bytes = read_own_file(&self.path())?;
        let code = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.split_first_chunk::<DIGEST_BYTES>())
            .filter(|(digest, code)| **digest == self.digest(code))
            .map(|(_, code)| code)
            .ok_or("its digest is wrong")?;
        deserialize(engine, code)
    }

    fn write(&self, component: &Component) -> Result<(), String> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(self.dir);
        made.map_err(|e| e.to_string())?;
        check_directory(self.dir)?;
        let code = component.serialize().map_err(|e| e.to_string())?;
        self.write_file(&code).map_err(|e| e.to_string())
    }

    /// Whole or not at all: a new file under another name, then renamed.
    fn write_file(&self, code: &[u8]) -> io::Result<()> {
        let path = self.path();
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = path.with_extension(format!("draft-{}-{number}", std::process::id()));
        // Left by a process that died; a link there is removed, not followed.
        let _ = fs::remove_file(&draft);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        let written = file
            .write_all(MAGIC)
            .and_then(|()| file.write_all(&self.digest(code)))
            .and_then(|()| file.write_all(code))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&draft, &path));
        if written.is_err() {
            let _ = fs::remove_file(&draft);
        }
        written
    }
}

#[allow(
    unsafe_code,
    reason = "wasmtime takes compiled code on trust only; this module establishes it"
)]
fn deserialize(engine: &Engine, code: &[u8]) -> Result<Component, String> {
    // SAFETY: `code` must come unmodified from `Component::serialize`. It was read into memory once
    // from a regular file that only the current user could have written, and its digest binds it
    // to this wasm and this engine; only `Entry::write` makes such files.
    unsafe { Component::deserialize(engine, code) }.map_err(|e| format!("{e:#}"))
}

/// A directory, no link, of the current user, not writable by anyone else.
fn check_directory(dir: &Path) -> Result<(), String> {
    let metadata = fs::symlink_metadata(dir).map_err(|e| e.to_string())?;
    if !metadata.is_dir() {
        return Err(format!("{} is not a directory", dir.display()));
    }
    check_owner(&metadata, dir)
}

fn read_own_file(path: &Path) -> Result<Vec<u8>, String> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(no_follow).open(path);
    let file = file.map_err(|e| e.to_string())?;
    let metadata = file.metadata().map_err(|e| e.to_string())?;
    if !metadata.is_file() || metadata.len() > MAX_CODE_BYTES {
        return Err(format!("{} is no file of compiled code", path.display()));
    }
    check_owner(&metadata, path)?;
    read_at_most(file, metadata.len()).map_err(|e| e.to_string())
}

fn read_at_most(file: File, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check_owner(metadata: &fs::Metadata, path: &Path) -> Result<(), String> {
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if own && metadata.mode() & FOREIGN_WRITE == 0 {
        Ok(())
    } else {
        Err(format!("{} can be written by others", path.display()))
    }
}

/// Feeds `Hash` into SHA-256: the same on every start, unlike the standard library's hashers.
struct KeyHasher(Sha256);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the key is read from the inner hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// An empty component: enough to be compiled.
    fn sample() -> (Engine, Vec<u8>, [u8; 32]) {
        let wasm = wat::parse_str("(component)").unwrap();
        let sha256 = Sha256::digest(&wasm).into();
        (super::super::test_engine(), wasm, sha256)
    }

    #[test]
    fn what_was_written_is_read() {
        let (engine, wasm, sha256) = sample();
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let entry = Entry::new(&engine, &sha256, &dir);
        assert!(entry.read(&engine).is_err());
        component(&engine, &wasm, &sha256, &dir).unwrap();
        entry.read(&engine).unwrap();
        assert_eq!(fs::metadata(entry.path()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let (engine, wasm, sha256) = sample();
        let dir = tempfile::tempdir().unwrap();
        component(&engine, &wasm, &sha256, dir.path()).unwrap();
        let entry = Entry::new(&engine, &sha256, dir.path());
        let good = fs::read(entry.path()).unwrap();
        for at in (0..good.len()).step_by(good.len() / 40 + 1) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(entry.path(), &bad).unwrap();
            assert!(entry.read(&engine).is_err(), "byte {at}");
        }
        fs::write(entry.path(), &good[..good.len() - 1]).unwrap();
        assert!(entry.read(&engine).is_err(), "truncated");
        // Recovers by compiling.
        component(&engine, &wasm, &sha256, dir.path()).unwrap();
        entry.read(&engine).unwrap();
    }

    #[test]
    fn code_of_another_component_does_not_count() {
        let (engine, wasm, sha256) = sample();
        let dir = tempfile::tempdir().unwrap();
        component(&engine, &wasm, &sha256, dir.path()).unwrap();
        let mine = Entry::new(&engine, &sha256, dir.path());
        let other = Entry::new(&engine, &[7; 32], dir.path());
        fs::copy(mine.path(), other.path()).unwrap();
        assert!(other.read(&engine).is_err());
    }

    #[test]
    fn what_others_may_write_does_not_count() {
        let (engine, wasm, sha256) = sample();
        let dir = tempfile::tempdir().unwrap();
        component(&engine, &wasm, &sha256, dir.path()).unwrap();
        let entry = Entry::new(&engine, &sha256, dir.path());
        let mode = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));

        mode(&entry.path(), 0o620).unwrap();
        assert!(entry.read(&engine).is_err(), "file of the group");
        mode(&entry.path(), 0o600).unwrap();
        entry.read(&engine).unwrap();
        mode(dir.path(), 0o777).unwrap();
        assert!(entry.read(&engine).is_err(), "directory of everybody");
        mode(dir.path(), 0o700).unwrap();

        let target = dir.path().join("elsewhere");
        fs::rename(entry.path(), &target).unwrap();
        std::os::unix::fs::symlink(&target, entry.path()).unwrap();
        assert!(entry.read(&engine).is_err(), "link");
    }
}
