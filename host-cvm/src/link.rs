//! Links of one instance to the GPU hosts: one long-lived stream each.
//!
//! A payload is single-threaded and waits for every product, so each stream carries one request at a
//! time and its instance's own thread drives the sockets (a runtime without workers): no task stands
//! between the payload and a host. Hosts are untrusted: every length is bounded before memory is
//! taken, every wait ends.

mod address;
mod deadlines;
mod error;
pub(crate) mod fetch;
mod presence;
mod roster;
mod stream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use talaria_arithmetic::keystream::SEED_BYTES;
use talaria_arithmetic::residue::RESIDUE_BYTES;
use talaria_transport::weighted::project_request::Body;
use talaria_wire::shape::{MatrixShape, Planes};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

pub(crate) use address::HostAddress;
pub use deadlines::{Deadlines, SETUP_FACTOR};
pub use error::{LinkError, LinkFailure};
pub(crate) use presence::{Presence, Watch};
pub(crate) use roster::Roster;
use stream::Link;

use crate::payload::InstanceCounters;

/// Room for the other fields of a message.
const MESSAGE_OVERHEAD: usize = 1 << 16;

/// What one host gets for one call.
#[derive(Debug)]
pub(crate) enum RowBody {
    /// rows x (k modulo p1, then k modulo p2), little-endian u32.
    Residues(Bytes),
    /// ChaCha20 key from which the host expands the same.
    Seed(Bytes),
}

impl RowBody {
    /// Takes the payload's words as they are; on the usual machines nothing is copied.
    pub(crate) fn residues(mut words: Vec<u32>) -> Self {
        for word in &mut words {
            *word = word.to_le();
        }
        Self::Residues(Bytes::from_owner(Words(words)))
    }

    /// Takes a seed, which is zeroized as soon as it is sent.
    pub(crate) fn seed(seed: Vec<u8>) -> Self {
        Self::Seed(Bytes::from_owner(Zeroizing::new(seed)))
    }

    /// What is wrong with its length, if anything.
    fn fault(&self, rows: usize, shape: MatrixShape) -> Option<String> {
        let (expected, found) = match self {
            Self::Residues(bytes) => (shape.input_bytes(rows), bytes.len()),
            Self::Seed(bytes) => (SEED_BYTES, bytes.len()),
        };
        (expected != found).then(|| format!("a shipment of {found} bytes, expected {expected}"))
    }
}

impl From<RowBody> for Body {
    fn from(body: RowBody) -> Self {
        match body {
            RowBody::Residues(bytes) => Body::Residues(bytes),
            RowBody::Seed(bytes) => Body::Seed(bytes),
        }
    }
}

struct Words(Vec<u32>);

impl AsRef<[u8]> for Words {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Products of all hosts for one call.
#[derive(Debug)]
pub(crate) struct Answer {
    /// For each host rows x (n modulo p1, then n modulo p2).
    pub products: Vec<Vec<u32>>,
    /// Microseconds of computation on the slowest host, by its own account.
    pub gpu_us: u64,
}

/// What the links of all instances share.
#[derive(Clone)]
pub(crate) struct LinkPlan {
    pub hosts: Arc<[HostAddress]>,
    pub roster: Arc<Roster>,
    pub presence: Presence,
    pub shapes: Arc<[MatrixShape]>,
    pub deadlines: Deadlines,
    /// Set once a host lied: nothing is sent any more.
    pub quarantined: Arc<AtomicBool>,
    /// True once the CVM shuts down.
    pub stop: watch::Receiver<bool>,
}

/// The links of one instance, used by its thread only.
pub(crate) struct Links {
    plan: LinkPlan,
    links: Vec<Link>,
    runtime: Driver,
}

/// A runtime that may be dropped in async code too, as a rehearsal's is: nothing is waited for.
struct Driver(Option<Runtime>);

impl Driver {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        let runtime = self.0.as_ref().expect("taken by drop only");
        runtime.block_on(future)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Links {
    /// Connects when first used.
    pub(crate) fn new(plan: LinkPlan, counters: &Arc<InstanceCounters>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let link = |host: &HostAddress| {
            let roster = plan.roster.clone();
            Link::new(host.clone(), roster, plan.deadlines, counters.clone())
        };
        let links = plan.hosts.iter().map(link).collect();
        Ok(Self {
            plan,
            links,
            runtime: Driver(Some(runtime)),
        })
    }

    /// Asks all hosts at the same time; each product has the right length.
    pub(crate) fn project(
        &mut self,
        projection: u32,
        rows: u32,
        planes_apart: bool,
        bodies: Vec<RowBody>,
    ) -> Result<Answer, LinkError> {
        let shape = self.check_request(projection, rows, &bodies)?;
        let planes = Planes::apart_if(planes_apart);
        let product_bytes = shape.output_bytes(rows as usize, planes);
        let until = Instant::now() + self.plan.deadlines.project;
        let calls = self.links.iter_mut().zip(bodies).map(|(link, body)| {
            let job = stream::Job {
                projection,
                rows,
                planes_apart,
                body: body.into(),
                product_bytes,
                until,
            };
            link.call(job)
        });
        let presence = &self.plan.presence;
        let hosts = &self.plan.hosts;
        let stop = &mut self.plan.stop;
        let answers = self.runtime.block_on(async {
            tokio::select! {
                answers = try_join_all(calls) => answers,
                // Frozen, or cut off without a word: its own deadline may be far.
                lost = presence.lost() => Err(hosts[lost].unreachable("it does not say who it is")),
                _ = stop.wait_for(|stop| *stop) => Err(LinkError::stopped()),
            }
        })?;
        Ok(Answer {
            gpu_us: answers
                .iter()
                .map(|a| u64::from(a.compute_us))
                .max()
                .unwrap_or(0),
            products: answers.into_iter().map(|a| words(&a.product)).collect(),
        })
    }

    /// Waits for `future` while the sockets are looked after: a host that goes away or pings in
    /// between is noticed.
    pub(crate) fn idle<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Sends nothing any more, in any instance.
    pub(crate) fn quarantine(&self) {
        self.plan.quarantined.store(true, Ordering::SeqCst);
    }

    fn check_request(
        &self,
        projection: u32,
        rows: u32,
        bodies: &[RowBody],
    ) -> Result<MatrixShape, LinkError> {
        if self.plan.quarantined.load(Ordering::SeqCst) {
            return Err(LinkError::own("the hosts are quarantined"));
        }
        let shape = self.plan.shapes.get(projection as usize).copied();
        let shape = shape.ok_or_else(|| LinkError::own("no such projection"))?;
        if rows == 0 || bodies.len() != self.links.len() {
            return Err(LinkError::own(
                "no rows, or shipments for other hosts than there are",
            ));
        }
        let fault = bodies
            .iter()
            .find_map(|body| body.fault(rows as usize, shape));
        fault.map_or(Ok(shape), |fault| Err(LinkError::own(&fault)))
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<RESIDUE_BYTES>();
    words.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

/// Milliseconds of a duration, at least one: 0 would mean without end.
fn deadline_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis())
        .unwrap_or(u32::MAX)
        .max(1)
}

#[cfg(test)]
mod tests;
