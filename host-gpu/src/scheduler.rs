//! Who computes next: one dispatch thread, the only caller of [`Backend::project`](crate::backend::Backend::project).
//!
//! It takes the oldest request, joins to it every queued request for the same projection, planes joined or
//! apart as there, as far as [`Limits::max_rows`] allows, makes one product of them all and splits the result. A weight matrix is
//! read from memory once for all rows of a dispatch, so joining callers is what makes many sessions
//! cheaper than their sum.
//!
//! Nothing sleeps or polls: a request wakes the dispatch thread, and its reply wakes the caller.

pub mod occupancy;
pub mod rows;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::backend::{MatrixShape, Planes};
use crate::weights::Model;
use occupancy::{Occupancy, Slot};
use rows::{InvalidRows, Rows, to_little_endian};

/// How long the end of a dispatch is waited for when its host ends.
const ENDING: Duration = Duration::from_secs(2);

/// How much one host takes on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests accepted and not yet answered; more are refused as overloaded.
    pub max_queue: usize,
    /// Bytes of residues, in and out, of those requests. One request alone may exceed it.
    pub max_queue_bytes: u64,
    /// Most rows of one request, and of one dispatch of several.
    pub max_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_queue: 1024,
            max_queue_bytes: 4 << 30,
            max_rows: 1024,
        }
    }
}

/// Why a request brings no product.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request contradicts the manifest.
    #[error(transparent)]
    Invalid(#[from] InvalidRows),
    /// Too much was accepted already.
    #[error("the host's queue is full: send again later, or to another host")]
    Overloaded,
    /// The caller stopped waiting before its turn came.
    #[error("the deadline passed before the work began")]
    Expired,
    /// The device failed.
    #[error("the device failed: {0}")]
    Device(String),
}

/// Residues of a product and how long the device took.
#[derive(Clone, Debug)]
pub struct Product {
    /// rows x (outputs modulo P1, then outputs modulo P2), little-endian u32: n outputs, or planes x n where
    /// planes are apart.
    pub residues: Bytes,
    /// Of the whole dispatch, in microseconds.
    pub compute_us: u32,
}

/// Where the outcome of a request goes. Called on the dispatch thread: must not block.
pub trait Reply: Send {
    /// Whether anyone still waits.
    fn wanted(&self) -> bool;
    /// Delivers the outcome.
    fn send(self: Box<Self>, outcome: Result<Product, Refusal>);
}

/// A request that was accepted.
pub struct Job {
    /// What to multiply with which matrix.
    pub rows: Rows,
    /// Work not begun by then is dropped.
    pub deadline: Option<Instant>,
    /// The place it takes in the queue.
    pub slot: Slot,
    /// Where the outcome goes.
    pub reply: Box<dyn Reply>,
}

/// What was done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that got a product.
    pub products: u64,
    /// Their rows.
    pub rows: u64,
    /// Calls of the device for them.
    pub dispatches: u64,
    /// Requests dropped because their deadline had passed.
    pub expired: u64,
    /// Requests that met a failure of the device.
    pub failed: u64,
}

/// The queue in front of a device.
pub struct Scheduler {
    shared: Arc<Shared>,
    occupancy: Arc<Occupancy>,
    worker: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
    model: Arc<Model>,
    shapes: Arc<[MatrixShape]>,
    max_rows: usize,
    counts: Counts,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Counts {
    products: AtomicU64,
    rows: AtomicU64,
    dispatches: AtomicU64,
    expired: AtomicU64,
    failed: AtomicU64,
}

impl Scheduler {
    /// Starts the dispatch thread of a model whose projections are of these shapes.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub fn start(
        model: Arc<Model>,
        shapes: Arc<[MatrixShape]>,
        limits: Limits,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            model,
            shapes,
            max_rows: limits.max_rows,
            counts: Counts::default(),
        });
        let worker = Arc::clone(&shared);
        let worker = std::thread::Builder::new()
            .name("dispatch".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            shared,
            occupancy: Occupancy::new(limits.max_queue, limits.max_queue_bytes),
            worker: Some(worker),
        })
    }

    /// Takes a place in the queue for a request of so many bytes of residues, in and out.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`].
    pub fn admit(&self, bytes: u64) -> Result<Slot, Refusal> {
        self.occupancy.admit(bytes).ok_or(Refusal::Overloaded)
    }

    /// Queues a request; its reply gets the outcome.
    pub fn submit(&self, job: Job) {
        let mut queue = self.shared.lock();
        if queue.closed {
            drop(queue);
            job.refuse(Refusal::Device("the host is shutting down".into()));
            return;
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.arrived.notify_one();
    }

    /// What was done since the start.
    pub fn counters(&self) -> Counters {
        let counts = &self.shared.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counters {
            products: read(&counts.products),
            rows: read(&counts.rows),
            dispatches: read(&counts.dispatches),
            expired: read(&counts.expired),
            failed: read(&counts.failed),
        }
    }
}

