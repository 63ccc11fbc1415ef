//! Where the time of a decode step goes.

use std::time::Duration;

use serde::Serialize;
use talaria_host_cvm::{Counters, Masking, Part, Rehearsal};
use talaria_wire::manifest::{Manifest, Role};

use super::measure::Decoding;
use crate::error::LocalError;

/// Milliseconds of one decode step over all its projections, and microseconds of one projection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Split {
    /// In the payload, all but the parts below: norms, attention, sampling, quantisation of rows.
    pub structural_ms: f64,
    /// Masking of rows.
    pub mask_ms: f64,
    /// Sockets, serialisation, queues: waiting for hosts less their computation.
    pub wire_ms: f64,
    /// Computation of the slowest host of each call, by its own account.
    pub gpu_ms: f64,
    /// Integrity check of products.
    pub check_ms: f64,
    /// Removal of masks.
    pub unmask_ms: f64,
    /// From one step to the next, by the clock.
    pub step_ms: f64,
    /// Waiting for one projection.
    pub round_trip_us: f64,
    /// That less the computation.
    pub wire_us: f64,
}

/// Cost of the mean step; none if no step was counted.
///
/// The payload has no clock: what it computed is timed as a whole, and its parts are run again by
/// themselves on as many made-up rows.
pub(super) fn split(
    rehearsal: &mut Rehearsal,
    masking: (Masking, f32),
    manifest: &Manifest,
    decoding: Decoding,
) -> Result<Option<Split>, LocalError> {
    let Counters {
        projections, rows, ..
    } = decoding.counters;
    let Some(rows) = rows
        .checked_div(projections)
        .and_then(|rows| u32::try_from(rows.max(1)).ok())
    else {
        return Ok(None);
    };
    let mut parts = [Duration::ZERO; 3];
    for (index, occurrences) in roles(manifest) {
        let shape = manifest.projections[index].shape(manifest.weights);
        let timed = rehearsal.parts(masking, shape, rows, &PARTS)?;
        for (total, time) in parts.iter_mut().zip(timed) {
            *total += time * occurrences;
        }
    }
    Ok(mean_step(&decoding, parts))
}

/// In the order of [`Split`].
const PARTS: [Part; 3] = [Part::Mask, Part::Check, Part::Unmask];

/// Of each role the first projection, and how many there are.
fn roles(manifest: &Manifest) -> Vec<(usize, u32)> {
    let mut found: Vec<(Role, usize, u32)> = Vec::new();
    for (index, projection) in manifest.projections.iter().enumerate() {
        let role = projection.place.role;
        match found.iter_mut().find(|(found, ..)| *found == role) {
            Some((.., occurrences)) => *occurrences += 1,
            None => found.push((role, index, 1)),
        }
    }
    found
        .into_iter()
        .map(|(_, index, occurrences)| (index, occurrences))
        .collect()
}

fn mean_step(decoding: &Decoding, [mask, check, unmask]: [Duration; 3]) -> Option<Split> {
    let counters = &decoding.counters;
    if counters.steps == 0 || counters.projections == 0 {
        return None;
    }
    let steps = counters.steps as f64;
    let projections = counters.projections as f64;
    let guest_ms = counters.guest_ns as f64 / 1e6 / steps;
    let wait_us = counters.wait_ns as f64 / 1e3;
    let wire_us = (wait_us - counters.gpu_us as f64).max(0.0);
    let [mask_ms, check_ms, unmask_ms] = [mask, check, unmask].map(|t| t.as_secs_f64() * 1e3);
    Some(Split {
        structural_ms: (guest_ms - mask_ms - check_ms - unmask_ms).max(0.0),
        mask_ms,
        wire_ms: wire_us / 1e3 / steps,
        gpu_ms: counters.gpu_us as f64 / 1e3 / steps,
        check_ms,
        unmask_ms,
        step_ms: decoding.time.as_secs_f64() * 1e3 / steps,
        round_trip_us: wait_us / projections,
        wire_us: wire_us / projections,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_the_sum_of_its_parts() {
        let counters = Counters {
            steps: 10,
            projections: 180,
            rows: 180,
            guest_ns: 40_000_000,
            wait_ns: 90_000_000,
            gpu_us: 63_000,
            ..Counters::default()
        };
        let decoding = Decoding {
            counters,
            time: Duration::from_millis(130),
        };
        let parts = [500, 300, 200].map(Duration::from_micros);
        let found = mean_step(&decoding, parts).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        close(found.structural_ms, 3.0);
        close(found.gpu_ms, 6.3);
        close(found.wire_ms, 2.7);
        close(found.round_trip_us, 500.0);
        close(found.wire_us, 150.0);
        let sum = found.structural_ms
            + found.mask_ms
            + found.wire_ms
            + found.gpu_ms
            + found.check_ms
            + found.unmask_ms;
        close(sum, found.step_ms);
    }

    #[test]
    fn nothing_counted_nothing_told() {
        let decoding = Decoding {
            counters: Counters::default(),
            time: Duration::ZERO,
        };
        assert_eq!(mean_step(&decoding, [Duration::ZERO; 3]), None);
    }
}
