//! At set-up: random rows through a projection, each host's answer checked by itself, so that a host with other weights
//! is known before anything depends on it.

use super::{MaskedRows, Shipment};
use crate::{
    check::Rows,
    projection::Projection,
    world::{HostFailure, World, fresh_seed},
};
use talaria_arithmetic::keystream;
use talaria_wire::shape::Planes;

/// Sends `hosts` hosts a row each.
pub(super) fn probe(
    hosts: usize,
    planes: Planes,
    projection: &Projection,
    world: &mut dyn World,
) -> Result<Result<(), WrongHost>, HostFailure> {
    let mut seed = fresh_seed(world);
    let mut shipments = Vec::new();
    let mut expected = Vec::new();
    for host in 0..hosts {
        seed[31] ^= host as u8;
        shipments.push(Shipment::Seed(seed.clone()));
        expected.push(keystream::expand_rows(&seed, 1, projection.k));
    }
    let rows = MaskedRows {
        projection: projection.index,
        rows: 1,
        planes,
        shipments,
    };
    let answers = world.project(&rows)?;
    for (host, (y, x)) in answers.into_iter().zip(&expected).enumerate() {
        if projection.check.check(Rows::Residues(x), y).is_err() {
            return Ok(Err(WrongHost(host as u32 + 1)));
        }
    }
    Ok(Ok(()))
}

/// A host multiplies with other weights than those streamed at set-up.
#[derive(Debug, thiserror::Error)]
#[error(
    "GPU host {0} does not multiply with the weights of this model: check that every host serves the same --model and --weights"
)]
pub struct WrongHost(pub u32);
