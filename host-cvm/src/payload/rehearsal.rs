//! The payload's parts, timed by themselves on made-up rows: no host, no model, nothing sent.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use talaria_arithmetic::module_lwe::{LANES, Parameters};
use talaria_wire::manifest::WeightFormat;
use talaria_wire::shape::MatrixShape;
use tokio::sync::watch;

use super::bindings::exports::talaria::payload::rehearsal;
use super::{Blueprint, Instance, InstanceCounters, MAX_MEMORY_BYTES, Payload};
use crate::cvm::CvmError;
use crate::link::{Deadlines, LinkPlan, Presence, Roster};
use crate::masks::{Batch, Masking, Pools};

/// Runs of a part; the median counts.
const RUNS: usize = 5;

/// Parts of a projection call that can be run by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Masking of rows.
    Mask,
    /// Integrity check of products.
    Check,
    /// Removal of masks.
    Unmask,
}

/// An instance that is linked to nothing.
pub struct Rehearsal {
    instance: Instance,
    /// The CVM that it is part of never stops.
    _stop: watch::Sender<bool>,
}

impl Rehearsal {
    /// A fresh instance.
    ///
    /// # Errors
    /// If it cannot be instantiated.
    pub fn new(payload: &Payload) -> Result<Self, CvmError> {
        let (stop, stopped) = watch::channel(false);
        let blueprint = Blueprint {
            payload: payload.clone(),
            links: LinkPlan {
                hosts: Arc::new([]),
                roster: Arc::new(Roster::new(0)),
                presence: Presence::assumed(0),
                shapes: Arc::new([]),
                deadlines: Deadlines::default(),
                quarantined: Arc::new(AtomicBool::new(false)),
                stop: stopped,
            },
            pools: Arc::new(Pools::new(Arc::new([]), 0)),
            memory_limit: MAX_MEMORY_BYTES,
        };
        Ok(Self {
            instance: Instance::new(&blueprint, Arc::new(InstanceCounters::default()))?,
            _stop: stop,
        })
    }

    /// Time of each part in turn for one call with `rows` rows, the median of some runs.
    ///
    /// # Errors
    /// [`CvmError::Request`] if the payload cannot make such a matrix up.
    pub fn parts(
        &mut self,
        (masking, remo_rank): (Masking, f32),
        shape: MatrixShape,
        rows: u32,
        parts: &[Part],
    ) -> Result<Vec<Duration>, CvmError> {
        let matrix = rehearsal::Matrix {
            k: shape.k as u32,
            n: shape.n as u32,
            planes: shape.format.planes() as u32,
        };
        self.instance
            .begin_rehearsal(masking.into(), remo_rank, matrix, rows)?;
        let time = |part: &Part| {
            let part = match part {
                Part::Mask => rehearsal::Part::Mask,
                Part::Check => rehearsal::Part::Check,
                Part::Unmask => rehearsal::Part::Unmask,
            };
            median(|| self.instance.rehearse(part))
        };
        parts.iter().map(time).collect()
    }

    /// Time of attention of the last `rows` of `context` positions, the median of some runs, and a digest of the
    /// result's bits.
    ///
    /// # Errors
    /// [`CvmError::Request`] if the payload cannot make such a layer up.
    pub fn attention(
        &mut self,
        (query, key_value, dimension): (u32, u32, u32),
        context: u32,
        rows: u32,
    ) -> Result<(Duration, u64), CvmError> {
        let heads = rehearsal::Heads {
            query,
            key_value,
            dimension,
        };
        self.instance.begin_attention(heads, context, rows)?;
        let mut digest = 0;
        let time = median(|| {
            let (time, found) = self.instance.attend()?;
            digest = found;
            Ok(time)
        })?;
        Ok((time, digest))
    }

    /// Nanoseconds to mint one column (feature or output) of one mask of module-LWE, as a minting instance does it:
    /// public polynomials copied in from memory, masks copied out and put in place.
    ///
    /// # Errors
    /// If the payload refuses.
    pub fn minting(&mut self, parameters: &'static Parameters) -> Result<f64, CvmError> {
        const BLOCKS: usize = 64;
        let columns = BLOCKS * LANES;
        let shape = MatrixShape {
            k: columns,
            n: LANES,
            format: WeightFormat::Int8,
        };
        let polynomials = vec![1i32; BLOCKS * parameters.block_words()];
        let mut batch = Batch::new(parameters, shape);
        let time = median(|| {
            self.instance.begin_batch(parameters.name, shape)?;
            let started = std::time::Instant::now();
            for (i, block) in polynomials
                .chunks_exact(parameters.block_words())
                .enumerate()
            {
                let lanes = self.instance.mint_masks(block)?;
                batch.set_masks(i, &lanes);
            }
            Ok(started.elapsed())
        })?;
        Ok(time.as_secs_f64() * 1e9 / (columns * parameters.degree) as f64)
    }
}

fn median(mut run: impl FnMut() -> Result<Duration, CvmError>) -> Result<Duration, CvmError> {
    let mut times = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    Ok(times[RUNS / 2])
}
