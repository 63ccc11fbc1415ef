//! Choice of a backend.

use super::cpu::CpuBackend;
use super::wgpu::{WgpuBackend, devices};
use super::{Backend, BackendError};

/// Which backend to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendKind {
    /// wgpu if there is a GPU that is not software, else the CPU.
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
    let gpu = match kind {
        BackendKind::Auto => devices()
            .first()
            .is_some_and(|device| !device.is_software()),
        BackendKind::Wgpu => true,
        BackendKind::Cpu => false,
    };
    if gpu {
        Ok(Box::new(WgpuBackend::new(None)?))
    } else {
        Ok(Box::new(CpuBackend::new(threads)?))
    }
}
