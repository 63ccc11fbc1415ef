//! A weight matrix as the payload knows it: its shape, scales and check vectors, never its weights.

use crate::{
    check::{CheckVectors, Tampered},
    counters::Counters,
    fixed_point::{FixedRows, NotFinite},
    glimpse::GlimpseSlot,
    mask::NoMasks,
    models::Products,
    setup::Ready,
    world::{HostFailure, World},
};
use serde::{Deserialize, Serialize};
use talaria_arithmetic::exactness::delta_bits;
use talaria_wire::manifest::{self, Place};

/// One projection `y (rows,n) = x (rows,k) @ W`.
pub struct Projection {
    /// Index in the manifest.
    pub index: u32,
    /// For people: `layer 3 qkv`.
    pub name: String,
    /// Input features.
    pub k: usize,
    /// Outputs.
    pub n: usize,
    /// Outputs of a product as it is asked for: n, or n for each int8 plane.
    pub outputs: usize,
    /// Bits b_x of a row.
    pub row_bits: u32,
    /// Largest sum of weight magnitudes in a column of one plane.
    pub plane_l1: u64,
    /// Whether rows are one-hot.
    pub is_embedding: bool,
    /// What 1 in each output's column of W stands for (n,).
    pub column_scales: Vec<f64>,
    /// Added to the product (n,), or empty.
    pub bias: Vec<f32>,
    /// Secret check vectors.
    pub check: CheckVectors,
}

impl Projection {
    /// From the manifest's entry and what was measured.
    pub fn new(index: u32, entry: &manifest::Projection, measured: Measured) -> Self {
        Self {
            index,
            name: entry.place.to_string(),
            k: entry.k as usize,
            n: entry.n as usize,
            outputs: measured.check.outputs(),
            row_bits: measured.row_bits,
            plane_l1: measured.plane_l1,
            is_embedding: entry.place == Place::EMBEDDING,
            column_scales: entry.scales.iter().copied().map(f64::from).collect(),
            bias: entry.bias.clone(),
            check: measured.check,
        }
    }

    /// d of the scale `Delta = 2^d` under module-LWE masks.
    pub fn delta_bits(&self) -> u32 {
        delta_bits(self.plane_l1)
    }
}

/// What the pass of a matrix's weights found.
#[derive(Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Secret check vectors.
    pub check: CheckVectors,
    /// Bits b_x of a row.
    pub row_bits: u32,
    /// Largest sum of weight magnitudes in a column of one plane.
    pub plane_l1: u64,
}

/// Why a product could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// A host lied.
    #[error(transparent)]
    Tampered(#[from] Tampered),
    /// A host failed.
    #[error(transparent)]
    Host(#[from] HostFailure),
    /// A row cannot be sent.
    #[error("{error}")]
    NotFinite {
        /// Of the product.
        place: Place,
        /// Which of its rows.
        error: NotFinite,
    },
    /// The row cannot be masked.
    #[error(transparent)]
    NoMasks(#[from] NoMasks),
}

/// Residues of one call, up and down, for all rows and one host: larger batches go in several calls.
const CALL_RESIDUES: usize = 4 << 20;

/// Sends rows out masked and brings products back checked.
pub struct Projector<'a> {
    /// The model and its masking.
    pub ready: &'a Ready,
    /// The imports.
    pub world: &'a mut dyn World,
    /// What was done.
    pub counters: &'a mut Counters,
    /// Keeps a row for demonstrations if asked to.
    pub glimpse: &'a mut GlimpseSlot,
}

impl Products for Projector<'_> {
    type Error = ProjectError;

    fn project(&mut self, place: Place, x: &[f32]) -> Result<Vec<f32>, ProjectError> {
        let projection = self.ready.projection(place);
        let k = projection.k;
        self.in_calls(projection, x.len() / k, |rows| {
            let first = rows.start;
            let fixed = FixedRows::quantise(&x[first * k..rows.end * k], k, projection.row_bits);
            fixed.map_err(|NotFinite { row }| ProjectError::NotFinite {
                place,
                error: NotFinite { row: first + row },
            })
        })
    }

    fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, ProjectError> {
        let embedding = self.ready.projection(Place::EMBEDDING);
        self.in_calls(embedding, tokens.len(), |rows| {
            Ok(FixedRows::one_hot(&tokens[rows], embedding.k))
        })
    }
}

