//! Rotary embeddings: every spelling, and the formulas in f64. Values of transformers: tests/rope_goldens.rs.

use std::f64::consts::TAU;

use serde_json::{Value, json};
use talaria_wire::manifest::{Decoder, Rope, RopeFrequencies};

use super::checkpoint::Tiny;
use super::load_tiny;

/// The tiny checkpoint (64 positions) with these keys, heads of `head_dim` and no weights.
fn decoder_of(head_dim: u32, keys: Value) -> Decoder {
    let mut tiny = Tiny::plain();
    tiny.unset("rope_theta").set("head_dim", json!(head_dim));
    for (key, value) in keys.as_object().unwrap() {
        tiny.set(key, value.clone());
    }
    let config = serde_json::to_vec(&tiny.config).unwrap();
    crate::weights::config::describe(&config).unwrap().decoder
}

fn fixed(rope: &Rope) -> Vec<f32> {
    match &rope.frequencies {
        RopeFrequencies::Fixed(all) => all.clone(),
        other => panic!("{other:?}"),
    }
}

/// theta^(-2i / d) in f64.
fn base(theta: f64, d: u32) -> impl Iterator<Item = f64> {
    (0..d / 2).map(move |i| theta.powf(-2.0 * f64::from(i) / f64::from(d)))
}

#[track_caller]
fn assert_close(found: &[f32], exact: impl IntoIterator<Item = f64>, tolerance: f64) {
    let exact: Vec<f64> = exact.into_iter().collect();
    assert_eq!(found.len(), exact.len());
    for (i, (found, exact)) in found.iter().zip(exact).enumerate() {
        let error = (f64::from(*found) / exact - 1.0).abs();
        assert!(
            error <= tolerance,
            "frequency {i}: {found}, expected {exact}"
        );
    }
}

#[test]
fn rope_in_every_spelling() {
    let with = |keys: Value| decoder_of(32, keys).rope;
    assert_close(&fixed(&with(json!({}))), base(1e4, 32), 6e-7);
    let null = with(json!({"rope_theta": 1e6, "rope_scaling": null}));
    assert_close(&fixed(&null), base(1e6, 32), 6e-7);
    let keys = |name: &str| {
        json!({name: "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32})
    };
    let legacy = with(json!({"rope_theta": 5e5, "rope_scaling": keys("rope_type")}));
    let mut both = keys("rope_type");
    both["rope_theta"] = json!(5e5);
    for same in [
        json!({"rope_theta": 5e5, "rope_scaling": keys("type")}),
        json!({"rope_parameters": both}),
        json!({"rope_parameters": both, "rope_theta": 5e5, "rope_scaling": keys("type")}),
    ] {
        assert_eq!(with(same), legacy);
    }
    // The tiny checkpoint is loaded with it, not only described.
    let mut tiny = Tiny::plain();
    tiny.set("rope_scaling", json!({"type": "linear", "factor": 2}));
    let loaded = load_tiny(&tiny).manifest.decoder;
    assert_close(&fixed(&loaded.rope), base(1e4, 4).map(|f| f / 2.0), 6e-7);
}

#[test]
fn linear_divides_every_frequency() {
    let decoder = decoder_of(
        64,
        json!({"rope_scaling": {"type": "linear", "factor": 4.0}}),
    );
    assert_close(&fixed(&decoder.rope), base(1e4, 64).map(|f| f / 4.0), 6e-7);
    assert_eq!(decoder.max_position_embeddings, 64);
}

/// The formula of Llama 3.1, in f64.
fn llama3_reference(f: f64, factor: f64, low: f64, high: f64, original: f64) -> f64 {
    let turns = original * f / TAU;
    let smooth = ((turns - low) / (high - low)).clamp(0.0, 1.0);
    (1.0 - smooth) * f / factor + smooth * f
}

#[test]
fn llama3_scales_long_keeps_short_and_ramps_between() {
    // The shape of a tiny test model with all three branches, then of Llama 3.2.
    for (d, factor, original) in [(32, 8.0, 64), (64, 32.0, 8192)] {
        let scaling = json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": original});
        let rope = decoder_of(d, json!({"rope_theta": 5e5, "rope_scaling": scaling})).rope;
        let original = f64::from(original);
        let exact = base(5e5, d).map(|f| llama3_reference(f, factor, 1.0, 4.0, original));
        let found = fixed(&rope);
        assert_close(&found, exact, 1e-5);
        let kept = |(f, scaled): (f64, &f32)| (f64::from(*scaled) / f * factor * 1e4).round();
        let ratios: Vec<f64> = base(5e5, d).zip(&found).map(kept).collect();
        assert_eq!(ratios[0], factor * 1e4, "the shortest wavelength is kept");
        assert_eq!(ratios.last(), Some(&1e4), "the longest is divided");
        assert!(
            ratios.iter().any(|r| *r > 1e4 && *r < factor * 1e4),
            "some are between"
        );
    }
}

#[test]
fn yarn_of_qwen() {
    // As the model cards of Qwen2.5 and Qwen3 say for long contexts.
    let scaling = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768});
    let keys =
        json!({"rope_theta": 1e6, "rope_scaling": scaling, "max_position_embeddings": 40960});
    let decoder = decoder_of(128, keys);
    assert_eq!(decoder.max_position_embeddings, 131_072);
    let factor = decoder.rope.attention_factor;
    assert_eq!(factor, (0.1 * 4f64.ln() + 1.0) as f32);
    // Pairs that turn 32 times in 32768 positions and more: up to 23; once and less: from 40.
    let ramp = |i: u32| ((f64::from(i) - 23.0) / 17.0).clamp(0.0, 1.0);
    let exact = base(1e6, 128)
        .zip(0..)
        .map(|(f, i)| f * (1.0 - ramp(i) * 0.75));
    assert_close(&fixed(&decoder.rope), exact, 1e-6);
}

