//! `payload`: rebuild the payload, compare it with what is published and embedded, show its interface.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use talaria_host_cvm::embedded_payload;

use crate::cli::{PayloadArgs, PayloadCommand};
use crate::error::LocalError;
use crate::hosts::blocking;
use crate::output;
use crate::progress::Bar;
use crate::table;

/// The published hash, in the sources: `sha256sum` format.
const PUBLISHED: &str = "payload.sha256";

/// Runs the subcommand.
///
/// # Errors
/// If the payload cannot be built, or hashes differ.
pub async fn payload(args: PayloadArgs) -> Result<(), LocalError> {
    match args.command {
        PayloadCommand::Build { source, out } => {
            let component = build(source.clone()).await?;
            let hash = sha256(&component);
            let written = std::fs::write(&out, component);
            written.map_err(|e| LocalError::File(out.clone(), e))?;
            output::print(&format!("{hash}  {}\n", out.display()))
        }
        PayloadCommand::Check { source } => {
            let published = published(&source)?;
            let rebuilt = sha256(&build(source.clone()).await?);
            compare(&published, &rebuilt, &sha256(embedded_payload()))
        }
        PayloadCommand::Imports { file } => {
            let component = match &file {
                Some(file) => std::fs::read(file).map_err(|e| LocalError::File(file.clone(), e))?,
                None => embedded_payload().to_vec(),
            };
            let interface = talaria_payload_build::interface(&component);
            output::print(&interface.map_err(LocalError::Mismatch)?)
        }
    }
}

/// The payload of the sources in a directory, from nothing.
async fn build(source: PathBuf) -> Result<Vec<u8>, LocalError> {
    let bar = Bar::new("building the payload");
    let built = blocking("building the payload", move || {
        let target_dir = tempfile::tempdir().map_err(LocalError::Temporary)?;
        talaria_payload_build::build(&source, target_dir.path()).map_err(LocalError::PayloadBuild)
    });
    let built = built.await?;
    bar.clear();
    built
}

fn published(source: &Path) -> Result<String, LocalError> {
    let file = source.join(PUBLISHED);
    let text = std::fs::read_to_string(&file).map_err(|e| {
        LocalError::Mismatch(format!(
            "{}: {e}; give the directory of Talaria's sources with --source",
            file.display()
        ))
    })?;
    let hash = text.split_whitespace().next().unwrap_or_default();
    let fits = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| hash.to_ascii_lowercase()).ok_or_else(|| {
        LocalError::Mismatch(format!(
            "{} does not begin with 64 hexadecimal digits, as sha256sum writes them",
            file.display()
        ))
    })
}

fn compare(published: &str, rebuilt: &str, embedded: &str) -> Result<(), LocalError> {
    let facts = vec![
        ("published", published.to_owned()),
        ("rebuilt", rebuilt.to_owned()),
        ("embedded", embedded.to_owned()),
    ];
    output::print(&table::list(facts, table::terminal_width()))?;
    if published != rebuilt {
        return Err(LocalError::Mismatch(format!(
            "the sources do not give the published payload: they, the toolchain or {PUBLISHED} were changed"
        )));
    }
    if published != embedded {
        return Err(LocalError::Mismatch(
            "this program embeds another payload than its sources give: build it anew without TALARIA_PAYLOAD"
                .into(),
        ));
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_must_all_agree() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        assert!(compare(&a, &a, &a).is_ok());
        for (rebuilt, embedded) in [(&b, &a), (&a, &b), (&b, &b)] {
            assert!(compare(&a, rebuilt, embedded).is_err());
        }
    }

    #[test]
    fn the_published_hash_is_read_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = published(dir.path()).unwrap_err().to_string();
        assert!(error.contains("--source"), "{error}");
        let hash = "0123456789abcdef".repeat(4);
        for (text, fits) in [
            (format!("{hash}  payload.wasm\n"), true),
            (hash[1..].to_owned(), false),
            (String::new(), false),
        ] {
            std::fs::write(dir.path().join(PUBLISHED), text).unwrap();
            assert_eq!(published(dir.path()).ok(), fits.then(|| hash.clone()));
        }
    }

    #[test]
    fn the_embedded_payload_shows_its_world() {
        let interface = talaria_payload_build::interface(embedded_payload()).unwrap();
        let imports = interface
            .lines()
            .filter_map(|line| line.trim().strip_prefix("import "));
        let imports: Vec<_> = imports.collect();
        assert_eq!(imports.len(), 3, "{imports:?}");
        assert!(interface.contains("project: func"), "{interface}");
        assert!(talaria_payload_build::interface(b"no component").is_err());
    }
}
