//! The demo checkpoint, bundled so that the demo needs no download.

use std::io;

use tempfile::TempDir;

macro_rules! bundled {
    ($($name:literal),* $(,)?) => {
        /// Files of the checkpoint by name: a Qwen3 of 2.4 million parameters, trained on the Rust
        /// documentation (MODEL_CARD.md beside the originals says how).
        pub const FILES: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!("../../tests/fixtures/demo-qwen3/", $name)))),*];
    };
}

bundled!(
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
);

/// Writes the checkpoint into a directory that lives as long as the returned value.
pub fn unpack() -> io::Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("talaria-demo-").tempdir()?;
    for (name, bytes) in FILES {
        std::fs::write(dir.path().join(name), bytes)?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_the_files_and_removes_them() {
        let dir = unpack().unwrap();
        let path = dir.path().to_owned();
        let config = std::fs::read_to_string(path.join("config.json")).unwrap();
        assert!(config.contains("Qwen3ForCausalLM"));
        let weights = std::fs::metadata(path.join("model.safetensors")).unwrap();
        assert!(weights.len() > 4 << 20);
        drop(dir);
        assert!(!path.exists());
    }
}
