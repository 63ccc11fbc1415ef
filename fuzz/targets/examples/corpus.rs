//! Writes the seeds of every target to `fuzz/corpus/NAME/`: after a format changed, or a seed was added. Files that are
//! there besides stay.

use std::path::Path;
use std::{fs, io};

use talaria_fuzz_targets::TARGETS;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for target in TARGETS {
        let dir = corpus.join(target.name);
        fs::create_dir_all(&dir)?;
        for seed in (target.seeds)() {
            fs::write(dir.join(seed.name), seed.bytes)?;
        }
    }
    Ok(())
}
