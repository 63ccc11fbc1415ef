//! The corpus on disk.

use std::fs;
use std::path::{Path, PathBuf};

use talaria_fuzz_targets::{TARGETS, Target};

/// An input with its file's name.
pub(crate) struct Input {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// `fuzz/`.
pub(crate) fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All files of a target, by name.
pub(crate) fn read(target: &Target) -> Vec<Input> {
    let dir = fuzz_dir().join("corpus").join(target.name);
    let files = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut inputs: Vec<Input> = files
        .map(|file| {
            let file = file.expect("a file of the corpus");
            Input {
                name: file.file_name().to_string_lossy().into_owned(),
                bytes: fs::read(file.path()).expect("a file of the corpus"),
            }
        })
        .collect();
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    inputs
}

#[test]
fn corpus_holds_the_seeds_as_they_are_made() {
    for target in TARGETS {
        let corpus = read(target);
        for seed in (target.seeds)() {
            let file = corpus.iter().find(|input| input.name == seed.name);
            assert!(
                file.is_some_and(|file| file.bytes == seed.bytes),
                "{}/{}: run `cargo run --release -p talaria-fuzz-targets --example corpus`",
                target.name,
                seed.name
            );
        }
    }
}
