//! The threads of a CVM and what ends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use talaria_wire::manifest::Manifest;
use talaria_wire::shape::MatrixShape;
use tokio::sync::watch;

use super::CvmConfig;
use crate::engine::EngineHandle;
use crate::link::{HostAddress, LinkPlan, Presence, Roster, Watch};
use crate::masks::Pools;
use crate::payload::{Blueprint, Counters, Occupancy, Payload};

/// All instances. Dropping it tells them to stop, and does not wait.
pub(crate) struct Crew {
    pub engines: Vec<EngineHandle>,
    pub minters: Vec<JoinHandle<()>>,
    pub pools: Arc<Pools>,
    pub presence: Presence,
    quarantined: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    _watch: Watch,
}

impl Crew {
    /// An empty crew, and what its instances are to be made with.
    pub(super) fn assemble(
        payload: &Payload,
        config: &CvmConfig,
        hosts: Arc<[HostAddress]>,
        roster: Arc<Roster>,
        manifest: &Manifest,
    ) -> (Self, Blueprint) {
        let (stop, stopped) = watch::channel(false);
        let quarantined = Arc::new(AtomicBool::new(false));
        let shapes: Arc<[_]> = MatrixShape::of_manifest(manifest).into();
        let pools = Arc::new(Pools::new(shapes.clone(), config.parameters.degree));
        let (watch, presence) = Watch::start(&hosts, &roster, config.deadlines);
        let blueprint = Blueprint {
            payload: payload.clone(),
            links: LinkPlan {
                hosts,
                roster,
                presence: presence.clone(),
                shapes,
                deadlines: config.deadlines,
                quarantined: quarantined.clone(),
                stop: stopped,
            },
            pools: pools.clone(),
            memory_limit: config.memory_limit,
        };
        let crew = Self {
            engines: Vec::new(),
            minters: Vec::new(),
            pools,
            presence,
            quarantined,
            stop,
            _watch: watch,
        };
        (crew, blueprint)
    }

    /// Totals of all engines, set-up included.
    pub(super) fn counters(&self) -> Counters {
        self.engines
            .iter()
            .map(|engine| engine.counters().read())
            .sum()
    }

    /// Of all engines.
    pub(super) fn occupancy(&self) -> Occupancy {
        let engines = self
            .engines
            .iter()
            .map(|engine| engine.counters().occupancy());
        engines.fold(Occupancy::default(), |all, one| Occupancy {
            sessions: all.sessions + one.sessions,
            kv_bytes: all.kv_bytes + one.kv_bytes,
        })
    }

    /// Whether a host lied.
    pub(super) fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::SeqCst)
    }

    /// Tells all to stop and waits until they have.
    pub(super) async fn dismiss(mut self) {
        self.stop();
        let engines = std::mem::take(&mut self.engines)
            .into_iter()
            .map(EngineHandle::into_thread);
        let threads: Vec<_> = engines.chain(std::mem::take(&mut self.minters)).collect();
        let join_all = move || threads.into_iter().for_each(|thread| drop(thread.join()));
        let _ = tokio::task::spawn_blocking(join_all).await;
    }

    fn stop(&self) {
        self.stop.send_replace(true);
        self.pools.end("the CVM is shutting down");
        self.engines.iter().for_each(EngineHandle::stop);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
    }
}
