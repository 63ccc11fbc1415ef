//! Lies beside fingerprints.
//!
//! *Source:* arXiv 2602.11088, on the checks of Soter (USENIX ATC 2022) and TSQP. *Input:* batches of rows in which some
//! are fingerprints from a fixed set; the host answers, and sees whether it was believed. *Method:* fewer rows than a row has features are
//! independent, unless they come from a small set: rows that take part in a linear relation are fingerprints, and so is
//! every later row in their span. These are answered as they are to be, all others wrongly. On the real system: the same look
//! at what a host received, then lies on rows that are in no relation. *Metric:* batches in which every row but the
//! fingerprints was answered wrongly and which were accepted; lies of the real system's host that were not refused.
//! *Breaks:* checks by answers that are known for a fixed set. *Chance:* that the same number of rows, chosen blindly, has
//! no fingerprint; no lie.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use talaria_arithmetic::P1;
use talaria_arithmetic::residue::{self, RESIDUE_BYTES};
use talaria_host_cvm::{Cvm, CvmConfig, Payload, Prompt};
use talaria_host_gpu::record::{Observer, Seen};
use talaria_host_gpu::scheduler::rows::ClaimBody;
use talaria_host_gpu::server::fault::{FaultInjection, Faults};
use talaria_host_gpu::weights::Model;
use talaria_local::LocalError;
use talaria_local::generate::{generate, greedy};
use talaria_local::hosts::{self, HostOptions};

use super::null_space::FUNCTIONS;
use super::{Finding, Found};
use crate::baselines::fingerprints::{Batch, Checker, FINGERPRINTS, ROWS};
use crate::dice::Dice;
use crate::error::AdversaryError;
use crate::math::echelon::{Echelon, null_vectors, product};
use crate::metrics::Rate;

/// Name of the attack.
pub const NAME: &str = "fingerprints";

/// Tokens of a reply while the real system's host lies.
const REPLY: u32 = 2;

/// Which rows (n,k) modulo P1, fewer than k, take part in a linear relation.
pub fn in_relations(rows: &[Vec<u32>]) -> Vec<bool> {
    let (n, k) = (rows.len(), rows.first().map_or(0, Vec::len));
    // [rows | 1]: what is left where the rows are 0 are the relations.
    let extended = rows.iter().enumerate().map(|(i, row)| {
        let unit = (0..n).map(|j| u32::from(i == j));
        row.iter().copied().chain(unit).collect()
    });
    let echelon = Echelon::of(extended.collect(), P1);
    let relations = echelon.rows().iter().zip(echelon.pivots());
    let mut taking_part = vec![false; n];
    for (relation, _) in relations.filter(|(_, pivot)| **pivot >= k) {
        for (part, coefficient) in taking_part.iter_mut().zip(&relation[k..]) {
            *part |= *coefficient != 0;
        }
    }
    taking_part
}

/// Lies to a checker over rows (n,k) modulo P1, as some masking made them; none if they are too few. The first batches
/// are answered honestly, and learnt from.
pub fn on_baseline(rows: &[Vec<u32>], checker: &mut Checker, seed: u64) -> Option<Finding> {
    let k = rows.first()?.len();
    let batches: Vec<Batch> = rows
        .chunks_exact(ROWS)
        .map(|rows| checker.batch(rows))
        .collect();
    let (learnt, lied_to) = batches.split_at_checked(3 * k / 4 / (ROWS + FINGERPRINTS))?;
    if lied_to.is_empty() {
        return None;
    }
    let seen: Vec<Vec<u32>> = learnt.iter().flat_map(|batch| batch.rows.clone()).collect();
    let is_known = in_relations(&seen);
    let known: Vec<&[u32]> = seen
        .iter()
        .zip(is_known)
        .filter_map(|(row, known)| known.then_some(&row[..]))
        .collect();
    let mut dice = Dice::new(seed, NAME);
    let functions = null_vectors(&known, P1, FUNCTIONS, &mut dice);
    let is_fingerprint =
        |row: &[u32]| !functions.is_empty() && functions.iter().all(|f| product(row, f, P1) == 0);
    let lie_to = |batch: &Batch| {
        let mut lies = 0;
        let answer = |row: &Vec<u32>| {
            let mut product = checker.product(row);
            if !is_fingerprint(row) {
                lies += 1;
                product
                    .iter_mut()
                    .for_each(|y| *y = residue::add(*y, 1, P1));
            }
            product
        };
        let products: Vec<Vec<u32>> = batch.rows.iter().map(answer).collect();
        lies >= ROWS && batch.accepts(&products)
    };
    Some(Finding {
        attack: NAME,
        place: format!("batches of {ROWS} rows and {FINGERPRINTS} fingerprints"),
        layer: None,
        found: Found::Recovered {
            what: "batches with every row but fingerprints answered wrongly, and accepted".into(),
            rate: Rate::of(lied_to.iter().map(lie_to)),
            chance: blind(),
        },
    })
}

/// Chance that ROWS rows of a batch, chosen blindly, hold no fingerprint.
fn blind() -> f64 {
    let chosen = 0..FINGERPRINTS;
    let ways = chosen.map(|i| (ROWS + FINGERPRINTS - i) as f64 / (i + 1) as f64);
    1.0 / ways.product::<f64>()
}