#[test]
fn yarn_takes_its_optional_keys() {
    let with = |more: Value| {
        let mut scaling = json!({"rope_type": "yarn", "factor": 8.0,
            "original_max_position_embeddings": 64});
        let keys = more.as_object().unwrap().clone();
        scaling.as_object_mut().unwrap().extend(keys);
        decoder_of(32, json!({"rope_scaling": scaling})).rope
    };
    let plain = with(json!({}));
    assert_eq!(plain.attention_factor, (0.1 * 8f64.ln() + 1.0) as f32);
    assert_eq!(
        with(json!({"attention_factor": 1.25})).attention_factor,
        1.25
    );
    // DeepSeek's pair; one alone means nothing.
    let pair = with(json!({"mscale": 1.0, "mscale_all_dim": 0.5}));
    let expected = (0.1 * 8f64.ln() + 1.0) / (0.05 * 8f64.ln() + 1.0);
    assert_eq!(pair.attention_factor, expected as f32);
    for alone in [
        json!({"mscale": 2.0}),
        json!({"mscale": 2.0, "mscale_all_dim": 0}),
    ] {
        assert_eq!(with(alone), plain);
    }
    // 0 is as if it were not there.
    assert_eq!(with(json!({"beta_fast": 0, "beta_slow": 0.0})), plain);
    let distinct = [
        with(json!({"beta_fast": 4.0})),
        with(json!({"beta_slow": 3.0})),
        with(json!({"truncate": false})),
    ];
    for rope in &distinct {
        assert_ne!(fixed(rope), fixed(&plain));
    }
    // Without a factor, by the lengths: 64 / 16.
    let scaling =
        json!({"rope_type": "yarn", "factor": null, "original_max_position_embeddings": 16});
    let by_lengths = decoder_of(32, json!({"rope_scaling": scaling}));
    assert_eq!(
        by_lengths.rope.attention_factor,
        (0.1 * 4f64.ln() + 1.0) as f32
    );
    assert_eq!(by_lengths.max_position_embeddings, 64);
}

#[test]
fn longrope_has_two_sets() {
    let keys = |scaling: Value, more: Value| {
        let mut keys = json!({"rope_scaling": scaling});
        let more = more.as_object().unwrap().clone();
        keys.as_object_mut().unwrap().extend(more);
        decoder_of(4, keys)
    };
    let scaling = json!({"type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 12],
        "original_max_position_embeddings": 16});
    let decoder = keys(scaling.clone(), json!({}));
    assert_eq!(decoder.max_position_embeddings, 64);
    // sqrt(1 + ln 4 / ln 16)
    assert_eq!(decoder.rope.attention_factor, 1.5f64.sqrt() as f32);
    let RopeFrequencies::ByLength {
        short,
        long,
        original_max_position_embeddings: original,
    } = &decoder.rope.frequencies
    else {
        panic!("{:?}", decoder.rope)
    };
    assert_eq!(*original, 16);
    assert_close(short, [1.0, 0.01 / 1.5], 6e-7);
    assert_close(long, [0.5, 0.01 / 12.0], 6e-7);
    // Nothing changes where both are equal, so nothing is ever computed again.
    let equal = json!({"type": "longrope", "short_factor": [2, 4], "long_factor": [2.0, 4.0]});
    assert_close(&fixed(&keys(equal, json!({})).rope), [0.5, 0.0025], 6e-7);
    // Phi-3 writes the original context beside the rope's keys, and that wins.
    let beside = keys(scaling, json!({"original_max_position_embeddings": 32}));
    let expected = (1.0 + 2f64.ln() / 32f64.ln()).sqrt() as f32;
    assert_eq!(beside.rope.attention_factor, expected);
}

#[test]
fn dynamic_goes_beyond_max_position_embeddings() {
    let scaling = json!({"rope_type": "dynamic", "factor": 3.0});
    let decoder = decoder_of(32, json!({"rope_theta": 5e4, "rope_scaling": scaling}));
    assert_eq!(decoder.max_position_embeddings, 192);
    let expected = RopeFrequencies::Dynamic {
        theta: 5e4,
        factor: 3.0,
        original_max_position_embeddings: 64,
    };
    assert_eq!(decoder.rope.frequencies, expected);
}
