//! A CVM without its enclosure: payload instances, their links to GPU hosts, sessions.

mod config;
mod crew;
mod error;
mod setup;

use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use talaria_wire::channel::message::Request;

use crate::engine::{EngineHandle, Reservation, Session, Snapshot};
use crate::link::Roster;
use crate::masks::{PublicMatrices, Source, memory, minter};
use crate::payload::{Blueprint, Counters, Instance, Occupancy, Payload};
pub use config::{CvmConfig, DEFAULT_PUBLIC_SEED};
use crew::Crew;
pub use error::CvmError;
use setup::Served;
pub use setup::{MaskFacts, SetupPhase, SetupProgress, Summary};

/// One activation row as the payload knows it and as each GPU host saw it, for demonstrations.
#[derive(Clone, PartialEq)]
pub struct Glimpse {
    /// Name of the projection that it went to.
    pub projection: String,
    /// Its first elements.
    pub plain: Vec<f32>,
    /// The same elements modulo p1, for each host.
    pub hosts: Vec<Vec<u32>>,
}

impl std::fmt::Debug for Glimpse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Glimpse({}, {} elements)",
            self.projection,
            self.plain.len()
        )
    }
}

/// Payload instances, set up and linked to GPU hosts. Dropping it ends all sessions without waiting.
pub struct Cvm {
    summary: Summary,
    crew: Crew,
    /// What set-up counted.
    baseline: Counters,
    /// Bytes of keys and values that there can be.
    kv_memory: u64,
}

impl Cvm {
    /// Fetches manifest and weights from the hosts, streams the weights once through the payload, and
    /// gives the result to all instances. `progress` is told after each chunk of weights.
    ///
    /// # Errors
    /// The configuration contradicts itself; a host cannot be reached or lies; hosts serve different
    /// models; the model is not the expected one, or its matrices are too wide to be exact.
    pub async fn start(
        payload: &Payload,
        config: CvmConfig,
        mut progress: impl FnMut(SetupProgress) + Send,
    ) -> Result<Self, CvmError> {
        config.validate()?;
        let hosts = setup::addresses(&config)?;
        let exposed = setup::exposed(config.masking, &hosts);
        let roster = Arc::new(Roster::new(hosts.len()));
        let served = Served::fetch(&hosts, roster.clone(), config.deadlines).await?;
        let (mut crew, blueprint) =
            Crew::assemble(payload, &config, hosts.into(), roster, &served.manifest);

        let snapshot = Snapshot::default();
        let first = EngineHandle::spawn(0, blueprint.clone(), snapshot.clone()).await?;
        crew.engines.push(first);
        let minted = config.masking.is_minted();
        // Before anything large is fetched: it may not fit.
        let reserve =
            || memory::reserve(config.parameters, crew.pools.shapes(), config.mask_memory);
        let memory = minted.then(reserve).transpose()?;
        let engine = &crew.engines[0];
        let mut summary = setup::run(engine, served, &config, payload, &mut progress).await?;
        summary.leaks += &exposed;
        let secrets = crew.engines[0].run(|instance| instance.snapshot()).await?;
        let _ = snapshot.set(secrets);

        let more = (1..config.engines).map(|i| restored(i, blueprint.clone(), snapshot.clone()));
        crew.engines.extend(try_join_all(more).await?);
        if let Some(memory) = memory {
            let source = Source {
                parameters: config.parameters,
                seed: config.public_seed,
                shapes: crew.pools.shapes().clone(),
                model_digest: summary.model_digest,
            };
            let dir = config.cache_dir.as_deref();
            let obtained = PublicMatrices::obtain(&crew.engines[0], source, dir, &mut progress);
            let (public, public_rows) = obtained.await?;
            summary.masks = Some(MaskFacts {
                parameters: config.parameters,
                memory,
                public_rows,
            });
            let public = Arc::new(public);
            for index in 0..config.minting {
                let minter = minter::spawn(index, blueprint.clone(), public.clone()).await?;
                crew.minters.push(minter);
            }
        }
        let baseline = crew.counters();
        Ok(Self {
            kv_memory: config.kv_memory * config.engines as u64,
            summary,
            crew,
            baseline,
        })
    }

