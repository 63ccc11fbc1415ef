//! One host, hidden under Module-LWE (docs/protocol.md, section 11): `Xhat = Delta X + E + S A`.
//!
//! Everything that does not depend on the row, `E + S A` and `S R_pub` with `R_pub = A W`, is minted ahead by
//! other instances ([`super::minting`]) and drawn here, each mask once. The product with each int8 plane P
//! comes back as `Delta X P + E P + S A P`; the correction takes off `S A P`, rounding takes off `E P`, as
//! `|E P| <= NOISE_BOUND * plane_l1 < Delta / 2` (talaria-arithmetic, exactness.rs).

use super::{
    MaskedRows, NoMasks, Shipment, WrongHost,
    scheme::{Hidden, MaskingScheme},
};
use crate::{
    check::Rows,
    fixed_point::FixedRows,
    projection::Projection,
    setup::Options,
    world::{HostFailure, World},
};
use talaria_arithmetic::{PRIMES, keystream, lanes, module_lwe::Parameters, residue::Factor};
use talaria_wire::shape::Planes;
use zeroize::Zeroizing;

/// The scheme with its public parameters.
pub struct ModuleLwe {
    /// Ring and rank.
    parameters: &'static Parameters,
    /// Key of A, chosen by the deployment.
    public_seed: [u8; 32],
}

/// Why rows of R_pub cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PublicRowsError {
    /// The host failed.
    #[error(transparent)]
    Host(#[from] HostFailure),
    /// A product is wrong.
    #[error(transparent)]
    WrongHost(#[from] WrongHost),
    /// Rows that the parameter set does not have.
    #[error("public rows {first}..{first} + {rows}: there are {most}")]
    Range {
        /// First row asked for.
        first: u32,
        /// Rows asked for.
        rows: u32,
        /// Rows of the parameter set.
        most: usize,
    },
}

impl ModuleLwe {
    pub(super) fn new(options: &Options) -> Result<Self, String> {
        let name = &options.parameters;
        let parameters = Parameters::find(name);
        Ok(Self {
            parameters: parameters
                .ok_or_else(|| format!("module-lwe has no parameter set {name:?}"))?,
            public_seed: options.public_seed,
        })
    }

    /// Ring and rank.
    pub fn parameters(&self) -> &'static Parameters {
        self.parameters
    }

    /// Sends rows of A through a projection: rows of R_pub, each checked, as rows x (outputs modulo P1, then
    /// outputs modulo P2).
    pub fn fetch_public_rows(
        &self,
        projection: &Projection,
        first: u32,
        rows: u32,
        world: &mut dyn World,
    ) -> Result<Vec<u32>, PublicRowsError> {
        let a = self.public_rows(projection.k, first, rows)?;
        let sent = MaskedRows {
            projection: projection.index,
            rows,
            planes: Planes::Apart,
            shipments: vec![Shipment::Residues(a.clone())],
        };
        let y = world.project(&sent)?.pop().unwrap_or_default();
        let checked = projection.check.check(Rows::Residues(&a), y);
        Ok(checked.map_err(|_| WrongHost(1))?.into_residues())
    }

    /// Whether `kept` are the rows of R_pub from `first` on: as sound as the check of a host's product.
    pub fn check_public_rows(
        &self,
        projection: &Projection,
        first: u32,
        kept: Vec<u32>,
    ) -> Result<bool, PublicRowsError> {
        let rows = (kept.len() / (2 * projection.outputs)) as u32;
        let a = self.public_rows(projection.k, first, rows)?;
        Ok(projection.check.check(Rows::Residues(&a), kept).is_ok())
    }

    /// A (rows,k) from row `first` on: row i is keystream row i under the public seed, so that matrices with
    /// fewer features have a prefix of the same rows.
    fn public_rows(&self, k: usize, first: u32, rows: u32) -> Result<Vec<u32>, PublicRowsError> {
        let most = self.parameters.public_rows();
        let end = u64::from(first) + u64::from(rows);
        if rows == 0 || end > most as u64 {
            return Err(PublicRowsError::Range { first, rows, most });
        }
        let mut a = vec![0; rows as usize * 2 * k];
        for (row, a) in (first..).zip(a.chunks_exact_mut(2 * k)) {
            keystream::expand_row(&self.public_seed, row, a);
        }
        Ok(a)
    }
}

impl MaskingScheme for ModuleLwe {
    fn name(&self) -> String {
        format!("module-lwe {}", self.parameters.name)
    }

    fn leaks(&self) -> String {
        String::new()
    }

    fn planes(&self) -> Planes {
        Planes::Apart
    }

    fn module_lwe(&self) -> Option<&ModuleLwe> {
        Some(self)
    }

    /// `Delta X + mask` for fresh masks, and the masks' corrections.
    fn hide(
        &self,
        projection: &Projection,
        x: &FixedRows,
        world: &mut dyn World,
    ) -> Result<Hidden, NoMasks> {
        let (k, outputs) = (projection.k, projection.outputs);
        let mut masks = Vec::with_capacity(x.rows() * 2 * k);
        let mut corrections = Zeroizing::new(Vec::with_capacity(x.rows() * 2 * outputs));
        while masks.len() < x.rows() * 2 * k {
            let wanted = x.rows() - masks.len() / (2 * k);
            let drawn = world
                .draw(projection.index, wanted as u32)
                .map_err(NoMasks)?;
            let rows = drawn.masks.len() / (2 * k);
            let fits = (1..=wanted).contains(&rows)
                && drawn.masks.len() == rows * 2 * k
                && drawn.corrections.len() == rows * 2 * outputs;
            if !fits {
                return Err(NoMasks(
                    "minted masks have another shape than the rows".into(),
                ));
            }
            masks.extend_from_slice(&drawn.masks);
            corrections.extend_from_slice(&drawn.corrections);
        }
        let deltas = PRIMES.map(|p| Factor::new(1 << projection.delta_bits(), p));
        let masked = x.added_to(masks, Some(deltas));
        Ok((vec![Shipment::Residues(masked)], corrections))
    }

    /// X W (rows,n) from rows x (outputs modulo P1, outputs modulo P2) of `Delta X P + E P` for every plane P,
    /// most significant first.
    fn products(&self, projection: &Projection, y: &[u32]) -> Zeroizing<Vec<i64>> {
        let (n, outputs, bits) = (projection.n, projection.outputs, projection.delta_bits());
        let mut products = Zeroizing::new(vec![0; y.len() / (2 * outputs) * n]);
        let half = (1i64 << bits) / 2;
        let mut scaled = Zeroizing::new(vec![0; n]);
        for (row, products) in y
            .chunks_exact(2 * outputs)
            .zip(products.chunks_exact_mut(n))
        {
            let (r1, r2) = row.split_at(outputs);
            for (r1, r2) in r1.chunks_exact(n).zip(r2.chunks_exact(n)) {
                lanes::signed_crt(r1, r2, &mut scaled);
                for (product, scaled) in products.iter_mut().zip(&*scaled) {
                    *product = 256 * *product + ((scaled + half) >> bits);
                }
            }
        }
        products
    }
}
