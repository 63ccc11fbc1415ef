//! GPU hosts in this process, each with a scheduler, a server and a loopback socket of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use talaria_host_gpu::backend::{self, BackendKind};
use talaria_host_gpu::record::Observer;
use talaria_host_gpu::scheduler::Limits;
use talaria_host_gpu::server::fault::Faults;
use talaria_host_gpu::server::{GpuHost, RunningServer};
use talaria_host_gpu::weights::{LoadProgress, Model};
use talaria_wire::manifest::WeightFormat;

use crate::error::LocalError;

/// What a checkpoint is loaded onto.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Kind of backend.
    pub backend: BackendKind,
    /// Integer format of the weights.
    pub weights: WeightFormat,
    /// Threads of a CPU backend; none: one for each core.
    pub threads: Option<usize>,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            backend: BackendKind::Cpu,
            weights: WeightFormat::Int16,
            threads: None,
        }
    }
}

/// Quantises the Hugging Face directory `dir` onto a new backend.
///
/// # Errors
/// If there is no such device, or the checkpoint is refused.
pub async fn load(
    dir: &Path,
    device: Device,
    mut progress: impl FnMut(LoadProgress) + Send + 'static,
) -> Result<Arc<Model>, LocalError> {
    let dir = PathBuf::from(dir);
    let load = move || {
        let backend = backend::open(device.backend, device.threads)?;
        Model::load(&dir, device.weights, backend, &mut progress).map_err(|source| {
            LocalError::Load {
                dir,
                source: source.into(),
            }
        })
    };
    Ok(Arc::new(blocking("loading the model", load).await??))
}

/// Starts a host of this model on a free port of 127.0.0.1. Hosts of one model share its weights and
/// threads.
///
/// # Errors
/// If the system gives no threads or sockets.
pub async fn serve(model: &Arc<Model>, options: HostOptions) -> Result<Host, LocalError> {
    let model = Arc::clone(model);
    blocking("starting a GPU host", move || options.start(model)).await?
}

/// Starts `count` hosts of this model.
///
/// # Errors
/// As [`serve`].
pub async fn serve_many(model: &Arc<Model>, count: usize) -> Result<Vec<Host>, LocalError> {
    let mut hosts = Vec::with_capacity(count);
    for _ in 0..count {
        hosts.push(serve(model, HostOptions::default()).await?);
    }
    Ok(hosts)
}

/// What a host of this process does besides serving.
#[derive(Clone, Default)]
pub struct HostOptions {
    /// Looks at every request.
    pub observer: Option<Arc<dyn Observer>>,
    /// Makes it lie or break, for tests of its callers.
    pub faults: Option<Faults>,
    /// How much it takes on.
    pub limits: Limits,
}

impl HostOptions {
    fn start(self, model: Arc<Model>) -> Result<Host, LocalError> {
        let mut host = GpuHost::new(model, self.limits).map_err(LocalError::System)?;
        if let Some(observer) = self.observer {
            host = host.with_observer(observer);
        }
        if let Some(faults) = self.faults {
            host = host.with_fault_injection(faults);
        }
        let host = Arc::new(host);
        Ok(Host {
            server: RunningServer::on_loopback(Arc::clone(&host))?,
            host,
        })
    }
}

/// A running host; stops when dropped.
pub struct Host {
    /// Its server, which can be stopped or killed.
    pub server: RunningServer,
    /// What it serves and has counted.
    pub host: Arc<GpuHost>,
}

impl Host {
    /// Where it listens, as a CVM is told.
    pub fn url(&self) -> String {
        self.server.url()
    }
}

/// Where hosts listen.
pub fn urls(hosts: &[Host]) -> Vec<String> {
    hosts.iter().map(Host::url).collect()
}

/// Runs slow code beside the async tasks.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LocalError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LocalError::Defect(what))
}
