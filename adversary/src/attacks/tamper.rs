//! Lies as questions.
//!
//! *Source:* reaction attacks on ciphers and on lattice-based encryption (Hall, Goldberg and Schneier, 1999). *Input:* a
//! running system; the host is the attacker and may send wrong products. *Method:* the same lie is told while one and
//! while the other of two prompts of equal length is in work: changes of one residue by 1, which rounding would
//! forgive, by about half of Delta, which it would forgive for some rows and not for others, and by more. The attacker
//! watches whether the CVM goes on, and how many requests follow. *Metric:* lies after which the two prompts looked
//! different. *Breaks:* a check that depends on rows, or none. *Chance:* none looks different.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use talaria_host_cvm::{Cvm, CvmConfig, Payload, Prompt};
use talaria_host_gpu::server::fault::{FaultInjection, Faults};
use talaria_host_gpu::weights::Model;
use talaria_local::LocalError;
use talaria_local::generate::{generate, greedy};
use talaria_local::hosts::{self, HostOptions};

use super::{Finding, Found};
use crate::error::AdversaryError;

/// Name of the attack.
pub const NAME: &str = "tamper";

/// What is added to a residue.
const DELTAS: [u32; 3] = [1, 1 << 19, 1 << 29];
/// Answers of a request after which the lie comes: at the embedding, early and late in the layers.
const ANSWERS: [u64; 3] = [0, 1, 4];
/// Tokens of a reply.
const REPLY: u32 = 2;

/// What the host sees of one lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reaction {
    went_on: bool,
    answers_after: u64,
}

/// Lies to a system of this configuration while it answers each of two prompts; `done` is told after each lie.
///
/// # Errors
/// If the system does not start.
pub async fn run(
    model: &Arc<Model>,
    payload: &Payload,
    config: &CvmConfig,
    prompts: [Vec<u32>; 2],
    mut done: impl FnMut(),
) -> Result<Finding, AdversaryError> {
    let mut differing = 0;
    let mut lies = 0;
    for delta in DELTAS {
        for answer in ANSWERS {
            let mut reactions = Vec::new();
            for prompt in &prompts {
                let lie = Lie { delta, answer };
                reactions.push(lie.tell(model, payload, config, prompt).await?);
            }
            lies += 1;
            differing += usize::from(reactions[0] != reactions[1] || reactions[0].went_on);
            done();
        }
    }
    Ok(Finding {
        attack: NAME,
        place: format!("{lies} lies with each of two prompts"),
        layer: None,
        found: Found::Statistic {
            what: "lies that were not refused, or after which the prompts looked different".into(),
            value: differing as f64,
            bound: 0.5,
        },
    })
}

struct Lie {
    delta: u32,
    answer: u64,
}

impl Lie {
    async fn tell(
        &self,
        model: &Arc<Model>,
        payload: &Payload,
        config: &CvmConfig,
        prompt: &[u32],
    ) -> Result<Reaction, AdversaryError> {
        let answered = Arc::new(AtomicU64::new(0));
        let target = Arc::new(AtomicU64::new(u64::MAX));
        let faults = self.faults(&answered, &target);
        let mut running = Vec::new();
        for host in 0..config.masking.hosts() {
            let options = HostOptions {
                faults: (host == 0).then(|| faults.clone()),
                ..HostOptions::default()
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
        let at = answered.load(Ordering::SeqCst) + self.answer;
        target.store(at, Ordering::SeqCst);
        let request = greedy(Prompt::Ids(prompt.to_vec()), REPLY);
        let went_on = generate(&cvm, request, |_| Ok(())).await.is_ok();
        let answers_after = answered.load(Ordering::SeqCst).saturating_sub(at + 1);
        cvm.shutdown().await;
        Ok(Reaction {
            went_on,
            answers_after,
        })
    }

    fn faults(&self, answered: &Arc<AtomicU64>, target: &Arc<AtomicU64>) -> Faults {
        let (answered, target) = (Arc::clone(answered), Arc::clone(target));
        let delta = self.delta;
        Arc::new(move |answer| {
            answered.fetch_add(1, Ordering::SeqCst);
            let lie = FaultInjection::FlipResidue { residue: 3, delta };
            (answer.nth == target.load(Ordering::SeqCst)).then_some(lie)
        })
    }
}
