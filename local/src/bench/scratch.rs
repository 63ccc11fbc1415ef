//! A directory that is gone when the run is.

use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

/// Attempts to remove it, and the pause between two: whoever still writes meets an error at its next file.
const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// A temporary directory, removed when dropped even while a thread that cannot be interrupted writes to it.
pub(super) struct Scratch(TempDir);

impl Scratch {
    /// An empty one.
    pub(super) fn new() -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        Ok(Self(builder.prefix("talaria-bench-").tempdir()?))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl From<TempDir> for Scratch {
    fn from(dir: TempDir) -> Self {
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file that is made while the directory is emptied keeps it from being removed.
        for _ in 0..ATTEMPTS {
            let _ = std::fs::remove_dir_all(self.path());
            if !self.path().exists() {
                return;
            }
            sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn goes_while_files_are_made() {
        let scratch = Scratch::new().unwrap();
        let dir = scratch.path().to_owned();
        let writer = std::thread::spawn({
            let dir = dir.clone();
            move || {
                // Ends with the directory. With pauses, as a checkpoint's files take time to write: without
                // any, files are made as fast as they are removed.
                (0..).find(|i| {
                    sleep(PAUSE / 10);
                    File::create(dir.join(i.to_string())).is_err()
                })
            }
        });
        sleep(PAUSE);
        drop(scratch);
        writer.join().unwrap();
        assert!(!dir.exists());
    }
}
