//! SmolLM2-135M-Instruct from its GGUF file, with int8 weights: a small capture and a few attacks. Where
//! `TALARIA_SMOLLM2` names no file this is skipped, or fails with `TALARIA_REQUIRE_SMOLLM2=1`.

use std::path::PathBuf;

use crate::common::{Lab, assert_at_chance, assert_recovers};
use talaria_adversary::commands::asks;
use talaria_adversary::view::View;
use talaria_host_cvm::Masking;
use talaria_local::hosts::Device;
use talaria_wire::manifest::WeightFormat;

fn file() -> Option<PathBuf> {
    let file = std::env::var_os("TALARIA_SMOLLM2").map(PathBuf::from);
    let required = std::env::var_os("TALARIA_REQUIRE_SMOLLM2").is_some_and(|v| v == "1");
    assert!(
        file.is_some() || !required,
        "TALARIA_SMOLLM2 names no file, and TALARIA_REQUIRE_SMOLLM2=1"
    );
    if file.is_none() {
        eprintln!("WARNING: skipped, no real model: TALARIA_SMOLLM2 names no file");
    }
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_model_is_captured_and_attacked() {
    let Some(file) = file() else { return };
    let device = Device {
        weights: WeightFormat::Int8,
        ..Device::default()
    };
    let lab = Lab::of(&file, device).await;
    let own = ["The capital of France is".to_owned()];
    let others = ["A slice is a view into a block of memory.".to_owned()];
    let texts = || asks(&own, &others, 2);
    for masking in [Masking::DangerousPlaintext, Masking::Shares] {
        let capture = lab.capture(masking, texts()).await;
        let truth = lab.truth(&capture);
        for view in View::of_capture(&capture) {
            let found = lab.attack(&["nearest", "reuse"], &view, &truth);
            let hidden = masking == Masking::Shares && !view.scheme.ends_with("both hosts");
            match hidden {
                true => assert_at_chance(&found),
                false => assert_recovers(&found, "nearest, L2"),
            }
        }
    }
}
