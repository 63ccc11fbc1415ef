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
//! zeroized. A scheme implements `MaskingScheme` ([`scheme`]); nothing else here or elsewhere asks which one it is. [`MaskedRows`] has no constructor outside this module, and [`World::project`] takes nothing
//! else.

mod minting;
mod module_lwe;
mod plaintext;
mod probe;
mod remo;
mod scheme;
mod shares;

use crate::{
    check::{Checked, Rows, Tampered},
    fixed_point::FixedRows,
    projection::Projection,
    setup::Options,
    world::World,
};
use scheme::MaskingScheme;
use talaria_arithmetic::{PRIMES, lanes};
use talaria_wire::shape::Planes;
use zeroize::Zeroizing;

pub use minting::{Batch, MintingError};
pub use module_lwe::{ModuleLwe, PublicRowsError};
pub use probe::WrongHost;
pub use scheme::{MaskingError, Scheme};

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
    planes: Planes,
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

    /// What the product does with the planes of the weights.
    pub fn planes(&self) -> Planes {
        self.planes
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
pub struct Masked {
    rows: MaskedRows,
    /// rows x (outputs modulo P1, outputs modulo P2), or empty.
    corrections: Zeroizing<Vec<u32>>,
}

impl Masked {
    /// What goes to the hosts.
    pub fn rows(&self) -> &MaskedRows {
        &self.rows
    }
}

/// A masking scheme with its options, before anything was sent.
pub struct Chosen(Box<dyn MaskingScheme>);

impl Chosen {
    /// The scheme that the options name. The error says which option is wrong.
    pub fn new(options: &Options) -> Result<Self, String> {
        options.scheme.with(options).map(Self)
    }

    /// How products are asked for.
    pub fn planes(&self) -> Planes {
        self.0.planes()
    }

    /// Takes from the hosts what the scheme needs of them and tries every projection on every host.
    pub fn set_up(
        mut self,
        projections: &[Projection],
        world: &mut dyn World,
    ) -> Result<Masking, MaskingError> {
        self.0.set_up(projections, world)?;
        Ok(Masking(self.0))
    }

    /// As if set up with a model of this projection alone: for rehearsals.
    pub(crate) fn made_up(mut self, projection: &Projection) -> Masking {
        self.0.make_up(projection);
        Masking(self.0)
    }
}

/// A masking scheme, ready to use.
pub struct Masking(Box<dyn MaskingScheme>);

impl Masking {
    /// With its parameters, as evidence and receipts name it: `shares`, `module-lwe 512x5`, `remo 0.5`,
    /// `dangerous-plaintext`.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// Hosts that a call goes to.
    pub fn hosts(&self) -> usize {
        self.0.hosts()
    }

    /// What a host learns besides lengths and timing; empty if nothing.
    pub fn leaks(&self) -> String {
        self.0.leaks()
    }

    /// module-LWE, whose R_pub is kept outside the payload; none for every other scheme.
    pub fn module_lwe(&self) -> Option<&ModuleLwe> {
        self.0.module_lwe()
    }

    /// Masks X (rows,k) with fresh randomness.
    pub fn mask(
        &self,
        projection: &Projection,
        x: &FixedRows,
        world: &mut dyn World,
    ) -> Result<Masked, NoMasks> {
        let (shipments, corrections) = self.0.hide(projection, x, world)?;
        let rows = MaskedRows {
            projection: projection.index,
            rows: x.rows() as u32,
            planes: self.0.planes(),
            shipments,
        };
        Ok(Masked { rows, corrections })
    }

    /// Checks the hosts' answers against X (rows,k), over the whole response.
    pub fn check(
        &self,
        projection: &Projection,
        x: &FixedRows,
        masked: &Masked,
        answers: Vec<Vec<u32>>,
    ) -> Result<Checked, Tampered> {
        let against = match &masked.rows.shipments[..] {
            [Shipment::Residues(sent)] => Rows::Residues(sent),
            _ => Rows::Integers(x),
        };
        let y = self.0.combine(answers, projection.outputs)?;
        projection.check.check(against, y)
    }

    /// Takes the mask off: X W (rows,n), exactly.
    pub fn unmask(
        &self,
        projection: &Projection,
        masked: Masked,
        checked: Checked,
    ) -> Zeroizing<Vec<i64>> {
        self.products(projection, &masked, checked.into_residues())
    }

    /// What [`Masking::unmask`] does, on made-up residues, for rehearsals: nothing of it is used.
    pub(crate) fn unmask_rehearsed(
        &self,
        projection: &Projection,
        masked: &Masked,
        y: &[u32],
    ) -> Zeroizing<Vec<i64>> {
        self.products(projection, masked, y.to_vec())
    }

    fn products(
        &self,
        projection: &Projection,
        masked: &Masked,
        mut y: Vec<u32>,
    ) -> Zeroizing<Vec<i64>> {
        let outputs = projection.outputs;
        let corrections = masked.corrections.chunks_exact(outputs);
        for (i, (y, correction)) in y.chunks_exact_mut(outputs).zip(corrections).enumerate() {
            lanes::subtract(y, correction, PRIMES[i % 2]);
        }
        self.0.products(projection, &y)
    }
}

#[cfg(test)]
mod tests;
