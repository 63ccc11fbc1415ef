//! What the payload is built from.

/// Files and directories, relative to the workspace. With the toolchain that rust-toolchain.toml names they are all
/// that the payload's bytes depend on: host-cvm's build script watches them, auditors read them.
pub const SOURCES: [&str; 8] = [
    "guest/src",
    "guest/Cargo.toml",
    "guest/Cargo.lock",
    "wit",
    "arithmetic/src",
    "arithmetic/Cargo.toml",
    "wire/src",
    "wire/Cargo.toml",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};
    use toml::{Table, Value};

    /// The embedded payload could be stale: `arithmetic` and `wire` took versions and features from the root
    /// Cargo.toml, and `wire` had a build script, none of them in the list.
    #[test]
    fn nothing_that_changes_the_payload_is_outside_the_list() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut crates = vec![PathBuf::from("guest")];
        let mut next = 0;
        while let Some(directory) = crates.get(next).cloned() {
            for part in ["src", "Cargo.toml"] {
                assert_listed(&directory.join(part));
            }
            let manifest = std::fs::read_to_string(workspace.join(&directory).join("Cargo.toml"));
            let manifest: Table = manifest.unwrap().parse().unwrap();
            assert_owned(&directory, &Value::Table(manifest.clone()));
            if workspace.join(&directory).join("build.rs").exists() {
                assert_listed(&directory.join("build.rs"));
            }
            let package = &manifest["package"];
            for key in ["build", "workspace", "links"] {
                assert!(package.get(key).is_none(), "{directory:?}: {key}");
            }
            for dependency in local_dependencies(&manifest) {
                let dependency = normal(&directory.join(dependency));
                if !crates.contains(&dependency) {
                    crates.push(dependency);
                }
            }
            next += 1;
        }
        let names: Vec<_> = crates.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(names, ["guest", "arithmetic", "wire"]);
        for source in SOURCES {
            assert!(workspace.join(source).exists(), "{source}");
        }
    }

    fn assert_listed(path: &Path) {
        let listed = SOURCES.iter().any(|source| path == Path::new(source));
        assert!(listed, "{path:?} is not in SOURCES");
    }

    /// Nothing is inherited from another manifest.
    fn assert_owned(directory: &Path, value: &Value) {
        let Value::Table(table) = value else { return };
        assert_ne!(
            table.get("workspace"),
            Some(&Value::Boolean(true)),
            "{directory:?}/Cargo.toml inherits from the workspace, which is not in SOURCES: {table:?}"
        );
        table
            .values()
            .for_each(|value| assert_owned(directory, value));
    }

    /// Paths of dependencies that are compiled into the payload or run when it is built, for any target.
    fn local_dependencies(manifest: &Table) -> Vec<String> {
        let targets = manifest.get("target").and_then(Value::as_table);
        let targets = targets.into_iter().flat_map(Table::values);
        let sections = [manifest]
            .into_iter()
            .chain(targets.filter_map(Value::as_table));
        let lists = sections.flat_map(|section| {
            ["dependencies", "build-dependencies"].map(|kind| section.get(kind))
        });
        let lines = lists
            .flatten()
            .filter_map(Value::as_table)
            .flat_map(Table::values);
        lines
            .filter_map(|line| Some(line.get("path")?.as_str()?.to_owned()))
            .collect()
    }

    /// `guest/../wire` is `wire`.
    fn normal(path: &Path) -> PathBuf {
        let mut normal = PathBuf::new();
        for part in path {
            match part.to_str() {
                Some("..") => assert!(normal.pop(), "{path:?} leaves the workspace"),
                _ => normal.push(part),
            }
        }
        normal
    }
}
