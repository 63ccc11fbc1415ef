//! Runs prompts through the real system, one after the other, with a recorder beside each GPU host.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use talaria_host_cvm::{Cvm, CvmConfig, CvmError, Masking, Payload, Prompt};
use talaria_host_gpu::record::{Observer, Recorder, Seen};
use talaria_host_gpu::weights::Model;
use talaria_local::LocalError;
use talaria_local::generate::{generate, greedy};
use talaria_local::hosts::{self, Host, HostOptions};

use super::files::{FORMAT, Facts, Label, Labels};
use crate::error::AdversaryError;

/// Longest wait for a recorder to be let go of.
const LET_GO: Duration = Duration::from_secs(10);

/// What is run.
#[derive(Clone)]
pub struct Plan {
    /// How the system runs; `hosts` is filled in.
    pub config: CvmConfig,
    /// In this order.
    pub asks: Vec<Ask>,
}

/// One prompt.
#[derive(Clone)]
pub struct Ask {
    /// Whether the attacker sends it.
    pub own: bool,
    /// What is asked.
    pub prompt: Prompt,
    /// Tokens of the reply; it does not end before.
    pub max_new_tokens: u32,
}

/// A recorder that counts.
struct Tap {
    recorder: Recorder,
    sends: AtomicU64,
}

impl Observer for Tap {
    fn saw(&self, request: &Seen) {
        self.recorder.saw(request);
        self.sends.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs the plan and writes a capture into `out`, which must not hold one yet. `progress` is told after each prompt.
///
/// # Errors
/// If the system does not run, or files cannot be written.
pub async fn capture(
    model: &Arc<Model>,
    payload: &Payload,
    plan: &Plan,
    out: &Path,
    mut progress: impl FnMut(usize),
) -> Result<(), AdversaryError> {
    if out.join("capture.json").exists() {
        let message = format!(
            "{} holds a capture: give --out another directory",
            out.display()
        );
        return Err(AdversaryError::Usage(message));
    }
    let digest = model
        .digest()
        .map_err(|error| AdversaryError::System(LocalError::from(error)))?;
    let (mut running, mut taps) = (Vec::new(), Vec::new());
    for host in 0..plan.config.masking.hosts() {
        let dir = out.join(format!("host{}", host + 1));
        let recorder = Recorder::create(&dir, digest, &model.manifest_bytes)
            .map_err(AdversaryError::file(&dir))?;
        let tap = Arc::new(Tap {
            recorder,
            sends: AtomicU64::new(0),
        });
        let options = HostOptions {
            observer: Some(Arc::clone(&tap) as Arc<dyn Observer>),
            ..HostOptions::default()
        };
        running.push(hosts::serve(model, options).await?);
        taps.push(tap);
    }
    let config = CvmConfig {
        hosts: hosts::urls(&running),
        ..plan.config.clone()
    };
    let (masking, parameters) = (config.masking, config.parameters.name.to_owned());
    let public_seed = hex::encode(config.public_seed);
    let cvm = start(payload, config).await?;
    let setup_sends: Vec<u64> = taps
        .iter()
        .map(|tap| tap.sends.load(Ordering::SeqCst))
        .collect();
    let (mut begins, mut requests) = (Vec::new(), Vec::new());
    for (done, ask) in plan.asks.iter().enumerate() {
        begins.push(taps[0].sends.load(Ordering::SeqCst) - setup_sends[0]);
        requests.push(answer(&cvm, ask).await?);
        progress(done + 1);
    }
    cvm.shutdown().await;
    stop(running, taps).await?;
    let labels = Labels {
        format: FORMAT,
        requests,
    };
    labels.write(out)?;
    let facts = Facts {
        format: FORMAT,
        masking: masking.name().into(),
        model_digest: hex::encode(digest.0),
        module_lwe: (masking == Masking::ModuleLwe).then_some((parameters, public_seed)),
        setup_sends,
        begins,
    };
    facts.write(out)
}

async fn start(payload: &Payload, config: CvmConfig) -> Result<Cvm, AdversaryError> {
    let minted = config.masking.is_minted();
    let cvm = Cvm::start(payload, config, |_| {})
        .await
        .map_err(LocalError::from)?;
    if minted {
        cvm.warm_up().await.map_err(LocalError::from)?;
    }
    Ok(cvm)
}

async fn answer(cvm: &Cvm, ask: &Ask) -> Result<Label, AdversaryError> {
    let mut request = greedy(ask.prompt.clone(), ask.max_new_tokens);
    request.ignore_eos = true;
    let outcome = generate(cvm, request, |_| Ok(())).await?;
    Ok(Label {
        own: ask.own,
        prompt_ids: outcome.prompt_ids,
        token_ids: outcome.token_ids,
    })
}

/// Stops the hosts and closes the records.
async fn stop(running: Vec<Host>, taps: Vec<Arc<Tap>>) -> Result<(), AdversaryError> {
    let stopping = tokio::task::spawn_blocking(move || {
        for host in running {
            // Its end is all that is wanted; an error of the server comes after the last answer.
            let _ = host.server.stop();
        }
    });
    stopping
        .await
        .map_err(|_| AdversaryError::System(LocalError::Defect("stopping a GPU host")))?;
    let begun = std::time::Instant::now();
    for mut tap in taps {
        // The last one to hold a recorder waits for its file.
        while let Err(held) = Arc::try_unwrap(tap) {
            if begun.elapsed() > LET_GO {
                return Err(AdversaryError::System(CvmError::Stopped.into()));
            }
            tap = held;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}
