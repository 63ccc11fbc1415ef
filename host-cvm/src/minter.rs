//! The thread of a minting instance: keeps the pools full.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::counters::InstanceCounters;
use crate::engine::{Snapshot, spawn_thread};
use crate::error::CvmError;
use crate::instance::{Blueprint, Instance};
use crate::pool::Pools;

/// Starts a thread with an instance of its own.
pub(crate) async fn spawn(
    index: usize,
    blueprint: Blueprint,
    snapshot: Snapshot,
) -> Result<JoinHandle<()>, CvmError> {
    let (ready, started) = oneshot::channel();
    let body = move || match restored(&blueprint, &snapshot) {
        Err(error) => drop(ready.send(Err(error))),
        Ok(instance) => {
            let _ = ready.send(Ok(()));
            mint(instance, &blueprint.pools);
        }
    };
    let thread = spawn_thread(format!("minting-{index}"), body)?;
    started.await.map_err(|_| CvmError::Stopped)??;
    Ok(thread)
}

fn restored(blueprint: &Blueprint, snapshot: &Snapshot) -> Result<Instance, CvmError> {
    let snapshot = snapshot.get().ok_or(CvmError::Stopped)?;
    let mut instance = Instance::new(blueprint, Arc::new(InstanceCounters::default()))?;
    instance.restore(snapshot)?;
    Ok(instance)
}

/// Until the pools close, the masking turns out to need no minting, or the payload fails: engines
/// then mint themselves.
fn mint(mut instance: Instance, pools: &Pools) {
    while let Some(order) = pools.order() {
        let minted = instance.mint(order.projection as u32, order.rows as u32);
        let masks = match minted {
            Ok(masks) => masks,
            Err(error) => {
                tracing::error!(%error, "minting ended");
                Vec::new()
            }
        };
        let done = masks.is_empty();
        if let Err(error) = pools.deliver(order, masks) {
            tracing::error!(%error, "minting ended");
            return;
        }
        if done {
            return;
        }
    }
}
