//! A checkpoint, loaded, with the attacker's copy of it and the system that answers with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use talaria_adversary::attacks::{self, Attack, Effort, Finding, Scene, fingerprints, tamper};
use talaria_adversary::capture::{Ask, Capture, Plan, capture};
use talaria_adversary::metrics::score::Truth;
use talaria_adversary::metrics::{Measure, Outcome, Verdict};
use talaria_adversary::own_copy::OwnCopy;
use talaria_adversary::view::{View, known, truth};
use talaria_host_cvm::{CvmConfig, Masking, Payload, embedded_payload};
use talaria_host_gpu::weights::Model;
use talaria_local::hosts::{Device, load};

/// Seed of attacks.
pub(crate) const SEED: u64 = 7;

/// What a test attacks.
pub(crate) struct Lab {
    pub model: Arc<Model>,
    pub copy: OwnCopy,
    payload: Payload,
}

impl Lab {
    pub(crate) async fn new(fixture: &str) -> Self {
        Self::of(&fixture_dir(fixture), Device::default()).await
    }

    /// Of any checkpoint.
    pub(crate) async fn of(path: &Path, device: Device) -> Self {
        let model = load(path, device, |_| {}).await.expect("a checkpoint");
        Self {
            copy: OwnCopy::new(&model).expect("weights"),
            payload: Payload::load(embedded_payload(), Some(&cache_dir())).expect("payload"),
            model,
        }
    }

    /// Captures into a directory.
    pub(crate) async fn write(&self, masking: Masking, asks: Vec<Ask>, out: &Path) {
        let plan = Plan {
            config: config(masking),
            asks,
        };
        let captured = capture(&self.model, &self.payload, &plan, out, |_| {}).await;
        captured.unwrap_or_else(|error| panic!("{masking}: {error}"));
    }

    /// Captures and reads back.
    pub(crate) async fn capture(&self, masking: Masking, asks: Vec<Ask>) -> Capture {
        let dir = tempfile::tempdir().expect("a directory");
        let out = dir.path().join("capture");
        self.write(masking, asks, &out).await;
        Capture::read(&out, self.copy.digest, &|_| true).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Lies beside what would be fingerprints, to the running system.
    pub(crate) async fn fingerprints(&self, masking: Masking, honest: &[u32]) -> [Finding; 2] {
        let last = self.copy.manifest.projections.len() - 1;
        let (config, projections) = (config(masking), [0, 1, 4, last]);
        let told = fingerprints::on_system(
            &self.model,
            &self.payload,
            &config,
            (honest, &[1, 2, 3]),
            &projections,
            || (),
        );
        told.await
            .unwrap_or_else(|error| panic!("{masking}: {error}"))
    }

    /// Attacks a view.
    pub(crate) fn attack(&self, names: &[&str], view: &View, truth: &Truth) -> Vec<Outcome> {
        let attacks: Vec<&'static Attack> = names
            .iter()
            .map(|name| attacks::find(name).expect("an attack"))
            .collect();
        let known = known(truth);
        let scene = Scene {
            view,
            copy: &self.copy,
            known: &known,
            seed: SEED,
            effort: Effort {
                matched_rows: 10,
                epochs: 8,
                public_rows: 1024,
                ..Effort::default()
            },
        };
        attacks::run_all(&attacks, &scene, truth, &|| ())
    }

    /// Lies to the running system.
    pub(crate) async fn tamper(&self, masking: Masking, prompts: [Vec<u32>; 2]) -> Finding {
        let config = config(masking);
        let told = tamper::run(&self.model, &self.payload, &config, prompts, || ()).await;
        told.unwrap_or_else(|error| panic!("{masking}: {error}"))
    }

    /// The truth of a capture.
    pub(crate) fn truth(&self, capture: &Capture) -> Truth {
        truth(capture, self.copy.manifest.decoder.vocab_size as usize)
    }
}

/// What an attack at chance exceeds: tests compare some hundred outcomes, and must not fail by chance.
const MISS: f64 = 1e-7;

/// Every attack on a view finds no more than chance.
pub(crate) fn assert_at_chance(outcomes: &[Outcome]) {
    assert!(!outcomes.is_empty());
    for outcome in outcomes {
        let at_chance = match &outcome.measure {
            Measure::Tokens(tokens) => tokens.top1.missing_with(MISS).0 <= tokens.chance,
            Measure::Bags { recall, chance, .. } => recall.missing_with(MISS).0 <= *chance,
            Measure::Game { won, .. } => {
                let (low, high) = won.missing_with(MISS);
                (low..=high).contains(&0.5)
            }
            _ => outcome.verdict == Verdict::AtChance,
        };
        assert!(at_chance, "{outcome:#?}");
    }
}

/// This attack recovers 95 % or more.
pub(crate) fn assert_recovers(outcomes: &[Outcome], attack: &str) {
    let found = outcomes
        .iter()
        .find(|outcome| outcome.attack == attack && outcome.verdict == Verdict::Recovered);
    assert!(found.is_some(), "{attack}: {outcomes:#?}");
}

pub(crate) fn fixture_dir(fixture: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(fixture)
}

fn config(masking: Masking) -> CvmConfig {
    CvmConfig {
        masking,
        cache_dir: Some(cache_dir()),
        ..CvmConfig::default()
    }
}

/// Where programs look for their caches: one compilation of the payload for all tests.
pub(crate) const CACHE_HOME: &str = env!("CARGO_TARGET_TMPDIR");

fn cache_dir() -> PathBuf {
    Path::new(CACHE_HOME).join("talaria")
}
