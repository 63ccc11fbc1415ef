//! Attacks work where they should, and find nothing where nothing is to be found: on what hosts of the real system
//! recorded, and on baselines simulated from it.

use crate::common::{Lab, SEED, assert_at_chance, assert_recovers};
use talaria_adversary::attacks::tamper;
use talaria_adversary::baselines::{additive, gelo, permutation, remo};
use talaria_adversary::commands::{asks, game};
use talaria_adversary::metrics::{Outcome, Verdict};
use talaria_adversary::report::{OTHER_PROMPTS, OWN_PROMPTS};
use talaria_adversary::view::View;
use talaria_host_cvm::{Masking, Prompt};

const MODEL: &str = "demo-qwen3";
/// Every attack on content.
const CONTENT: [&str; 15] = [
    "nearest",
    "sorted",
    "null-space",
    "span",
    "gram",
    "ica",
    "reuse",
    "averaging",
    "correlation",
    "distinguisher",
    "ind-game",
    "lattice",
    "inversion",
    "vocabulary",
    "static-basis",
];

pub(crate) fn texts() -> Vec<talaria_adversary::capture::Ask> {
    let lines = |text: &str, count: usize| {
        text.lines()
            .take(count)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    asks(&lines(OWN_PROMPTS, 24), &lines(OTHER_PROMPTS, 8), 12)
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_and_every_baseline_are_recovered() {
    let lab = Lab::new(MODEL).await;
    let capture = lab.capture(Masking::DangerousPlaintext, texts()).await;
    let truth = lab.truth(&capture);
    let plain = &View::of_capture(&capture)[0];
    let attack = |names: &[&str], view: &View| lab.attack(names, view, &truth);

    let found = attack(&CONTENT, plain);
    for name in [
        "largest element",
        "nearest, cosine",
        "nearest, L2",
        "sorted values",
        "span",
        "inversion, ridge",
        "vocabulary, direct",
        "correlation, across layers",
    ] {
        assert_recovers(&found, name);
    }
    let leaks = |name: &str| {
        found
            .iter()
            .any(|o| o.attack == name && o.verdict == Verdict::Leaks)
    };
    assert!(
        leaks("bit planes") && leaks("reuse") && leaks("repeated rows"),
        "{found:#?}"
    );

    let permuted = permutation::apply(plain, &lab.copy, SEED);
    let found = attack(&["nearest", "sorted", "vocabulary"], &permuted);
    assert_recovers(&found, "sorted values");
    assert_recovers(&found, "vocabulary, sorted");

    let mixed = gelo::apply(plain, &lab.copy, gelo::SHIELDS, SEED);
    let found = attack(&["nearest", "span", "gram", "ica"], &mixed);
    assert_recovers(&found, "span");
    assert_recovers(&found, "gram");

    for rank in [0.25, 0.5, 0.998] {
        let exact = remo::exactly(plain, &lab.copy, rank, SEED);
        assert_recovers(&attack(&["null-space"], &exact), "null space, exact");
        let floats = remo::in_floats(plain, &lab.copy, rank, SEED);
        assert_recovers(&attack(&["null-space"], &floats), "null space, floats");
    }
    // With m = k nothing is left outside of the masks.
    let full = remo::exactly(plain, &lab.copy, 1.0, SEED);
    assert_at_chance(&attack(&["nearest", "null-space"], &full));
    let low = remo::low_rank(plain, &lab.copy, 4, SEED);
    assert_recovers(&attack(&["lattice"], &low), "lattice");

    let narrow = additive::apply(plain, &lab.copy, 0.1, SEED);
    assert_recovers(&attack(&["nearest"], &narrow), "nearest, cosine");
    let wide = additive::apply(plain, &lab.copy, 1e6, SEED);
    assert_at_chance(&attack(&["nearest"], &wide));
    // What hides costs the digits: the reason for integers.
    let error = |lambda| additive::float32_error(plain, &lab.copy, lambda, SEED).unwrap();
    assert!(
        error(0.1) < 1e-4 && error(1e6) > 0.1,
        "{} {}",
        error(0.1),
        error(1e6)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn remo_as_the_system_runs_it_is_recovered() {
    let lab = Lab::new(MODEL).await;
    let capture = lab.capture(Masking::Remo, texts()).await;
    let truth = lab.truth(&capture);
    let view = &View::of_capture(&capture)[0];
    let found = lab.attack(&["nearest", "null-space"], view, &truth);
    let exact: Vec<&Outcome> = found
        .iter()
        .filter(|o| o.attack == "null space, exact")
        .collect();
    // At the embedding and at layer 0.
    assert_eq!(exact.len(), 2);
    assert!(
        exact.iter().all(|o| o.verdict == Verdict::Recovered),
        "{exact:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_and_module_lwe_are_at_chance_and_both_hosts_of_shares_are_not() {
    let lab = Lab::new(MODEL).await;
    for masking in [Masking::Shares, Masking::ModuleLwe] {
        let capture = lab.capture(masking, texts()).await;
        let truth = lab.truth(&capture);
        for view in View::of_capture(&capture) {
            if view.scheme.ends_with("both hosts") {
                let found = lab.attack(&["nearest", "vocabulary", "inversion"], &view, &truth);
                for name in [
                    "largest element",
                    "nearest, L2",
                    "vocabulary, direct",
                    "inversion, ridge",
                ] {
                    assert_recovers(&found, name);
                }
            } else {
                assert_at_chance(&lab.attack(&CONTENT, &view, &truth));
            }
            let found = lab.attack(&["traffic"], &view, &truth);
            // Lengths are in plain sight, whatever the mask.
            assert_eq!(found[0].attack, "traffic, lengths");
            assert_eq!(found[0].recovery(), Some(1.0));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_prompts_cannot_be_told_apart() {
    let lab = Lab::new("tiny-llama").await;
    let sides = [5, 9].map(|token| Prompt::Ids(vec![token]));
    for masking in Masking::ALL {
        let capture = lab.capture(masking, game(&sides, 1200, 1, SEED)).await;
        let truth = lab.truth(&capture);
        for view in View::of_capture(&capture) {
            let found = lab.attack(&["ind-game", "averaging"], &view, &truth);
            assert!(found.len() > 4, "{}: {}", view.scheme, found.len());
            let hides =
                ["shares, host 1", "shares, host 2", "module-lwe"].contains(&view.scheme.as_str());
            match hides {
                true => assert_at_chance(&found),
                false if masking == Masking::Remo => {
                    assert_recovers(&found, "two prompts, null space")
                }
                false => assert_recovers(&found, "two prompts, means"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_are_refused_alike_for_every_prompt() {
    let lab = Lab::new("tiny-llama").await;
    for masking in [Masking::Shares, Masking::ModuleLwe] {
        let finding = lab.tamper(masking, [vec![1, 2, 3], vec![4, 5, 6]]).await;
        let nothing = talaria_adversary::metrics::score::Truth {
            tokens: Vec::new(),
            requests: Vec::new(),
            vocab_size: 1,
        };
        assert_at_chance(&[Outcome::new(tamper::NAME, finding, &nothing)]);
    }
}
