//! Masking: the only place where rows for a GPU host are made.
//!
//! | scheme | host sees | unmask |
//! |---|---|---|
//! | [`shares`] | 1: X + M; 2: a seed of M | Y1 - Y2 |
//! | [`remo`] | X + M_pvt M_pub | Y - M_pvt R_pub |
//! | [`plaintext`] | X | - |
//!
//! Rules for all: fresh randomness for each row of each send, from the CVM's generator through ChaCha20;
//! a send is never built twice from one secret; no branch or index depends on a secret; secrets are
//! zeroized. [`MaskedRows`] has no constructor outside this module, and [`World::project`] takes nothing
//! else.

mod plaintext;
mod remo;
mod shares;

use crate::{
    check::{Checked, Rows, Tampered},
    fixed_point::FixedRows,
    projection::Projection,
    world::{HostFailure, World},
};
use talaria_arithmetic::{PRIMES, residue};
use zeroize::Zeroizing;

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

    /// One for each host.
    pub fn shipments(&self) -> &[Shipment] {
        &self.shipments
    }
}

/// A mask of one row, made before the row is known.
pub struct MintedMask {
    /// k residues modulo P1, then k modulo P2.
    pub mask: Zeroizing<Vec<u32>>,
    /// What the mask adds to the product: n residues modulo P1, then n modulo P2.
    pub correction: Zeroizing<Vec<u32>>,
}

/// Masked rows and what takes the mask off their product.
pub struct Sealed {
    rows: MaskedRows,
    /// rows x (n modulo P1, n modulo P2), or empty.
    corrections: Zeroizing<Vec<u32>>,
}

impl Sealed {
    /// What goes to the hosts.
    pub fn rows(&self) -> &MaskedRows {
        &self.rows
    }

    fn take_off(&self, projection: &Projection, y: &mut [u32]) {
        if !self.corrections.is_empty() {
            combine_halves(y, &self.corrections, projection.n, residue::sub);
        }
    }
}

/// A masking scheme, ready to use.
pub enum Masking {
    /// Two hosts, perfect unless both collude.
    Shares,
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
            Masking::Remo(_) | Masking::DangerousPlaintext => 1,
        }
    }

    /// What a host learns besides lengths and timing; empty if nothing.
    pub fn leaks(&self) -> String {
        match self {
            Masking::Shares => String::new(),
            Masking::Remo(remo) => remo.leaks(),
            Masking::DangerousPlaintext => plaintext::LEAKS.into(),
        }
    }

    /// Masks X (rows,k) with fresh randomness.
    pub fn mask(&self, projection: &Projection, x: &FixedRows, world: &mut dyn World) -> Sealed {
        let (shipments, corrections) = match self {
            Masking::Shares => (shares::mask(x, world), Vec::new()),
            Masking::Remo(remo) => remo.mask(projection, x, world),
            Masking::DangerousPlaintext => (plaintext::mask(x), Vec::new()),
        };
        let rows = x.rows() as u32;
        Sealed {
            rows: MaskedRows {
                projection: projection.index,
                rows,
                shipments,
            },
            corrections: Zeroizing::new(corrections),
        }
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
            Masking::Shares => shares::combine(answers, projection.n)?,
            Masking::Remo(_) | Masking::DangerousPlaintext => {
                let [y] = <[_; 1]>::try_from(answers).map_err(|_| Tampered)?;
                y
            }
        };
        projection.check.check(against, y)
    }

    /// Takes the mask off: X W as rows x (n modulo P1, n modulo P2).
    pub fn unmask(&self, projection: &Projection, sealed: Sealed, checked: Checked) -> Vec<u32> {
        let mut y = checked.into_residues();
        sealed.take_off(projection, &mut y);
        y
    }

    /// What [`Masking::unmask`] does, on made-up residues, for rehearsals: nothing of it is used.
    pub(crate) fn unmask_rehearsed(
        &self,
        projection: &Projection,
        sealed: &Sealed,
        y: &[u32],
    ) -> Vec<u32> {
        let mut y = y.to_vec();
        sealed.take_off(projection, &mut y);
        y
    }

    /// Masks for `rows` future rows of a projection; none if this scheme has nothing to make ahead.
    pub fn mint(
        &self,
        projection: &Projection,
        rows: u32,
        world: &mut dyn World,
    ) -> Vec<MintedMask> {
        match self {
            Masking::Remo(remo) => (0..rows).map(|_| remo.mint(projection, world)).collect(),
            Masking::Shares | Masking::DangerousPlaintext => Vec::new(),
        }
    }
}

/// `a = a op b`, for rows x (len residues modulo P1, then len modulo P2).
fn combine_halves(a: &mut [u32], b: &[u32], len: usize, op: impl Fn(u32, u32, u32) -> u32) {
    for (i, (a, b)) in a.chunks_exact_mut(len).zip(b.chunks_exact(len)).enumerate() {
        let p = PRIMES[i % 2];
        a.iter_mut().zip(b).for_each(|(a, b)| *a = op(*a, *b, p));
    }
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
