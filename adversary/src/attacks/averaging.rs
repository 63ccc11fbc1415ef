//! The mean of many sends of one row.
//!
//! *Source:* docs/protocol.md, (11.17). *Input:* requests that the attacker sent again and again; their first row, at the
//! embedding and at qkv of layer 0, is known and always the same. *Method:* the mean of what the host received, as
//! integers modulo q and modulo P1 alone, against the row itself: what is random averages out, what is fixed stays. *Metric:* correlation
//! times the root of the row's length, a standard normal at chance. *Breaks:* no masking, masks with a mean (noise
//! without a mask, few bits). *Chance:* below 5.5.

use std::collections::HashMap;

use super::{Attack, Finding, Found, Scene};
use crate::capture::EMBEDDING;
use crate::statistics::correlation;

/// The attack.
pub const ATTACK: Attack = Attack {
    name: "averaging",
    breaks: "no masking, masks that are not uniform",
    chance: "a standard normal, below 5.5",
    run,
};

/// Fewer sends are no average.
const MIN_SENDS: usize = 16;
/// Of a standard normal, exceeded with 4e-8.
const BOUND: f64 = 5.5;

fn run(scene: &Scene<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for projection in [EMBEDDING, scene.copy.qkv(0)] {
        let worst = first_rows(scene)
            .into_iter()
            .filter(|(_, rows)| rows.len() >= MIN_SENDS)
            .filter_map(|(token, rows)| deviation(scene, projection, token, &rows))
            .max_by(|a, b| a.abs().total_cmp(&b.abs()));
        if let Some(value) = worst {
            let found = Found::Statistic {
                what: "correlation of the mean of sends with the row, in deviations".into(),
                value,
                bound: BOUND,
            };
            findings.push(scene.finding(ATTACK.name, projection, found));
        }
    }
    findings
}

/// First rows of the attacker's requests, by token.
fn first_rows(scene: &Scene<'_>) -> HashMap<u32, Vec<usize>> {
    let mut rows: HashMap<u32, Vec<usize>> = HashMap::new();
    for request in scene.view.requests() {
        if let Some(token) = scene.known[request.start] {
            rows.entry(token).or_default().push(request.start);
        }
    }
    rows
}

fn deviation(scene: &Scene<'_>, projection: usize, token: u32, sends: &[usize]) -> Option<f64> {
    let rows = scene.view.of(projection)?;
    let k = scene.copy.features(projection);
    let hidden: Vec<f64> = match projection {
        EMBEDDING => (0..k)
            .map(|j| f64::from(u8::from(j == token as usize)))
            .collect(),
        _ => {
            let first = scene.copy.first_rows();
            first
                .column(token as usize)
                .iter()
                .map(|x| f64::from(*x))
                .collect()
        }
    };
    let readings: [&dyn Fn(usize) -> Vec<f64>; 2] =
        [&|send| rows.reals(send), &|send| rows.reals_modulo_p1(send)];
    let found = readings.map(|reading| {
        let mut mean = vec![0.0; k];
        for send in sends {
            mean.iter_mut()
                .zip(reading(*send))
                .for_each(|(m, x)| *m += x);
        }
        correlation(&mean, &hidden) * (k as f64).sqrt()
    });
    found
        .into_iter()
        .filter(|z| z.is_finite())
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))
}
