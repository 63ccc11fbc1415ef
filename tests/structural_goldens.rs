//! The payload's decoder with integer weights against Hugging Face transformers in float32.

use talaria_guest::setup::Scheme;
use talaria_tests::{
    golden::{MODELS, Tensors, assert_close, golden},
    native::Native,
};
use talaria_wire::manifest::WeightFormat;

const PLAIN: Scheme = Scheme::DangerousPlaintext;

#[test]
fn greedy_tokens_of_every_prompt_of_every_model() {
    for model in MODELS {
        let native = Native::load(model, WeightFormat::Int16, PLAIN);
        for prompt in golden(model).prompts {
            let found = native.greedy(&prompt.ids, prompt.greedy_ids.len());
            assert_eq!(found, prompt.greedy_ids, "{model} {}", prompt.name);
        }
    }
}

#[test]
fn logits_of_every_prompt_and_every_position() {
    for model in MODELS {
        let native = Native::load(model, WeightFormat::Int16, PLAIN);
        let tensors = Tensors::read(model);
        let mut worst = 0f32;
        for prompt in golden(model).prompts {
            let name = format!("{}.logits_last", prompt.name);
            let logits = native.logits(&mut native.state(), &prompt.ids, 0, 1);
            worst = worst.max(assert_close(
                &format!("{model} {name}"),
                &logits,
                &tensors.f32(&name),
            ));
        }
        let ids = tensors.ids("p1.input_ids");
        let logits = native.logits(&mut native.state(), &ids, 0, ids.len());
        worst = worst.max(assert_close(
            &format!("{model} p1"),
            &logits,
            &tensors.f32("p1.logits_all"),
        ));
        eprintln!("{model}: logits off by at most {worst:.1e}");
    }
}

#[test]
fn hidden_states_after_every_layer() {
    for model in MODELS {
        let native = Native::load(model, WeightFormat::Int16, PLAIN);
        let tensors = Tensors::read(model);
        let (states, _) = native.hidden_states(&tensors.ids("p1.input_ids"));
        assert_eq!(states.len(), native.ready.manifest.layers.len() + 1);
        for (layer, state) in states.iter().enumerate() {
            let name = format!("p1.hidden.{layer}");
            let worst = assert_close(&format!("{model} {name}"), state, &tensors.f32(&name));
            eprintln!("{model} {name}: off by at most {worst:.1e}");
        }
    }
}

/// Mean negative log-likelihood of the demo's evaluation passages, in nats a token.
fn evaluation_loss(format: WeightFormat) -> f64 {
    let native = Native::load("demo-qwen3", format, PLAIN);
    let tensors = Tensors::read("demo-qwen3");
    let eval = golden("demo-qwen3").eval.expect("the demo has passages");
    let mut losses = Vec::new();
    for passage in 0..eval.passages.len() {
        let ids = tensors.ids(&format!("eval{passage}.input_ids"));
        let logits = native.logits(&mut native.state(), &ids, 0, ids.len());
        let vocab = logits.len() / ids.len();
        for (row, next) in logits.chunks(vocab).zip(&ids[1..]) {
            let max = row.iter().fold(f32::NEG_INFINITY, |m, l| m.max(*l));
            let sum: f64 = row.iter().map(|l| f64::from(l - max).exp()).sum();
            losses.push(sum.ln() - f64::from(row[*next as usize] - max));
        }
    }
    losses.iter().sum::<f64>() / losses.len() as f64
}

#[test]
fn evaluation_loss_with_int16_and_int8_weights() {
    let expected = golden("demo-qwen3")
        .eval
        .expect("the demo has passages")
        .mean_nll;
    for (format, tolerance) in [(WeightFormat::Int16, 1e-4), (WeightFormat::Int8, 0.01)] {
        let loss = evaluation_loss(format);
        eprintln!("{}: {loss:.5} nats, float32 {expected:.5}", format.name());
        assert!(
            (loss - expected).abs() <= tolerance,
            "{}: {loss}, float32 {expected}",
            format.name()
        );
    }
}

#[test]
fn every_masking_gives_the_same_bits() {
    let ids: Vec<u32> = (0..40).map(|i| i * 11 % 500).collect();
    for model in ["tiny-llama", "tiny-mistral", "tiny-qwen2"] {
        let logits = |scheme| {
            let native = Native::load(model, WeightFormat::Int16, scheme);
            let logits = native.logits(&mut native.state(), &ids, 0, ids.len());
            logits.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let plain = logits(PLAIN);
        assert!(plain == logits(Scheme::Shares), "{model}: shares");
        assert!(plain == logits(Scheme::Remo), "{model}: remo");
    }
}