    /// What set-up found.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Starts a session on the engine with the fewest.
    ///
    /// # Errors
    /// [`CvmError::Request`] for an empty prompt, a token outside the vocabulary, a prompt longer than
    /// the context; [`CvmError::Integrity`] once a host lied.
    pub async fn open(&self, request: Request) -> Result<Session, CvmError> {
        if self.crew.is_quarantined() {
            return Err(CvmError::Integrity);
        }
        let engines = self.crew.engines.iter();
        let engine = engines
            .min_by_key(|engine| engine.load())
            .ok_or(CvmError::Stopped)?;
        engine.open(request).await
    }

    /// From now on serves clients, by sealed connections only: [`open`](Self::open) works no more. The payload of
    /// each engine draws its keys.
    ///
    /// # Errors
    /// If sessions are open.
    pub async fn begin_channel(&self) -> Result<(), CvmError> {
        let engines = self.crew.engines.iter();
        try_join_all(engines.map(EngineHandle::begin_channel)).await?;
        Ok(())
    }

    /// A place for a client's connection, at the engine with the fewest. None while no engine serves clients.
    pub fn reserve(&self) -> Option<Reservation> {
        let mut engines: Vec<_> = self.crew.engines.iter().collect();
        engines.sort_by_key(|engine| engine.load());
        engines.into_iter().find_map(EngineHandle::reserve)
    }

    /// Whether a GPU host lied, so that nothing is computed any more.
    pub fn is_quarantined(&self) -> bool {
        self.crew.is_quarantined()
    }

    /// Of every GPU host, whether it answers.
    pub fn hosts(&self) -> Vec<bool> {
        self.crew.presence.hosts()
    }

    /// What sessions take now.
    pub fn occupancy(&self) -> Occupancy {
        self.crew.occupancy()
    }

    /// Bytes of keys and values that there can be, of all instances.
    pub fn kv_memory(&self) -> u64 {
        self.kv_memory
    }

    /// Rows whose masks are minted, for the projection that has the fewest; 0 if the masking mints none.
    pub fn masks_ready(&self) -> usize {
        self.crew.pools.fewest()
    }

    /// Totals since set-up ended.
    pub fn counters(&self) -> Counters {
        self.crew.counters().since(self.baseline)
    }

    /// Waits until pools of minted masks are full; at once if the masking has none.
    ///
    /// # Errors
    /// [`CvmError::Internal`] if minting ended.
    pub async fn warm_up(&self) -> Result<(), CvmError> {
        if self.summary.masks.is_none() {
            return Ok(());
        }
        let pools = self.crew.pools.clone();
        let full = tokio::task::spawn_blocking(move || pools.wait_until_full()).await;
        full.map_err(|_| CvmError::Stopped)?
            .map_err(CvmError::Internal)
    }

    /// Keeps the first elements of the first row of the next projection call of each engine.
    pub async fn arm_glimpse(&self, elements: u32) {
        let arm = |engine: &EngineHandle| engine.submit(move |i| i.arm_glimpse(elements));
        join_all(self.crew.engines.iter().map(arm)).await;
    }

    /// What was kept, if a call was made since it was armed.
    pub async fn take_glimpse(&self) -> Option<Glimpse> {
        let take = |engine: &EngineHandle| engine.submit(|i| i.take_glimpse());
        let taken = join_all(self.crew.engines.iter().map(take)).await;
        let found = taken.into_iter().find_map(|glimpse| glimpse.ok()?.ok()?)?;
        Some(Glimpse {
            projection: found.projection,
            plain: found.plain,
            hosts: found.hosts,
        })
    }

    /// Ends all sessions and waits for the instances' threads.
    pub async fn shutdown(self) {
        self.crew.dismiss().await;
    }
}

/// Another engine with the set-up of the first.
async fn restored(
    index: usize,
    blueprint: Blueprint,
    snapshot: Snapshot,
) -> Result<EngineHandle, CvmError> {
    let engine = EngineHandle::spawn(index, blueprint, snapshot.clone()).await?;
    let restore = move |instance: &mut Instance| {
        let secrets = snapshot.get().ok_or(CvmError::Stopped)?;
        instance.restore(secrets)
    };
    engine.run(restore).await?;
    Ok(engine)
}