impl Drop for Scheduler {
    /// Refuses what is queued, then waits for the thread, which may be the last to hold the device: some
    /// drivers crash if a device goes while the process ends. A device may hang, so the wait is bounded.
    fn drop(&mut self) {
        let left = {
            let mut queue = self.shared.lock();
            queue.closed = true;
            std::mem::take(&mut queue.jobs)
        };
        self.shared.arrived.notify_one();
        for job in left {
            job.refuse(Refusal::Device("the host is shutting down".into()));
        }
        if let Some(worker) = self.worker.take() {
            wait_for(worker);
        }
    }
}

/// Up to [`ENDING`], unless this is the thread itself.
fn wait_for(worker: JoinHandle<()>) {
    let deadline = Instant::now() + ENDING;
    let itself = worker.thread().id() == std::thread::current().id();
    while !itself && !worker.is_finished() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Job {
    fn refuse(self, refusal: Refusal) {
        // The place is free before the caller learns of it, so that a caller that waits can send again.
        drop(self.slot);
        self.reply.send(Err(refusal));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole at every point where a panic could happen.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while let Some(batch) = self.next_batch() {
            let batch = self.drop_late(batch);
            if !batch.is_empty() {
                self.dispatch(batch);
            }
        }
    }

    /// Waits for the oldest request and takes all that join it; none once the scheduler is dropped.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let mut queue = self
            .arrived
            .wait_while(self.lock(), |queue| queue.jobs.is_empty() && !queue.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let oldest = queue.jobs.pop_front()?;
        let mut room = self.max_rows.saturating_sub(oldest.rows.rows());
        let mut batch = vec![oldest];
        for job in std::mem::take(&mut queue.jobs) {
            if job.rows.joins(&batch[0].rows) && job.rows.rows() <= room {
                room -= job.rows.rows();
                batch.push(job);
            } else {
                queue.jobs.push_back(job);
            }
        }
        Some(batch)
    }

    /// Refuses requests nobody waits for any more.
    fn drop_late(&self, batch: Vec<Job>) -> Vec<Job> {
        let now = Instant::now();
        let late = |job: &Job| job.deadline.is_some_and(|deadline| deadline < now);
        let (late, batch): (Vec<Job>, Vec<Job>) = batch
            .into_iter()
            .filter(|job| job.reply.wanted())
            .partition(late);
        add(&self.counts.expired, late.len());
        late.into_iter()
            .for_each(|job| job.refuse(Refusal::Expired));
        batch
    }

    fn dispatch(&self, mut batch: Vec<Job>) {
        let Some(first) = batch.first() else { return };
        let (projection, planes) = (first.rows.projection(), first.rows.planes());
        let rows: usize = batch.iter().map(|job| job.rows.rows()).sum();
        let x = join(&mut batch);
        let begun = Instant::now();
        let result = self.project(projection, rows, &x, planes);
        let compute_us = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
        add(&self.counts.dispatches, 1);
        match result {
            Ok(y) => self.deliver(batch, to_little_endian(y), compute_us),
            Err(message) => self.fail(batch, &message),
        }
    }

    /// The product, with a device's panic or wrong length turned into an error.
    fn project(
        &self,
        projection: usize,
        rows: usize,
        x: &[u32],
        planes: Planes,
    ) -> Result<Vec<u32>, String> {
        let backend = &self.model.backend;
        let y = catch_unwind(AssertUnwindSafe(|| {
            backend.project(projection, rows, x, planes)
        }))
        .map_err(|_| "the backend panicked; see the host's log".to_owned())?
        .map_err(|error| error.to_string())?;
        let expected = rows * 2 * self.shapes[projection].outputs(planes);
        if y.len() == expected {
            Ok(y)
        } else {
            Err(format!(
                "the backend gave {} residues, {expected} expected",
                y.len()
            ))
        }
    }

    /// Gives every caller its part of the product, without copying it.
    fn deliver(&self, batch: Vec<Job>, mut y: Bytes, compute_us: u32) {
        for job in batch {
            let shape = self.shapes[job.rows.projection()];
            add(&self.counts.products, 1);
            add(&self.counts.rows, job.rows.rows());
            let bytes = shape.output_bytes(job.rows.rows(), job.rows.planes());
            let residues = y.split_to(bytes);
            drop(job.slot);
            job.reply.send(Ok(Product {
                residues,
                compute_us,
            }));
        }
    }

    fn fail(&self, batch: Vec<Job>, message: &str) {
        tracing::error!("the device failed: {message}");
        add(&self.counts.failed, batch.len());
        for job in batch {
            job.refuse(Refusal::Device(message.to_owned()));
        }
    }
}

/// Residues of all jobs, one after the other; a single job's are moved.
fn join(batch: &mut [Job]) -> Vec<u32> {
    if let [job] = batch {
        return job.rows.take_residues();
    }
    let parts: Vec<Vec<u32>> = batch
        .iter_mut()
        .map(|job| job.rows.take_residues())
        .collect();
    parts.concat()
}

fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