impl Projector<'_> {
    fn in_calls(
        &mut self,
        projection: &Projection,
        rows: usize,
        fixed: impl Fn(core::ops::Range<usize>) -> Result<FixedRows, ProjectError>,
    ) -> Result<Vec<f32>, ProjectError> {
        let per_call = (CALL_RESIDUES / (2 * projection.k.max(projection.outputs))).max(1);
        let mut y = Vec::with_capacity(rows * projection.n);
        for start in (0..rows).step_by(per_call) {
            let x = fixed(start..rows.min(start + per_call))?;
            y.extend(self.call(projection, &x)?);
        }
        Ok(y)
    }

    /// 1 mask, 2 send, 3 check, 4 unmask, 5 back to floats.
    fn call(&mut self, projection: &Projection, x: &FixedRows) -> Result<Vec<f32>, ProjectError> {
        let masking = &self.ready.masking;
        let masked = masking.mask(projection, x, self.world)?;
        self.glimpse.look(projection, x, masked.rows());
        self.counters.projections += 1;
        self.counters.rows += x.rows() as u64;
        let answers = self.world.project(masked.rows())?;
        let checked = masking
            .check(projection, x, &masked, answers)
            .inspect_err(|_| self.world.quarantine(projection.index))?;
        self.counters.checks += 1;
        let products = masking.unmask(projection, masked, checked);
        Ok(x.dequantise(&products, &projection.column_scales, &projection.bias))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{setup::Scheme, testing::TestWorld};
    use talaria_wire::manifest::Role;

    fn projected(world: &mut TestWorld, ready: &Ready, place: Place, x: &[f32]) -> Vec<f32> {
        let mut projector = Projector {
            ready,
            world,
            counters: &mut Counters::default(),
            glimpse: &mut GlimpseSlot::default(),
        };
        projector.project(place, x).unwrap()
    }

    #[test]
    fn the_projection_of_a_lie_is_the_one_that_is_reported() {
        let mut world = TestWorld::new();
        let ready = world.ready(Scheme::Shares);
        let place = Role::Down.of(1);
        let projection = ready.projection(place);
        world.tamper = Box::new(|answers| answers[1][0] ^= 1);
        let mut projector = Projector {
            ready: &ready,
            world: &mut world,
            counters: &mut Counters::default(),
            glimpse: &mut GlimpseSlot::default(),
        };
        let refused = projector.project(place, &vec![1.0; projection.k]);
        assert!(matches!(refused, Err(ProjectError::Tampered(_))));
        assert_eq!(world.quarantined, [projection.index]);
    }

    /// As many rows as go in two calls, and a few of them: each product is its own row's.
    #[test]
    fn rows_beyond_one_call_go_in_another() {
        let mut world = TestWorld::new();
        let place = Role::Qkv.of(0);
        let ready = world.ready(Scheme::DangerousPlaintext);
        let projection = ready.projection(place);
        let (k, n) = (projection.k, projection.n);
        let per_call = CALL_RESIDUES / (2 * k.max(n));
        let value = |row: usize, j: usize| ((row * 7 + j) % 23) as f32 - 11.0;
        let rows = 0..per_call + 3;
        let x: Vec<f32> = rows
            .flat_map(|row| (0..k).map(move |j| value(row, j)))
            .collect();
        world.seen.clear();
        let y = projected(&mut world, &ready, place, &x);
        let sent = world.seen.iter().map(|(_, hosts)| hosts[0].len() / (2 * k));
        assert!(sent.eq([per_call, 3]));
        assert_eq!(y.len(), (per_call + 3) * n);
        for row in [0, 1, per_call - 1, per_call, per_call + 2] {
            let alone = projected(&mut world, &ready, place, &x[row * k..][..k]);
            assert_eq!(y[row * n..][..n], alone, "row {row}");
        }
    }

    /// A row of zeros has a product of zeros: what comes is the bias.
    #[test]
    fn a_product_has_its_bias() {
        for scheme in Scheme::ALL {
            let mut world = TestWorld::new();
            let place = Role::Qkv.of(1);
            let at = world.manifest.index_of(place).unwrap();
            let entry = &mut world.manifest.projections[at];
            entry.bias = (0..entry.n).map(|i| i as f32 * 0.5 - 3.0).collect();
            let (k, bias) = (entry.k as usize, entry.bias.clone());
            let ready = world.ready(scheme);
            let y = projected(&mut world, &ready, place, &vec![0.0; 2 * k]);
            assert_eq!(y, [&bias[..], &bias].concat(), "{scheme:?}");
        }
    }
}
