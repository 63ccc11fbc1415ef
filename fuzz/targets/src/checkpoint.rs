//! Checkpoints: a directory of files that anybody may have made.

use std::fs;
use std::path::Path;

use ::safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use talaria_host_gpu::weights::checkpoint::Checkpoint;
use talaria_host_gpu::weights::gguf::header::Header;
use talaria_host_gpu::weights::safetensors::TensorFile;
use talaria_host_gpu::weights::{
    config as config_json, digest_dir, generation as defaults, json, survey_dir,
};
use talaria_wire::manifest::WeightFormat;
use tempfile::TempDir;

use crate::Seed;
use crate::parts::{join, parts};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const GGUF: &str = "model.gguf";
const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 2] = [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];

/// In the order of the parts.
const FILES: [&str; 7] = [
    CONFIG,
    WEIGHTS,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];

/// Most layers of a seed.
const MAX_LAYERS: usize = 4096;

/// `config.json`: a decoder whose dimensions are in range, or an error.
pub fn config(data: &[u8]) {
    let Ok(described) = config_json::describe(data) else {
        return;
    };
    described.decoder.validate().expect("it was validated");
    assert!((1..=MAX_LAYERS).contains(&described.windows.len()));
    let shapes = described.shapes();
    assert!(shapes.iter().all(|(_, k, n)| *k > 0 && *n > 0));
}

/// `generation_config.json`: ids are of the vocabulary.
pub fn generation(data: &[u8]) {
    let config = tiny_config("llama").to_string();
    let described = config_json::describe(config.as_bytes()).expect("a seed");
    let Ok(generation) = defaults::describe(Some(data), &described.config) else {
        return;
    };
    let vocab = described.decoder.vocab_size;
    assert!(generation.eos_token_ids.iter().all(|id| *id < vocab));
    assert!(generation.top_k != Some(0));
}

/// JSON as Python reads it: what is made of it stays as it is, and so does all that was JSON before.
pub fn python_json(data: &[u8]) {
    let normal = json::normal(data);
    // Of several byte order marks, which no JSON has, one is skipped.
    if !normal.starts_with("\u{feff}".as_bytes()) {
        assert_eq!(json::normal(&normal), normal);
    }
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        assert_eq!(normal, data);
        assert_eq!(serde_json::from_slice::<Value>(&normal).ok(), Some(value));
    }
    let _checked = json::value("fuzz.json", data);
}

/// A safetensors file: tensors that lie within it and can be read.
pub fn safetensors(data: &[u8]) {
    with_files(&[(WEIGHTS, data)], |dir| {
        let Ok(file) = TensorFile::open(&dir.join(WEIGHTS)) else {
            return;
        };
        for (_, part) in file.parts() {
            assert!(part.bytes() <= data.len());
            let mut bytes = vec![0; part.bytes()];
            part.read(0, &mut bytes).expect("it lies within the file");
        }
    });
}

/// A GGUF file: measured and hashed alike, or refused alike, and no header outgrows its file.
pub fn gguf(data: &[u8]) {
    with_files(&[(GGUF, data)], |dir| {
        let file = dir.join(GGUF);
        if let Ok(header) = Header::read(&file) {
            for info in header.tensors.values() {
                assert!(!info.shape.contains(&0) && info.row_bytes > 0);
                let rows = info.shape.iter().rev().skip(1).product::<usize>();
                assert!(info.start as usize + rows * info.row_bytes <= data.len());
            }
        }
        let format = WeightFormat::Int8;
        let surveyed = survey_dir(&file, format, &mut |_| ());
        let digest = digest_dir(&file, format, &mut |_| ());
        if let Err(surveyed) = surveyed {
            let refused = digest.expect_err("a refused file has no digest");
            assert_eq!(surveyed.to_string(), refused.to_string());
        }
    });
}

