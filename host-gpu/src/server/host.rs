//! A model, its scheduler and whoever looks on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::fault::{Faults, Injector};
use crate::backend::MatrixShape;
use crate::record::{Observer, Seen};
use crate::scheduler::rows::Claim;
use crate::scheduler::{Counters, Limits, Scheduler};
use crate::weights::Model;

/// A GPU host, independent of any socket.
pub struct GpuHost {
    model: Arc<Model>,
    manifest_bytes: Bytes,
    shapes: Arc<[MatrixShape]>,
    limits: Limits,
    scheduler: Scheduler,
    observers: Vec<Arc<dyn Observer>>,
    faults: Option<Arc<Injector>>,
    streams: AtomicU64,
    /// Drawn when it began: tells it from every other host, and is the same at all its addresses.
    identity: [u8; 32],
}

impl GpuHost {
    /// A host of a loaded model. Hosts in one process may share a model.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread or no random bytes.
    pub fn new(model: Arc<Model>, limits: Limits) -> std::io::Result<Self> {
        let shapes: Arc<[MatrixShape]> = MatrixShape::of_manifest(&model.manifest).into();
        Ok(Self {
            scheduler: Scheduler::start(Arc::clone(&model), Arc::clone(&shapes), limits)?,
            manifest_bytes: model.manifest_bytes.clone().into(),
            model,
            shapes,
            limits,
            observers: Vec::new(),
            faults: None,
            streams: AtomicU64::new(0),
            identity: *talaria_transport::link::drawn()?,
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
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What was done since the start.
    pub fn counters(&self) -> Counters {
        self.scheduler.counters()
    }

    pub(super) fn identity(&self) -> [u8; 32] {
        self.identity
    }

    /// Canonical bytes of the manifest.
    pub(super) fn manifest_bytes(&self) -> Bytes {
        self.manifest_bytes.clone()
    }

    pub(super) fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    pub(super) fn shapes(&self) -> &[MatrixShape] {
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
            planes: claim.planes(),
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
