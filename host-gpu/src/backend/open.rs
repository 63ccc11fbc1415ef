//! Choice of a backend.

use super::cpu::CpuBackend;
use super::{Backend, BackendError};

/// Which backend to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendKind {
    /// wgpu if there is a GPU, else the CPU.
    #[default]
    Auto,
    /// The first GPU that wgpu finds, software adapters last.
    Wgpu,
    /// All cores.
    Cpu,
}

/// Opens a backend without matrices. `threads` bounds the CPU backend, by default one for each core.
///
/// # Errors
/// If the device asked for is not there or does not start.
pub fn open(kind: BackendKind, threads: Option<usize>) -> Result<Box<dyn Backend>, BackendError> {
    match kind {
        BackendKind::Wgpu => Err(BackendError::Device("no GPU adapter found".into())),
        BackendKind::Auto | BackendKind::Cpu => Ok(Box::new(CpuBackend::new(threads)?)),
    }
}