/// An index, then two shards, as parts: every tensor is in the file that the index says.
pub fn shards(data: &[u8]) {
    let names = [INDEX, SHARDS[0], SHARDS[1]];
    let files: Vec<_> = names.into_iter().zip(parts(data)).collect();
    with_files(&files, |dir| {
        if let Ok(checkpoint) = Checkpoint::open(dir, "llama", None) {
            for name in checkpoint.names() {
                assert!(checkpoint.has(name));
                if let Ok(tensor) = checkpoint.tensor(name, &[2, 3]) {
                    assert_eq!((tensor.shape(), tensor.width()), (&[2, 3][..], 3));
                    let _finite = tensor.read_all();
                }
            }
        }
    });
}

/// A whole checkpoint, its files as parts: measured and hashed alike, or refused alike.
pub fn checkpoint(data: &[u8]) {
    let files: Vec<_> = FILES.into_iter().zip(parts(data)).collect();
    with_files(&files, |dir| {
        let format = WeightFormat::Int8;
        let surveyed = survey_dir(dir, format, &mut |_| ());
        let digest = digest_dir(dir, format, &mut |_| ());
        match (surveyed, digest) {
            (Ok(_), _) => {}
            (Err(surveyed), digest) => {
                let refused = digest.expect_err("a refused checkpoint has no digest");
                assert_eq!(refused.to_string(), surveyed.to_string());
            }
        }
    });
}

/// Makes a directory of these files; one without bytes is not there.
fn with_files(files: &[(&str, &[u8])], run: impl FnOnce(&Path)) {
    let dir = TempDir::new().expect("a temporary directory");
    for (name, bytes) in files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        fs::write(dir.path().join(name), bytes).expect("a temporary file");
    }
    run(dir.path());
}

/// Two layers, 8 wide.
fn tiny_config(family: &str) -> Value {
    let architecture = match family {
        "qwen3" => "Qwen3ForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "mistral" => "MistralForCausalLM",
        _ => "LlamaForCausalLM",
    };
    json!({
        "architectures": [architecture], "model_type": family, "hidden_act": "silu", "hidden_size": 8,
        "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 4, "vocab_size": 20, "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": false, "eos_token_id": [1, 3], "bos_token_id": 2,
    })
}

/// Tensors of made-up numbers.
fn tensors(shapes: &[(&str, &[usize])]) -> Vec<u8> {
    let numbers = |count: usize| (0..count).map(|i| (i as f32 * 0.7).sin());
    let bytes: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(_, shape)| {
            numbers(shape.iter().product())
                .flat_map(f32::to_le_bytes)
                .collect()
        })
        .collect();
    let views = shapes.iter().zip(&bytes).map(|((name, shape), bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        (*name, view.expect("as many bytes as elements"))
    });
    serialize(views, None).expect("tensors of one type")
}

fn tiny_weights() -> Vec<u8> {
    tensors(&[
        ("model.embed_tokens.weight", &[20, 8]),
        ("model.norm.weight", &[8]),
        ("lm_head.weight", &[20, 8]),
        ("model.layers.0.self_attn.q_proj.weight", &[8, 8]),
        ("model.layers.0.self_attn.k_proj.weight", &[4, 8]),
        ("model.layers.0.self_attn.v_proj.weight", &[4, 8]),
        ("model.layers.0.self_attn.o_proj.weight", &[8, 8]),
        ("model.layers.0.mlp.gate_proj.weight", &[12, 8]),
        ("model.layers.0.mlp.up_proj.weight", &[12, 8]),
        ("model.layers.0.mlp.down_proj.weight", &[8, 12]),
        ("model.layers.0.input_layernorm.weight", &[8]),
        ("model.layers.0.post_attention_layernorm.weight", &[8]),
    ])
}

/// The fixtures', one of each family.
pub fn config_seeds() -> Vec<Seed> {
    vec![
        Seed::new(
            "llama.json",
            include_str!("../../../tests/fixtures/tiny-llama/config.json"),
        ),
        Seed::new(
            "mistral.json",
            include_str!("../../../tests/fixtures/tiny-mistral/config.json"),
        ),
        Seed::new(
            "qwen2.json",
            include_str!("../../../tests/fixtures/tiny-qwen2/config.json"),
        ),
        Seed::new(
            "qwen3.json",
            include_str!("../../../tests/fixtures/demo-qwen3/config.json"),
        ),
        Seed::new("layer-types.json", layer_types().to_string()),
    ]
}

