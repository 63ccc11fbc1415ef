//! Rotary embeddings for long contexts against Hugging Face transformers in float32 (fixtures/rope): below the original
//! context, across its end in decode, and beyond it from the first token.

use serde::Deserialize;
use serde_json::Value;
use std::{fs, path::PathBuf};
use talaria_guest::{ops::Rope, setup::Scheme};
use talaria_host_gpu::weights::config;
use talaria_tests::{
    golden::{Tensors, assert_close, model_dir},
    native::Native,
    system::{Setup, ids_request},
};
use talaria_wire::manifest::WeightFormat;

const CASES: [&str; 6] = [
    "linear",
    "yarn",
    "yarn-mscale",
    "longrope",
    "longrope-factor",
    "dynamic",
];

/// CASE.json.
#[derive(Deserialize)]
struct Case {
    /// A folder of fixtures, whose weights and tokenizer are taken.
    checkpoint: String,
    /// Its config.json with other rope keys.
    config: Value,
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    ids: Vec<u32>,
    greedy_ids: Vec<u32>,
}

impl Case {
    fn read(name: &str) -> Self {
        let bytes = fs::read(fixtures(&format!("{name}.json"))).expect("fixture");
        serde_json::from_slice(&bytes).expect("golden")
    }

    /// The checkpoint with this case's config.json.
    fn write(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for entry in fs::read_dir(model_dir(&self.checkpoint)).expect("fixture") {
            let path = entry.expect("fixture").path();
            let name = path.file_name().expect("a file");
            fs::copy(&path, dir.path().join(name)).expect("room for a copy");
        }
        let config = serde_json::to_vec(&self.config).expect("JSON");
        fs::write(dir.path().join("config.json"), config).expect("room for a file");
        dir
    }
}

fn fixtures(file: &str) -> PathBuf {
    model_dir("rope").join(file)
}

#[test]
fn logits_and_greedy_tokens_below_across_and_beyond_the_original_context() {
    for name in CASES {
        let case = Case::read(name);
        let dir = case.write();
        let native = Native::load_path(dir.path(), WeightFormat::Int16, Scheme::DangerousPlaintext);
        let tensors = Tensors::of(&fixtures(&format!("{name}.safetensors")));
        for (i, prompt) in case.prompts.iter().enumerate() {
            let steps = native.greedy_steps(&prompt.ids, prompt.greedy_ids.len());
            let found: Vec<u32> = steps.iter().map(|(token, _)| *token).collect();
            assert_eq!(found, prompt.greedy_ids, "{name} p{i}");
            for (what, step) in [("first", &steps[0]), ("last", &steps[steps.len() - 1])] {
                let expected = tensors.f32(&format!("p{i}.logits_{what}"));
                let worst = assert_close(&format!("{name} p{i} {what}"), &step.1, &expected);
                eprintln!("{name} p{i}: {what} logits off by at most {worst:.1e}");
            }
        }
    }
}

/// Through Wasm, many at once, with prompts cut into chunks: neither the cut nor the others may matter.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_side_by_side_and_in_chunks() {
    for name in ["yarn", "longrope", "dynamic"] {
        let case = Case::read(name);
        let dir = case.write();
        for max_batch_rows in [7, 64] {
            let setup = Setup {
                max_batch_rows,
                ..Setup::default()
            };
            let system = setup.start(dir.path()).await;
            let requests = (case.prompts.iter())
                .map(|p| ids_request(&p.ids, p.greedy_ids.len() as u32))
                .collect();
            let outcomes = system.ask_all(requests).await;
            for (i, (prompt, outcome)) in case.prompts.iter().zip(outcomes).enumerate() {
                let found = outcome.token_ids;
                assert_eq!(
                    found, prompt.greedy_ids,
                    "{name} p{i}, {max_batch_rows} rows"
                );
            }
        }
    }
}

/// angles.json.
#[derive(Deserialize)]
struct Angles {
    name: String,
    config: Value,
    positions: Vec<usize>,
}

/// At position p a frequency f that differs in its last bits turns the angle by up to p * f * 2^-23 for each, and the angle
/// is rounded to f32 itself.
#[test]
fn angles_at_large_positions() {
    let described = fs::read(fixtures("angles.json")).expect("fixture");
    let described: Vec<Angles> = serde_json::from_slice(&described).expect("golden");
    let tensors = Tensors::of(&fixtures("angles.safetensors"));
    let (mut equal, mut all) = (0, 0);
    for Angles {
        name,
        config,
        positions,
    } in described
    {
        let mut config = config;
        for (key, value) in [
            ("intermediate_size", 8),
            ("num_hidden_layers", 1),
            ("vocab_size", 8),
        ] {
            config[key] = value.into();
        }
        let bytes = serde_json::to_vec(&config).expect("JSON");
        let decoder = config::describe(&bytes)
            .unwrap_or_else(|e| panic!("{name}: {e}"))
            .decoder;
        let last = *positions.last().expect("positions");
        assert!(last < decoder.max_position_embeddings as usize || name == "qwen3");
        let rope = Rope::new(&decoder.rope, decoder.head_dim as usize);
        let (cos, sin) = (
            tensors.f32(&format!("{name}.cos")),
            tensors.f32(&format!("{name}.sin")),
        );
        let half = decoder.head_dim as usize / 2;
        let factor = decoder.rope.attention_factor;
        for (row, position) in positions.into_iter().enumerate() {
            let frequencies = rope.of_length(position + 1);
            let rotation = frequencies.rotation(position);
            let at = row * half..(row + 1) * half;
            for (found, expected) in [
                (rotation.cos(), &cos[at.clone()]),
                (rotation.sin(), &sin[at]),
            ] {
                for ((found, expected), f) in found.iter().zip(expected).zip(frequencies.radians())
                {
                    let ulp = 2f32.powi(-23);
                    let tolerance = factor * ulp * (2.0 + 4.0 * position as f32 * f);
                    assert!(
                        (found - expected).abs() <= tolerance,
                        "{name}, position {position}, {f} radians: {found}, expected {expected}"
                    );
                    equal += usize::from(found == expected);
                    all += 1;
                }
            }
        }
        let found = rope.of_length(last + 1).radians().to_vec();
        let expected = tensors.f32(&format!("{name}.inv_freq"));
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found - expected).abs();
            // yarn and llama3 round some more times.
            assert!(
                error <= expected * 6e-7,
                "{name}: {found}, expected {expected}"
            );
        }
    }
    eprintln!("{equal} of {all} cosines and sines are equal to the last bit");
}
