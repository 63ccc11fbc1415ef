//! Secrets that are drawn once and used for all rows: a basis of masks, known answers. Both are broken where they are
//! used, and the same attacks find nothing in what the real system sends.

use crate::common::{Lab, SEED, assert_at_chance, assert_recovers};
use crate::measured::texts;
use talaria_adversary::attacks::fingerprints;
use talaria_adversary::baselines::fingerprints::{Checker, Kind};
use talaria_adversary::baselines::static_basis;
use talaria_adversary::commands::game;
use talaria_adversary::dice::Dice;
use talaria_adversary::metrics::score::Truth;
use talaria_adversary::metrics::{Measure, Outcome};
use talaria_adversary::view::View;
use talaria_arithmetic::P1;
use talaria_host_cvm::{Masking, Prompt};

const MODEL: &str = "demo-qwen3";

const NOTHING: Truth = Truth {
    tokens: Vec::new(),
    requests: Vec::new(),
    vocab_size: 1,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_basis_is_found_from_sends_and_names_every_token() {
    let lab = Lab::new(MODEL).await;
    let capture = lab.capture(Masking::DangerousPlaintext, texts()).await;
    let truth = lab.truth(&capture);
    let plain = &View::of_capture(&capture)[0];
    for size in [8, 32, 128] {
        let exact = static_basis::exactly(plain, &lab.copy, size, SEED);
        let floats = static_basis::in_floats(plain, &lab.copy, size, SEED);
        for view in [exact, floats] {
            // A row alone shows nothing.
            assert_at_chance(&lab.attack(&["nearest"], &view, &truth));
            let found = lab.attack(&["static-basis"], &view, &truth);
            assert_recovers(&found, "static basis, span");
            assert_recovers(&found, "static basis, tokens");
            let dimension = format!("of dimension {size}");
            let is_size = |o: &Outcome| matches!(&o.measure, Measure::Recovered { what, .. } if what.ends_with(&dimension));
            assert!(found.iter().any(is_size), "{found:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_basis_tells_two_prompts_apart_at_every_layer() {
    let lab = Lab::new("tiny-llama").await;
    let sides = [5, 9].map(|token| Prompt::Ids(vec![token]));
    let capture = lab.capture(Masking::DangerousPlaintext, game(&sides, 400, 1, SEED));
    let capture = capture.await;
    let truth = lab.truth(&capture);
    let plain = &View::of_capture(&capture)[0];
    for view in [
        static_basis::exactly(plain, &lab.copy, 8, SEED),
        static_basis::in_floats(plain, &lab.copy, 8, SEED),
    ] {
        let found = lab.attack(&["static-basis"], &view, &truth);
        let told: Vec<&Outcome> = found
            .iter()
            .filter(|o| o.attack == "two prompts, static basis")
            .collect();
        assert_eq!(told.len(), lab.copy.layers());
        assert!(told.iter().all(|o| o.recovery() == Some(1.0)), "{found:#?}");
    }
    // Fresh masks.
    for masking in [Masking::Shares, Masking::ModuleLwe] {
        let capture = lab.capture(masking, game(&sides, 400, 1, SEED)).await;
        let truth = lab.truth(&capture);
        for view in View::of_capture(&capture) {
            let found = lab.attack(&["static-basis"], &view, &truth);
            match view.scheme.ends_with("both hosts") {
                true => assert_recovers(&found, "two prompts, static basis"),
                false => assert_at_chance(&found),
            }
        }
    }
}

#[test]
fn every_row_beside_fingerprints_can_be_answered_wrongly() {
    let (k, mut dice) = (192, Dice::new(SEED, "rows"));
    let rows: Vec<Vec<u32>> = (0..1200)
        .map(|_| (0..k).map(|_| dice.residue(P1)).collect())
        .collect();
    for (kind, size) in [(Kind::Reused, 8), (Kind::Combined, 8), (Kind::Combined, 32)] {
        let mut checker = Checker::new(kind, size, k, SEED);
        let found = fingerprints::on_baseline(&rows, &mut checker, SEED).expect("enough rows");
        let outcome = Outcome::new(&checker.scheme(), found, &NOTHING);
        assert_eq!(outcome.recovery(), Some(1.0), "{outcome:#?}");
    }
    // Fingerprints that were never used before are in no relation: then the check stands.
    let mut checker = Checker::new(Kind::Combined, 150, k, SEED);
    let found = fingerprints::on_baseline(&rows, &mut checker, SEED).expect("enough rows");
    let outcome = Outcome::new("fresh", found, &NOTHING);
    assert_eq!(outcome.recovery(), Some(0.0), "{outcome:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_has_no_fingerprints_and_refuses_every_lie() {
    let lab = Lab::new("tiny-llama").await;
    let honest: Vec<u32> = (1..40).collect();
    for masking in [Masking::Shares, Masking::ModuleLwe] {
        let found = lab.fingerprints(masking, &honest).await;
        let outcomes = found.map(|found| Outcome::new(masking.name(), found, &NOTHING));
        assert_at_chance(&outcomes);
    }
}