fn layer_types() -> Value {
    let mut config = tiny_config("qwen3");
    config["layer_types"] = json!(["sliding_attention"]);
    config["sliding_window"] = json!(9);
    config["use_sliding_window"] = json!(true);
    config["rope_scaling"] = json!({ "type": "linear", "factor": 2.0 });
    config
}

/// A fixture's, and one with a single id.
pub fn generation_seeds() -> Vec<Seed> {
    let one = json!({ "eos_token_id": 3, "bos_token_id": 2, "do_sample": true, "temperature": 0.7, "top_k": 20,
                      "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.1 });
    vec![
        Seed::new("one.json", one.to_string()),
        Seed::new(
            "many.json",
            json!({ "eos_token_id": [3, 19.0, 99], "top_k": -1 }).to_string(),
        ),
        Seed::new(
            "demo.json",
            include_str!("../../../tests/fixtures/demo-qwen3/generation_config.json"),
        ),
    ]
}

/// All that Python reads and RFC 8259 does not allow, and what neither does.
pub fn json_seeds() -> Vec<Seed> {
    let all = r#"{"a": NaN, "b": [Infinity, -Infinity, 1e999, -2.50], "c": "\ud83d \ud83d\ude00 \"", "a": 50.0}"#;
    vec![
        Seed::new("all.json", format!("\u{feff}{all}")),
        Seed::new("cut.json", r#"{"a": "\ud8"#),
    ]
}

/// Some tensors, none, and a header that claims more than there is.
pub fn safetensors_seeds() -> Vec<Seed> {
    let some = tensors(&[("a", &[2, 3]), ("b", &[4]), ("empty", &[0, 7])]);
    vec![
        Seed::new("some", &some[..]),
        Seed::new("none", tensors(&[])),
        Seed::new("cut", &some[..some.len() - 9]),
    ]
}

/// A llama as gguf-py writes it, and every type.
pub fn gguf_seeds() -> Vec<Seed> {
    let llama = include_bytes!("../../../tests/fixtures/gguf/llama.gguf");
    let types = include_bytes!("../../../tests/fixtures/gguf/types.gguf");
    vec![
        Seed::new("llama", &llama[..]),
        Seed::new("types", &types[..]),
        Seed::new("cut", &llama[..llama.len() / 3]),
    ]
}

/// Two shards with an index and without one, and an index that names a file elsewhere.
pub fn shard_seeds() -> Vec<Seed> {
    const A: &str = "language_model.model.embed_tokens.weight";
    const B: &str = "language_model.lm_head.weight";
    let shards = || [tensors(&[(A, &[2, 3])]), tensors(&[(B, &[2, 3])])];
    let with = |index: Value| {
        let [first, second] = shards();
        join([index.to_string().into_bytes(), first, second])
    };
    let [first, second] = SHARDS;
    let index = json!({ "metadata": { "total_size": 48 }, "weight_map": { A: first, B: second } });
    let elsewhere = json!({ "weight_map": { A: "../model.safetensors" } });
    vec![
        Seed::new("two", with(index)),
        Seed::new("elsewhere", with(elsewhere)),
        // An empty part is no file.
        Seed::new("without-index", join([vec![]].into_iter().chain(shards()))),
    ]
}

/// A llama with all files, and one with only those it needs.
pub fn checkpoint_seeds() -> Vec<Seed> {
    let needed = [
        tiny_config("llama").to_string().into_bytes(),
        tiny_weights(),
    ];
    let text = [
        json!({ "eos_token_id": 3, "temperature": 0.7 }).to_string(),
        "{}".into(),
        json!({ "bos_token": "<s>" }).to_string(),
        "{}".into(),
        "{{ messages }}".into(),
    ];
    let all = needed.iter().cloned().chain(text.map(String::into_bytes));
    vec![
        Seed::new("all", join(all)),
        Seed::new("needed", join(&needed)),
    ]
}
