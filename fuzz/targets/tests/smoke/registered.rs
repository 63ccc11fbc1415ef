//! The list of targets is also what cargo-fuzz has.

use std::collections::BTreeSet;
use std::fs;

use talaria_fuzz_targets::TARGETS;

use crate::corpus::fuzz_dir;

fn names() -> BTreeSet<String> {
    TARGETS
        .iter()
        .map(|target| target.name.to_string())
        .collect()
}

#[test]
fn every_target_has_a_binary_and_every_binary_a_target() {
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).expect("fuzz/Cargo.toml");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let binaries = manifest["bin"].as_array().expect("[[bin]]");
    let text = |value: &toml::Value| value.as_str().expect("a string").to_string();
    let listed: BTreeSet<_> = binaries
        .iter()
        .map(|binary| text(&binary["name"]))
        .collect();
    assert_eq!(listed, names());
    for binary in binaries {
        let path = format!("fuzz_targets/{}.rs", text(&binary["name"]));
        assert_eq!(text(&binary["path"]), path);
    }
}

#[test]
fn every_binary_runs_its_target() {
    let files = fs::read_dir(fuzz_dir().join("fuzz_targets")).expect("fuzz/fuzz_targets");
    let mut found = BTreeSet::new();
    for file in files {
        let path = file.expect("a file").path();
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let source = fs::read_to_string(&path).expect("a source file");
        assert!(
            source.contains(&format!("\"{name}\"")),
            "{}",
            path.display()
        );
        found.insert(name);
    }
    assert_eq!(found, names());
}

#[test]
fn every_corpus_has_a_target_and_none_is_large() {
    let dirs = fs::read_dir(fuzz_dir().join("corpus")).expect("fuzz/corpus");
    let found: BTreeSet<String> = dirs
        .map(|dir| {
            dir.expect("a directory")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(found, names());
    for target in TARGETS {
        let corpus = crate::corpus::read(target);
        let bytes: usize = corpus.iter().map(|input| input.bytes.len()).sum();
        assert!(
            bytes > 0 && bytes < 256 << 10,
            "{}: {bytes} bytes",
            target.name
        );
    }
}
