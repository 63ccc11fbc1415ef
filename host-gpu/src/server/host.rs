//! A model, its scheduler and whoever looks on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use talaria_wire::digest::{ModelDigest, ModelHasher};
use talaria_wire::manifest::Manifest;

use super::fault::{Faults, Injector};
use crate::backend::{Backend, BackendError};
use crate::record::{Observer, Seen};
use crate::scheduler::rows::{Claim, Shape};
use crate::scheduler::{Counters, Limits, Scheduler};

/// Bytes of planes read from a backend at once, and of a chunk on the wire.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// A loaded model: what a host serves.
pub struct Served {
    manifest: Manifest,
    manifest_bytes: Bytes,
    backend: Arc<dyn Backend>,
}

impl Served {
    /// A backend with the matrices of a manifest, in its order.
    pub fn new(manifest: Manifest, backend: Box<dyn Backend>) -> Self {
        Self {
            manifest_bytes: manifest.to_bytes().into(),
            manifest,
            backend: backend.into(),
        }
    }

    /// What the host says of its model.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Canonical bytes of the manifest.
    pub fn manifest_bytes(&self) -> &Bytes {
        &self.manifest_bytes
    }

    /// The device.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Gives all weight planes to `each` in canonical order, as the device uses them.
    ///
    /// # Errors
    /// The device's; ends early without one when `each` returns false.
    pub fn stream_planes(&self, mut each: impl FnMut(Vec<u8>) -> bool) -> Result<(), BackendError> {
        let planes = self.manifest.weights.planes();
        for (matrix, shape) in Shape::of_manifest(&self.manifest).into_iter().enumerate() {
            let step = (CHUNK_BYTES / shape.k).max(1);
            for plane in 0..planes {
                for first in (0..shape.n).step_by(step) {
                    let count = step.min(shape.n - first);
                    let weights = self.backend.read(matrix, plane, first, count)?;
                    if !each(bytemuck::cast_vec(weights)) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Digest over the manifest and the planes as the device holds them.
    ///
    /// # Errors
    /// The device's.
    pub fn digest(&self) -> Result<ModelDigest, BackendError> {
        let mut hasher = ModelHasher::new(&self.manifest_bytes);
        self.stream_planes(|planes| {
            hasher.planes(&planes);
            true
        })?;
        Ok(hasher.finish())
    }
}

/// A GPU host, independent of any socket.
pub struct GpuHost {
    served: Served,
    shapes: Arc<[Shape]>,
    limits: Limits,
    scheduler: Scheduler,
    observers: Vec<Arc<dyn Observer>>,
    faults: Option<Arc<Injector>>,
    streams: AtomicU64,
}

impl GpuHost {
    /// A host of a loaded model.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub fn new(served: Served, limits: Limits) -> std::io::Result<Self> {
        let shapes: Arc<[Shape]> = Shape::of_manifest(&served.manifest).into();
        let backend = Arc::clone(&served.backend);
        Ok(Self {
            scheduler: Scheduler::start(backend, Arc::clone(&shapes), limits)?,
            served,
            shapes,
            limits,
            observers: Vec::new(),
            faults: None,
            streams: AtomicU64::new(0),
        })
    }

    /// Shows every request to an observer.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Makes the host lie or break, for tests of its callers: see [`super::fault`].
    #[must_use]
    pub fn with_fault_injection(mut self, faults: Faults) -> Self {
        self.faults = Some(Arc::new(Injector::new(faults)));
        self
    }

    /// The model.
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// What was done since the start.
    pub fn counters(&self) -> Counters {
        self.scheduler.counters()
    }

    pub(super) fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    pub(super) fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn faults(&self) -> Option<Arc<Injector>> {
        self.faults.clone()
    }

    /// Number of a new stream.
    pub(super) fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// Shows a request to all observers.
    pub(super) fn observe(&self, stream: u64, claim: &Claim) {
        if self.observers.is_empty() {
            return;
        }
        let seen = Seen {
            stream,
            projection: claim.projection() as u32,
            rows: claim.rows() as u32,
            body: claim.body().clone(),
        };
        self.observers
            .iter()
            .for_each(|observer| observer.saw(&seen));
    }

    /// Most bytes of a request: the largest row as often as allowed, and its fields.
    pub(super) fn max_request_bytes(&self) -> usize {
        let largest = self.shapes.iter().map(|shape| shape.input_bytes(1)).max();
        largest
            .unwrap_or(0)
            .saturating_mul(self.limits.max_rows)
            .saturating_add(1024)
    }
}
