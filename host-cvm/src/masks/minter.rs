//! The thread of a minting instance: keeps the pools full.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::{Batch, Pools, PublicMatrices};
use crate::cvm::CvmError;
use crate::engine::spawn_thread;
use crate::payload::{Blueprint, Instance, InstanceCounters};

/// Starts a thread with an instance of its own.
pub(crate) async fn spawn(
    index: usize,
    blueprint: Blueprint,
    public: Arc<PublicMatrices>,
) -> Result<JoinHandle<()>, CvmError> {
    let (ready, started) = oneshot::channel();
    let body = move || {
        let counters = Arc::new(InstanceCounters::default());
        match Instance::new(&blueprint, counters) {
            Err(error) => drop(ready.send(Err(error))),
            Ok(instance) => {
                let _ = ready.send(Ok(()));
                keep_full(instance, &blueprint.pools, &public);
            }
        }
    };
    let thread = spawn_thread(format!("minting-{index}"), body)?;
    started.await.map_err(|_| CvmError::Stopped)??;
    Ok(thread)
}

/// Until the pools end. A failure ends them: engines without masks must not wait for ever.
fn keep_full(mut instance: Instance, pools: &Pools, public: &PublicMatrices) {
    while let Some(projection) = pools.order() {
        match mint(&mut instance, pools, public, projection) {
            Ok(Some(batch)) => pools.deliver(projection, batch),
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "minting ended");
                return pools.end(&format!("minting ended: {error}"));
            }
        }
    }
}

/// One batch; none if it is over meanwhile.
fn mint(
    instance: &mut Instance,
    pools: &Pools,
    public: &PublicMatrices,
    projection: usize,
) -> Result<Option<Batch>, CvmError> {
    let shape = pools.shape(projection);
    let (a, r_pub) = (public.a(), public.r_pub(projection));
    let mut batch = Batch::new(public.parameters(), shape);
    instance.begin_batch(public.parameters().name, shape)?;
    for block in 0..shape.k.div_ceil(talaria_arithmetic::module_lwe::LANES) {
        let lanes = instance.mint_masks(a.block(block))?;
        in_place(batch.set_masks(block, &lanes))?;
        if pools.is_over() {
            return Ok(None);
        }
    }
    for block in 0..r_pub.blocks() {
        let lanes = instance.mint_corrections(r_pub.block(block))?;
        in_place(batch.set_corrections(block, &lanes))?;
        if pools.is_over() {
            return Ok(None);
        }
    }
    Ok(Some(batch))
}

fn in_place(fits: bool) -> Result<(), CvmError> {
    let reason = "minted masks have another shape than was asked for";
    fits.then_some(())
        .ok_or_else(|| CvmError::Internal(reason.into()))
}
