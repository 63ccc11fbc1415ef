//! A device in memory, checkpoints made on the fly, and what must come of them.

mod bad_input;
pub(super) mod checkpoint;
mod families;
mod fixtures;
mod places;
mod planes;
mod python_json;
mod rope;

use std::path::{Path, PathBuf};

use talaria_wire::manifest::WeightFormat;

use super::{LoadError, Model};
use crate::testing::memory::Memory;
use checkpoint::Tiny;

/// Loads a directory onto a device in memory.
pub(super) fn load(dir: &Path, format: WeightFormat) -> Result<Model, LoadError> {
    Model::load(dir, format, Box::new(Memory::default()), &mut |_| ())
}

/// Loads a checkpoint that must be good.
fn load_tiny(tiny: &Tiny) -> Model {
    let dir = tiny.write();
    load(dir.path(), WeightFormat::Int16).unwrap_or_else(|e| panic!("{e}"))
}

/// A checkpoint of the repository's fixtures.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}
