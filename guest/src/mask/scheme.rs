//! What a masking scheme is, and the list of them. Each is one file beside this one.

use super::{
    NoMasks, Shipment,
    module_lwe::ModuleLwe,
    plaintext::Plaintext,
    probe::{WrongHost, probe},
    remo::Remo,
    shares::Shares,
};
use crate::{
    check::Tampered,
    fixed_point::FixedRows,
    projection::Projection,
    setup::Options,
    world::{HostFailure, World},
};
use serde::{Deserialize, Serialize};
use talaria_arithmetic::lanes;
use talaria_wire::shape::Planes;
use zeroize::Zeroizing;

/// Which masking, before it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// Two hosts.
    Shares,
    /// One host, hidden under Module-LWE.
    ModuleLwe,
    /// One host, the paper's.
    Remo,
    /// One host, none.
    DangerousPlaintext,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Scheme; 4] = [
        Self::Shares,
        Self::ModuleLwe,
        Self::Remo,
        Self::DangerousPlaintext,
    ];

    /// The scheme with its options, or which of them is wrong.
    pub(super) fn with(self, options: &Options) -> Result<Box<dyn MaskingScheme>, String> {
        Ok(match self {
            Self::Shares => Box::new(Shares),
            Self::ModuleLwe => Box::new(ModuleLwe::new(options)?),
            Self::Remo => Box::new(Remo::new(options)?),
            Self::DangerousPlaintext => Box::new(Plaintext),
        })
    }
}

/// Shipments, one for each host; and what the mask adds to the product, rows x (outputs modulo P1, outputs modulo P2),
/// or nothing.
pub(super) type Hidden = (Vec<Shipment>, Zeroizing<Vec<u32>>);

/// A masking scheme: how rows of integers X (rows,k) become what hosts get, and their products X W (rows,n).
///
/// The order of a call, fresh secrets aside, is not the scheme's: [`super::Masking`] has everything checked before a
/// mask comes off.
pub(super) trait MaskingScheme {
    /// With its parameters, as evidence and receipts name it: `module-lwe 512x5`.
    fn name(&self) -> String;

    /// What a host learns besides lengths and timing, for people; empty if nothing.
    fn leaks(&self) -> String;

    /// Hosts that a call goes to.
    fn hosts(&self) -> usize {
        1
    }

    /// How products are asked for.
    fn planes(&self) -> Planes {
        Planes::Joined
    }

    /// Takes from the hosts what the scheme needs of them, and has tried every projection on every host after that.
    fn set_up(
        &mut self,
        projections: &[Projection],
        world: &mut dyn World,
    ) -> Result<(), MaskingError> {
        for projection in projections {
            probe(self.hosts(), self.planes(), projection, world)??;
        }
        Ok(())
    }

    /// What set-up would find for a model of this projection alone, made up: for rehearsals.
    fn make_up(&mut self, _projection: &Projection) {}

    /// Masks X with fresh randomness.
    fn hide(
        &self,
        projection: &Projection,
        x: &FixedRows,
        world: &mut dyn World,
    ) -> Result<Hidden, NoMasks>;

    /// The hosts' answers as one product of what was masked, rows x (outputs modulo P1, outputs modulo P2). What comes of
    /// residues out of range has to be out of range or wrong: it is checked next.
    fn combine(&self, answers: Vec<Vec<u32>>, _outputs: usize) -> Result<Vec<u32>, Tampered> {
        let [y] = <[_; 1]>::try_from(answers).map_err(|_| Tampered)?;
        Ok(y)
    }

    /// X W (rows,n) from the checked product, corrections taken off.
    fn products(&self, projection: &Projection, y: &[u32]) -> Zeroizing<Vec<i64>> {
        integers(y, projection.n)
    }

    /// The scheme whose R_pub is kept outside the payload.
    fn module_lwe(&self) -> Option<&ModuleLwe> {
        None
    }
}

/// Why a masking cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MaskingError {
    /// A host failed.
    #[error(transparent)]
    Host(#[from] HostFailure),
    /// A host has other weights.
    #[error(transparent)]
    WrongHost(#[from] WrongHost),
    /// The scheme's own reason.
    #[error("{0}")]
    Scheme(String),
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
