//! The payload's imports: products of masked rows, minted masks, random bytes. Nothing else exists
//! for it.

use std::time::Instant;

use wasmtime::bail;
use zeroize::Zeroize;

use super::bindings::talaria::payload::{mask_supply, weighted};
use super::bindings::wasi::random::random;
use super::store::GuestState;
use crate::link::{LinkError, LinkFailure, RowBody};

/// Most random bytes a call gets: seeds and check vectors take far less.
const MAX_RANDOM_BYTES: u64 = 1 << 20;

impl weighted::Host for GuestState {
    fn project(
        &mut self,
        projection: u32,
        rows: u32,
        planes_apart: bool,
        shipments: Vec<weighted::Shipment>,
    ) -> Result<Vec<Vec<u32>>, weighted::HostFailure> {
        let _span = tracing::debug_span!("project", projection, rows).entered();
        let started = Instant::now();
        let bodies = shipments.into_iter().map(RowBody::from).collect();
        let answer = self.links.project(projection, rows, planes_apart, bodies);
        let wait = started.elapsed();
        self.clock.wait(wait);
        let answer = answer.inspect_err(|error| tracing::warn!(%error, "no product"))?;
        self.counters.count_wait(wait, answer.gpu_us);
        Ok(answer.products)
    }

    fn quarantine(&mut self, projection: u32) {
        tracing::error!(
            projection,
            "a GPU host returned a product that failed the check"
        );
        self.links.quarantine();
    }
}

impl mask_supply::Host for GuestState {
    fn draw(&mut self, projection: u32, rows: u32) -> Result<mask_supply::MintedMasks, String> {
        let drawn = self.pools.draw(projection, rows, self.patience)?;
        self.clock.wait(drawn.waited);
        self.counters.count_draw(drawn.waited);
        Ok(mask_supply::MintedMasks {
            masks: drawn.minted.masks,
            corrections: drawn.minted.corrections,
        })
    }
}

impl random::Host for GuestState {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        if len > MAX_RANDOM_BYTES {
            bail!("{len} random bytes asked for at once, at most {MAX_RANDOM_BYTES} are given");
        }
        let mut bytes = vec![0; len as usize];
        if let Err(error) = getrandom::fill(&mut bytes) {
            bail!("the system's generator failed: {error}");
        }
        Ok(bytes)
    }
}

impl From<weighted::Shipment> for RowBody {
    fn from(shipment: weighted::Shipment) -> Self {
        match shipment {
            weighted::Shipment::Residues(residues) => RowBody::residues(residues),
            weighted::Shipment::Seed(seed) => RowBody::seed(seed),
        }
    }
}

impl From<LinkError> for weighted::HostFailure {
    fn from(error: LinkError) -> Self {
        Self {
            host: error.host as u32,
            failure: match error.failure {
                LinkFailure::Unreachable => weighted::Failure::Unreachable,
                LinkFailure::Timeout => weighted::Failure::Timeout,
                LinkFailure::Malformed => weighted::Failure::Malformed,
                LinkFailure::Refused | LinkFailure::SameHost => weighted::Failure::Refused,
            },
            message: error.for_clients().into(),
        }
    }
}

/// Masks are for one row each: what is left of them on this side goes with them.
impl Drop for mask_supply::MintedMasks {
    fn drop(&mut self) {
        self.masks.zeroize();
        self.corrections.zeroize();
    }
}
