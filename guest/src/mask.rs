//! Masking: the only place where rows for a GPU host are made.
//!
//! | scheme | host sees | unmask |
//! |---|---|---|
//! | [`shares`] | 1: X + M; 2: a seed of M | Y1 - Y2 |
//! | [`module_lwe`] | Delta X + E + S A | Y - S R_pub, rounded to a multiple of Delta |
//! | [`remo`] | X + M_pvt M_pub | Y - M_pvt R_pub |
//! | [`plaintext`] | X | - |
//!
//! Rules for all: fresh randomness for each row of each send, from the CVM's generator through ChaCha20;
//! a send is never built twice from one secret; no branch or index depends on a secret; secrets are
//! zeroized. [`MaskedRows`] has no constructor outside this module, and [`World::project`] takes nothing
//! else.

mod minting;
mod module_lwe;
mod plaintext;
mod remo;
mod shares;

use crate::{
    check::{Checked, Rows, Tampered},
    fixed_point::FixedRows,
    projection::Projection,
    world::{HostFailure, World},
};
use talaria_arithmetic::{PRIMES, lanes};
use zeroize::Zeroizing;

pub use minting::{Batch, MintingError};
pub use module_lwe::{ModuleLwe, PublicRowsError};
pub use remo::{Remo, RemoError};

/// What one host gets.
pub enum Shipment {
    /// rows x (k residues modulo P1, then k modulo P2).
    Residues(Vec<u32>),
    /// ChaCha20 key from which the host expands the same layout (talaria-arithmetic, keystream.rs).
    Seed(Zeroizing<[u8; 32]>),
}

/// Rows that may leave the payload. Private fields: only this module builds them.
pub struct MaskedRows {
    projection: u32,
    rows: u32,
    planes_apart: bool,
    shipments: Vec<Shipment>,
}

impl MaskedRows {
    /// Index of the projection.
    pub fn projection(&self) -> u32 {
        self.projection
    }

    /// Number of rows.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Whether every plane of the weights is multiplied by itself.
    pub fn planes_apart(&self) -> bool {
        self.planes_apart
    }

    /// One for each host.
    pub fn shipments(&self) -> &[Shipment] {
        &self.shipments
    }
}

/// Masks of some rows of one projection, made before the rows are known.
pub struct MintedMasks {
    /// rows x (k residues modulo P1, then k modulo P2).
    pub masks: Zeroizing<Vec<u32>>,
    /// What each mask adds to the product: rows x (outputs modulo P1, then outputs modulo P2).
    pub corrections: Zeroizing<Vec<u32>>,
}

/// No mask could be had. Holds nothing of any row.
#[derive(Debug, thiserror::Error)]
#[error("no masks: {0}")]
pub struct NoMasks(pub String);

/// Masked rows and what takes the mask off their product.
pub struct Sealed {
    rows: MaskedRows,
    /// rows x (outputs modulo P1, outputs modulo P2), or empty.
    corrections: Zeroizing<Vec<u32>>,
}

impl Sealed {
    /// What goes to the hosts.
    pub fn rows(&self) -> &MaskedRows {
        &self.rows
    }
}

/// A masking scheme, ready to use.
pub enum Masking {
    /// Two hosts, perfect unless both collude.
    Shares,
    /// One host, hidden under Module-LWE.
    ModuleLwe(ModuleLwe),
    /// One host, the paper's protocol.
    Remo(Remo),
    /// One host, no masking.
    DangerousPlaintext,
}

impl Masking {
    /// Hosts that a call goes to.
    pub fn hosts(&self) -> usize {
        match self {
            Masking::Shares => 2,
            Masking::ModuleLwe(_) | Masking::Remo(_) | Masking::DangerousPlaintext => 1,
        }
    }

    /// Whether products are asked for plane by plane.
    pub fn planes_apart(&self) -> bool {
        matches!(self, Masking::ModuleLwe(_))
    }

    /// What a host learns besides lengths and timing; empty if nothing.
    pub fn leaks(&self) -> String {
        match self {
            Masking::Shares | Masking::ModuleLwe(_) => String::new(),
            Masking::Remo(remo) => remo.leaks(),
            Masking::DangerousPlaintext => plaintext::LEAKS.into(),
        }
    }

