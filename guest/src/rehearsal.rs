//! Parts of a projection call on made-up rows and weights, and attention, for the host to time: the payload has no
//! clock. Nothing made up here is ever sent or used.

mod attention;

pub use attention::Attention;

use crate::{
    check::Fold,
    fixed_point::FixedRows,
    mask::{Chosen, Masked, MaskedRows, Masking, MintedMasks, NoMasks},
    projection::{Measured, Projection},
    setup::{MAX_BATCH_ROWS, Options, Scheme},
    world::{HostFailure, World, fresh_seed},
};
use talaria_arithmetic::{exactness::MIN_ROW_BITS, module_lwe::Parameters};
use talaria_wire::{
    manifest::{self, Place},
    shape::{MatrixShape, Planes},
};
use zeroize::Zeroizing;

/// A part of a projection call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Building masked rows.
    Mask,
    /// Checking a response.
    Check,
    /// Taking the mask off, back to floats.
    Unmask,
}

/// Largest dimension that is made up.
const MAX_DIMENSION: usize = 1 << 20;

/// Everything made up.
pub struct Rehearsal {
    masking: Masking,
    projection: Projection,
    x: FixedRows,
    masked: Masked,
    answers: Vec<Vec<u32>>,
}

impl Rehearsal {
    /// Makes a weight matrix and rows up, and what the scheme needs of set-up.
    pub fn new(
        scheme: Scheme,
        remo_rank: f32,
        shape: MatrixShape,
        rows: u32,
        world: &mut dyn World,
    ) -> Result<Self, String> {
        let fits = (1..=MAX_DIMENSION).contains(&shape.k)
            && (1..=MAX_DIMENSION).contains(&shape.n)
            && (1..=MAX_BATCH_ROWS).contains(&rows);
        if !fits {
            return Err(format!("no rehearsal with {rows} rows for {shape:?}"));
        }
        let options = Options {
            scheme,
            remo_rank,
            parameters: Parameters::default_set().name.into(),
            public_seed: [0; 32],
            expected_digest: None,
            max_batch_rows: MAX_BATCH_ROWS,
            kv_memory: 0,
            prefix_cache: false,
        };
        let rows = rows as usize;
        let chosen = Chosen::new(&options)?;
        let projection = projection(chosen.planes(), shape, world);
        let masking = chosen.made_up(&projection);
        let x = vec![1; rows * projection.k];
        let x = FixedRows::from_integers(x, projection.k);
        let masked = mask(&masking, &projection, &x, world)?;
        let answer = vec![0; rows * 2 * projection.outputs];
        Ok(Self {
            answers: vec![answer; masking.hosts()],
            masking,
            projection,
            x,
            masked,
        })
    }

    /// Runs a part.
    pub fn run(&self, part: Part, world: &mut dyn World) -> Result<(), String> {
        let projection = &self.projection;
        match part {
            Part::Mask => drop(mask(&self.masking, projection, &self.x, world)?),
            Part::Check => {
                let answers = self.answers.clone();
                // Zeros are no product: what counts is the time.
                let _ = self
                    .masking
                    .check(projection, &self.x, &self.masked, answers);
            }
            Part::Unmask => {
                let masking = &self.masking;
                let y = masking.unmask_rehearsed(projection, &self.masked, &self.answers[0]);
                drop(
                    self.x
                        .dequantise(&y, &projection.column_scales, &projection.bias),
                );
            }
        }
        Ok(())
    }
}

/// With check vectors of zero weights.
fn projection(planes: Planes, shape: MatrixShape, world: &mut dyn World) -> Projection {
    let outputs = shape.outputs(planes);
    let fold = Fold::new(&fresh_seed(world), shape.k, outputs);
    let entry = manifest::Projection {
        place: Place::LM_HEAD,
        k: shape.k as u32,
        n: shape.n as u32,
        scales: vec![1.0; shape.n],
        bias: Vec::new(),
    };
    let measured = Measured {
        check: fold.finish().0,
        row_bits: MIN_ROW_BITS,
        plane_l1: shape.k as u64,
    };
    Projection::new(0, &entry, measured)
}

fn mask(
    masking: &Masking,
    projection: &Projection,
    x: &FixedRows,
    world: &mut dyn World,
) -> Result<Masked, String> {
    let masked = masking.mask(projection, x, &mut MadeUp { world, projection });
    masked.map_err(|NoMasks(reason)| reason)
}

/// A world whose minted masks are zeros: real ones are for real rows.
struct MadeUp<'a> {
    world: &'a mut dyn World,
    projection: &'a Projection,
}

impl World for MadeUp<'_> {
    fn project(&mut self, _rows: &MaskedRows) -> Result<Vec<Vec<u32>>, HostFailure> {
        Err(HostFailure {
            host: 0,
            message: "a rehearsal sends nothing".into(),
        })
    }

    fn quarantine(&mut self, _projection: u32) {}

    fn draw(&mut self, _projection: u32, rows: u32) -> Result<MintedMasks, String> {
        let zeros = |columns: usize| Zeroizing::new(vec![0; rows as usize * 2 * columns]);
        Ok(MintedMasks {
            masks: zeros(self.projection.k),
            corrections: zeros(self.projection.outputs),
        })
    }

    fn entropy(&mut self, bytes: &mut [u8]) {
        self.world.entropy(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestWorld;
    use talaria_wire::manifest::WeightFormat;

    #[test]
    fn every_part_of_every_scheme_runs_and_sends_nothing() {
        let shape = MatrixShape {
            k: 40,
            n: 7,
            format: WeightFormat::Int16,
        };
        let mut world = TestWorld::new();
        for scheme in Scheme::ALL {
            let rehearsal = Rehearsal::new(scheme, 0.5, shape, 3, &mut world).unwrap();
            for part in [Part::Mask, Part::Check, Part::Unmask] {
                rehearsal.run(part, &mut world).unwrap();
            }
        }
        assert!(world.seen.is_empty() && world.supply.is_empty());
        let none = MatrixShape { k: 0, ..shape };
        for (shape, rows) in [(shape, 0), (shape, u32::MAX), (none, 3)] {
            assert!(Rehearsal::new(Scheme::Shares, 0.5, shape, rows, &mut world).is_err());
        }
    }
}
