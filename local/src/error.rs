//! What can go wrong, in words for the person at the command line.

use std::io;
use std::path::PathBuf;

use talaria_host_cvm::{CvmError, PayloadError};
use talaria_host_gpu::backend::BackendError;
use talaria_host_gpu::server::ServeError;
use talaria_host_gpu::weights::LoadError;

/// Why a party did not start or a reply did not come.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Flags that contradict each other; nothing was started.
    #[error("{0}")]
    Usage(String),
    /// Flags that contradict the model or what was measured.
    #[error("{0}")]
    Mismatch(String),
    /// The checkpoint is refused.
    #[error("cannot load the model in {dir}: {source}", dir = dir.display())]
    Load {
        /// Its directory.
        dir: PathBuf,
        /// Why.
        source: Box<LoadError>,
    },
    /// The device asked for does not work.
    #[error("{0}; choose another with --backend")]
    Backend(#[from] BackendError),
    /// A GPU host of this process does not start.
    #[error("cannot start a GPU host: {0}")]
    Serve(#[from] ServeError),
    /// The payload is no payload.
    #[error("cannot load the payload: {0}")]
    Payload(#[from] PayloadError),
    /// The payload's sources do not compile.
    #[error("the payload could not be built: {0}")]
    PayloadBuild(String),
    /// A file that cannot be read or written.
    #[error("{file}: {1}", file = .0.display())]
    File(PathBuf, io::Error),
    /// The CVM refused or failed.
    #[error(transparent)]
    Cvm(#[from] CvmError),
    /// A directory for a model made on the fly.
    #[error("cannot write a model to the temporary directory: {0}")]
    Temporary(io::Error),
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The system gave no thread or socket.
    #[error("the system refused: {0}")]
    System(io::Error),
    /// A thread of this program panicked.
    #[error("{0} ended unexpectedly: this is a defect, please report it")]
    Defect(&'static str),
    /// What the payload says it sent is not what a host received.
    #[error(
        "GPU host {host} never received the row that the payload says it sent for {projection}"
    )]
    Unwitnessed {
        /// Number of the host, from 1.
        host: usize,
        /// Name of the projection.
        projection: String,
    },
}

impl LocalError {
    /// Whether the reader of standard output just went away.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
