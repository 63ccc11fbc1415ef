//! Choice of a backend.

use super::cpu::CpuBackend;
use super::fallback::Fallback;
use super::wgpu::{WgpuBackend, choose, devices, wanted_adapter};
use super::{Backend, BackendError};

/// Which backend to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendKind {
    /// wgpu if there is a GPU that is not software and has room for the weights, else the CPU.
    #[default]
    Auto,
    /// The first GPU that wgpu finds, software adapters last, or the one that WGPU_ADAPTER_NAME names.
    Wgpu,
    /// All cores.
    Cpu,
}

/// Opens a backend without matrices. `threads` bounds the CPU backend, by default one for each core.
///
/// # Errors
/// If the device asked for is not there or does not start. `Auto` takes the CPU instead and logs why,
/// unless an adapter is asked for by a name that none has.
pub fn open(kind: BackendKind, threads: Option<usize>) -> Result<Box<dyn Backend>, BackendError> {
    match kind {
        BackendKind::Auto => auto(threads),
        BackendKind::Wgpu => Ok(Box::new(WgpuBackend::new(wanted_adapter().as_deref())?)),
        BackendKind::Cpu => Ok(Box::new(CpuBackend::new(threads)?)),
    }
}

fn auto(threads: Option<usize>) -> Result<Box<dyn Backend>, BackendError> {
    let (wanted, devices) = (wanted_adapter(), devices());
    let usable = match &wanted {
        Some(name) => {
            choose(&devices, Some(name))?;
            true
        }
        None => devices.first().is_some_and(|device| !device.is_software()),
    };
    if usable {
        match WgpuBackend::new(wanted.as_deref()) {
            Ok(gpu) => return Ok(Box::new(Fallback::new(Box::new(gpu), threads))),
            Err(error) => tracing::warn!("the CPU is used instead of the GPU: {error}"),
        }
    }
    Ok(Box::new(CpuBackend::new(threads)?))
}
