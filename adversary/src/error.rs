//! What can go wrong, in words for the person at the command line.

use std::io;
use std::path::{Path, PathBuf};

use talaria_host_gpu::record::RecordError;
use talaria_local::LocalError;

/// Why a capture, an attack or a report did not come about.
#[derive(Debug, thiserror::Error)]
pub enum AdversaryError {
    /// Flags that contradict each other; nothing was started.
    #[error("{0}")]
    Usage(String),
    /// The real system did not run.
    #[error(transparent)]
    System(#[from] LocalError),
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {message}", path = path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// A record is broken.
    #[error("{path}: {source}; capture again", path = path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// Why.
        source: RecordError,
    },
    /// Parts of a capture that do not belong together.
    #[error("{0}")]
    Mismatch(String),
    /// A plot cannot be drawn.
    #[error("cannot draw {path}: {message}", path = path.display())]
    Plot {
        /// Which.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

impl AdversaryError {
    /// An operating system's error with its file.
    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }

    /// A file that is not what it should be.
    pub fn malformed(path: &Path, message: impl Into<String>) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            message: message.into(),
        }
    }
}