    /// Masks X (rows,k) with fresh randomness.
    pub fn mask(
        &self,
        projection: &Projection,
        x: &FixedRows,
        world: &mut dyn World,
    ) -> Result<Sealed, NoMasks> {
        let (shipments, corrections) = match self {
            Masking::Shares => (shares::mask(x, world), Zeroizing::default()),
            Masking::ModuleLwe(_) => module_lwe::mask(projection, x, world)?,
            Masking::Remo(remo) => remo.mask(projection, x, world),
            Masking::DangerousPlaintext => (plaintext::mask(x), Zeroizing::default()),
        };
        let rows = x.rows() as u32;
        Ok(Sealed {
            rows: MaskedRows {
                projection: projection.index,
                rows,
                planes_apart: self.planes_apart(),
                shipments,
            },
            corrections,
        })
    }

    /// Checks the hosts' answers against X (rows,k), over the whole response.
    pub fn check(
        &self,
        projection: &Projection,
        x: &FixedRows,
        sealed: &Sealed,
        answers: Vec<Vec<u32>>,
    ) -> Result<Checked, Tampered> {
        let against = match &sealed.rows.shipments[..] {
            [Shipment::Residues(sent)] => Rows::Residues(sent),
            _ => Rows::Integers(x),
        };
        let y = match self {
            Masking::Shares => shares::combine(answers, projection.outputs)?,
            Masking::ModuleLwe(_) | Masking::Remo(_) | Masking::DangerousPlaintext => {
                let [y] = <[_; 1]>::try_from(answers).map_err(|_| Tampered)?;
                y
            }
        };
        projection.check.check(against, y)
    }

    /// Takes the mask off: X W (rows,n), exactly.
    pub fn unmask(
        &self,
        projection: &Projection,
        sealed: Sealed,
        checked: Checked,
    ) -> Zeroizing<Vec<i64>> {
        self.products(projection, &sealed, checked.into_residues())
    }

    /// What [`Masking::unmask`] does, on made-up residues, for rehearsals: nothing of it is used.
    pub(crate) fn unmask_rehearsed(
        &self,
        projection: &Projection,
        sealed: &Sealed,
        y: &[u32],
    ) -> Zeroizing<Vec<i64>> {
        self.products(projection, sealed, y.to_vec())
    }

    fn products(
        &self,
        projection: &Projection,
        sealed: &Sealed,
        mut y: Vec<u32>,
    ) -> Zeroizing<Vec<i64>> {
        let outputs = projection.outputs;
        let corrections = sealed.corrections.chunks_exact(outputs);
        for (i, (y, correction)) in y.chunks_exact_mut(outputs).zip(corrections).enumerate() {
            lanes::subtract(y, correction, PRIMES[i % 2]);
        }
        match self {
            Masking::ModuleLwe(_) => module_lwe::round(projection, &y),
            _ => integers(&y, projection.n),
        }
    }
}

/// The integers of rows x (n modulo P1, n modulo P2).
fn integers(residues: &[u32], n: usize) -> Zeroizing<Vec<i64>> {
    let mut out = Zeroizing::new(vec![0; residues.len() / 2]);
    for (row, out) in residues.chunks_exact(2 * n).zip(out.chunks_exact_mut(n)) {
        let (r1, r2) = row.split_at(n);
        lanes::signed_crt(r1, r2, out);
    }
    out
}

/// At set-up: sends random rows through one projection, masked as any other, and checks each host's
/// answer by itself, so that a host with other weights is known before anything depends on it.
pub fn probe(
    masking: &Masking,
    projection: &Projection,
    world: &mut dyn World,
) -> Result<Result<(), WrongHost>, HostFailure> {
    let mut seed = crate::world::fresh_seed(world);
    let hosts = masking.hosts();
    let mut rows = Vec::new();
    let mut expected = Vec::new();
    for host in 0..hosts {
        seed[31] ^= host as u8;
        rows.push(Shipment::Seed(seed.clone()));
        expected.push(talaria_arithmetic::keystream::expand_rows(
            &seed,
            1,
            projection.k,
        ));
    }
    let rows = MaskedRows {
        projection: projection.index,
        rows: 1,
        planes_apart: masking.planes_apart(),
        shipments: rows,
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

#[cfg(test)]
mod tests;