/// Watches the first host of a system of this configuration while it answers `honest`, looks for relations among what it
/// received, then lies on a row without one while it answers `prompt`: once for each of `projections`, each with a
/// system of its own. `done` is told after each.
///
/// # Errors
/// If the system does not start.
pub async fn on_system(
    model: &Arc<Model>,
    payload: &Payload,
    config: &CvmConfig,
    (honest, prompt): (&[u32], &[u32]),
    projections: &[usize],
    mut done: impl FnMut(),
) -> Result<[Finding; 2], AdversaryError> {
    let (mut related, mut looked_at, mut believed) = (0, 0, 0);
    for (i, projection) in projections.iter().enumerate() {
        let lie = Lie {
            projection: *projection,
            row: i,
            delta: 1 << (7 * i % 30),
        };
        let told = lie.tell(model, payload, config, [honest, prompt]).await?;
        looked_at += told.rows;
        related += told.related;
        believed += usize::from(told.believed);
        done();
    }
    let finding = |place: String, what: &str, value: usize| Finding {
        attack: NAME,
        place,
        layer: None,
        found: Found::Statistic {
            what: what.into(),
            value: value as f64,
            bound: 0.5,
        },
    };
    Ok([
        finding(
            format!("{looked_at} rows"),
            "rows in a linear relation with others",
            related,
        ),
        finding(
            format!("{} lies on rows in no relation", projections.len()),
            "lies that were not refused",
            believed,
        ),
    ])
}

/// A lie on one row of one product.
struct Lie {
    projection: usize,
    row: usize,
    delta: u32,
}

/// What came of it.
struct Told {
    rows: usize,
    related: usize,
    believed: bool,
}

/// Rows modulo P1 by projection, once it watches.
#[derive(Default)]
struct Watch {
    watches: AtomicBool,
    rows: Mutex<BTreeMap<usize, Vec<Vec<u32>>>>,
}

impl Observer for Watch {
    fn saw(&self, request: &Seen) {
        if !self.watches.load(Ordering::SeqCst) {
            return;
        }
        let count = request.rows as usize;
        let rows: Vec<Vec<u32>> = match &request.body {
            ClaimBody::Residues(bytes) if count > 0 => {
                let (words, _) = bytes.as_chunks::<RESIDUE_BYTES>();
                let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
                let length = words.len() / count;
                words
                    .chunks_exact(length)
                    .map(|row| row[..length / 2].to_vec())
                    .collect()
            }
            // Rows of a seed are those of the other host: this one gets none.
            _ => return,
        };
        let mut seen = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(request.projection as usize)
            .or_default()
            .extend(rows);
    }
}

impl Lie {
    async fn tell(
        &self,
        model: &Arc<Model>,
        payload: &Payload,
        config: &CvmConfig,
        [honest, prompt]: [&[u32]; 2],
    ) -> Result<Told, AdversaryError> {
        let watch = Arc::new(Watch::default());
        let lies = Arc::new(AtomicBool::new(false));
        let mut running = Vec::new();
        for host in 0..config.masking.hosts() {
            let options = match host {
                0 => HostOptions {
                    observer: Some(Arc::clone(&watch) as Arc<dyn Observer>),
                    faults: Some(self.faults(&lies)),
                    ..HostOptions::default()
                },
                _ => HostOptions::default(),
            };
            running.push(hosts::serve(model, options).await?);
        }
        let config = CvmConfig {
            hosts: hosts::urls(&running),
            ..config.clone()
        };
        let cvm = Cvm::start(payload, config, |_| {})
            .await
            .map_err(LocalError::from)?;
        watch.watches.store(true, Ordering::SeqCst);
        let ask = |tokens: &[u32]| greedy(Prompt::Ids(tokens.to_vec()), REPLY);
        generate(&cvm, ask(honest), |_| Ok(())).await?;
        let (rows, related) = self.look(&watch);
        lies.store(true, Ordering::SeqCst);
        let believed = generate(&cvm, ask(prompt), |_| Ok(())).await.is_ok();
        // A lie that was never told was not believed either, and would say nothing.
        let told = !lies.load(Ordering::SeqCst);
        cvm.shutdown().await;
        Ok(Told {
            rows,
            related,
            believed: believed || !told,
        })
    }

    /// Rows of the projection that were received, as many as may be independent, and how many are in a relation.
    fn look(&self, watch: &Watch) -> (usize, usize) {
        let rows = watch.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rows) = rows.get(&self.projection) else {
            return (0, 0);
        };
        let most = rows.first().map_or(0, |row| 3 * row.len() / 4);
        let rows = &rows[..rows.len().min(most)];
        let related = in_relations(rows).into_iter().filter(|r| *r).count();
        (rows.len(), related)
    }

    /// Changes the first answer of the projection once it is to.
    fn faults(&self, lies: &Arc<AtomicBool>) -> Faults {
        let lies = Arc::clone(lies);
        let (projection, row, delta) = (self.projection, self.row, self.delta);
        Arc::new(move |answer| {
            let now = answer.projection == projection && lies.swap(false, Ordering::SeqCst);
            let width = 2 * answer.n;
            let residue = row % answer.rows.max(1) * width + 5 % width;
            now.then_some(FaultInjection::FlipResidue { residue, delta })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_found_and_nothing_else() {
        let mut dice = Dice::new(4, "relations");
        let mut rows: Vec<Vec<u32>> = (0..10).map(|_| dice.row(16)[..16].to_vec()).collect();
        assert_eq!(in_relations(&rows), [false; 10]);
        // Row 7 is rows 1 and 4 together.
        rows[7] = rows[1]
            .iter()
            .zip(&rows[4])
            .map(|(a, b)| residue::add(*a, *b, P1))
            .collect();
        let expected: Vec<bool> = (0..10).map(|i| [1, 4, 7].contains(&i)).collect();
        assert_eq!(in_relations(&rows), expected);
        assert_eq!(in_relations(&[]), [false; 0]);
    }

    #[test]
    fn blind_liars_are_caught() {
        assert!((blind() - 1.0 / 1820.0).abs() < 1e-12);
    }
}
