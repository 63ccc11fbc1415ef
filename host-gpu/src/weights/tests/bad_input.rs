//! One test for each defect: refused, with what is wrong and what to do.

use std::fs;
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Value, json};
use talaria_wire::manifest::WeightFormat;

use super::checkpoint::{HIDDEN, Tiny, VOCAB};
use super::{Memory, load};
use crate::weights::{LoadError, Model, digest_dir};

const Q_PROJ: &str = "model.layers.1.self_attn.q_proj.weight";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const SHARD: &str = "model-00002-of-00002.safetensors";

/// Loading and the offline digest refuse alike, and say all of this.
#[track_caller]
fn check(dir: &Path, expected: &[&str]) -> LoadError {
    let error = load(dir, WeightFormat::Int16)
        .err()
        .expect("loading must be refused");
    let text = error.to_string();
    for part in expected {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    let offline = digest_dir(dir, WeightFormat::Int16, &mut |_| ());
    assert_eq!(
        offline.expect_err("the digest must be refused").to_string(),
        text
    );
    error
}

#[track_caller]
fn check_tiny(tiny: &Tiny, expected: &[&str]) {
    check(tiny.write().path(), expected);
}

#[track_caller]
fn check_config(key: &str, value: Value, expected: &[&str]) {
    check_tiny(Tiny::plain().set(key, value), expected);
}

#[test]
fn directory_that_is_not_there() {
    check(
        Path::new("no/such/directory"),
        &["no/such/directory", "config.json"],
    );
}

#[test]
fn directory_without_config() {
    let dir = Tiny::plain().write();
    fs::remove_file(dir.path().join("config.json")).unwrap();
    check(dir.path(), &["has no config.json", "Hugging Face"]);
}

#[test]
fn config_that_is_not_json() {
    let dir = Tiny::plain().write();
    fs::write(dir.path().join("config.json"), "{\"model_type\": \"lla").unwrap();
    check(dir.path(), &["config.json does not parse", "line 1"]);
}

#[test]
fn config_without_a_key() {
    check_tiny(
        Tiny::plain().unset("hidden_size"),
        &["config.json", "missing field `hidden_size`"],
    );
}

#[test]
fn config_with_a_value_of_another_type() {
    check_config(
        "num_hidden_layers",
        json!("two"),
        &["config.json", "expected u32"],
    );
}

#[test]
fn unsupported_architecture() {
    let expected = [
        "MambaForCausalLM is not supported",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
        "LlamaForCausalLM",
        "MistralForCausalLM",
    ];
    check_config("architectures", json!(["MambaForCausalLM"]), &expected);
}

#[test]
fn unsupported_model_type_without_architectures() {
    let mut tiny = Tiny::plain();
    tiny.unset("architectures").set("model_type", json!("gpt2"));
    check_tiny(
        &tiny,
        &["model_type gpt2 is not supported", "LlamaForCausalLM"],
    );
    tiny.unset("model_type");
    check_tiny(&tiny, &["neither architectures nor model_type"]);
}

#[test]
fn quantised_by_other_methods() {
    let config = json!({"quant_method": "bitsandbytes", "load_in_4bit": true});
    check_config(
        "quantization_config",
        config,
        &["quantised (bitsandbytes)", "gptq, awq", "original bf16"],
    );
}

#[test]
fn activation_other_than_silu() {
    check_config(
        "hidden_act",
        json!("gelu"),
        &["hidden_act gelu is not supported", "silu"],
    );
}

#[test]
fn rope_of_other_types() {
    for kind in ["proportional", "mrope", "su"] {
        let expected = format!("rope type {kind} is not supported");
        let supported = "default, linear, dynamic, yarn, longrope, llama3";
        let expected = [expected.as_str(), supported];
        check_config(
            "rope_scaling",
            json!({"rope_type": kind, "factor": 4.0}),
            &expected,
        );
        check_config(
            "rope_scaling",
            json!({"type": kind, "factor": 4.0}),
            &expected,
        );
        let mut tiny = Tiny::plain();
        tiny.set(
            "rope_parameters",
            json!({"rope_type": kind, "rope_theta": 1e4}),
        );
        check_tiny(&tiny, &expected);
    }
}

#[test]
fn rope_with_features_not_computed() {
    let sections = json!({"type": "default", "mrope_section": [2, 1, 1]});
    check_config(
        "rope_scaling",
        sections,
        &["mrope_section is not supported"],
    );
    check_config(
        "partial_rotary_factor",
        json!(0.5),
        &["partial_rotary_factor 0.5"],
    );
    let by_layer = json!({"full_attention": {"rope_type": "default"}});
    check_config(
        "rope_parameters",
        by_layer,
        &["by layer type (full_attention)"],
    );
    check_config("use_mrope", json!(true), &["use_mrope is not supported"]);
}

#[test]
fn rope_without_its_numbers() {
    let scaling = |keys: Value, expected: &str| check_config("rope_scaling", keys, &[expected]);
    for kind in ["linear", "dynamic", "llama3"] {
        scaling(json!({"type": kind}), "has no factor");
    }
    let llama3 = |low: f64, high: f64| json!({"type": "llama3", "factor": 8.0, "low_freq_factor": low, "high_freq_factor": high});
    scaling(
        json!({"type": "llama3", "factor": 8.0}),
        "has no low_freq_factor",
    );
    scaling(llama3(4.0, 4.0), "must exceed its low_freq_factor");
    scaling(
        llama3(0.0, 4.0),
        "low_freq_factor is 0, expected a positive",
    );
    for kind in ["linear", "dynamic", "llama3", "yarn", "longrope"] {
        for factor in [0.0, -4.0] {
            let keys = json!({"type": kind, "factor": factor});
            scaling(keys, &format!("factor is {factor}, expected a positive"));
        }
    }
    scaling(json!({"type": "dynamic", "factor": 0.5}), "factor = 0.5");
    scaling(
        json!({"type": "yarn", "factor": 2.0, "beta_fast": -1.0}),
        "beta_fast is -1",
    );
    scaling(
        json!({"type": "yarn", "factor": 2.0, "attention_factor": 0.0}),
        "attention_factor = 0",
    );
    scaling(json!({"type": "longrope"}), "has no short_factor");
    let short = json!({"type": "longrope", "short_factor": [1.0]});
    scaling(short, "short_factor has 1 numbers, half of head_dim is 2");
    let zero = json!({"type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [1.0, 0.0]});
    scaling(zero, "radians a position");
    check_config("rope_theta", json!(-1.0), &["theta = -1"]);
    check_config("rope_scaling", json!(3), &["rope_scaling"]);
}

#[test]
fn rope_spellings_that_differ() {
    let other = json!({"rope_type": "default", "rope_theta": 5e5});
    check_config(
        "rope_parameters",
        other,
        &["rope_theta is given twice and differs"],
    );
    let mut tiny = Tiny::plain();
    tiny.set("rope_parameters", json!({"rope_type": "default"}));
    tiny.set("rope_scaling", json!({"type": "linear", "factor": 2.0}));
    check_tiny(&tiny, &["rope scaling is given twice and differs"]);
}

#[test]
fn layer_types_that_cannot_be() {
    check_config(
        "layer_types",
        json!(["full_attention"]),
        &["1 entries, num_hidden_layers is 2"],
    );
    let other = json!(["full_attention", "linear_attention"]);
    check_config(
        "layer_types",
        other,
        &["layer type linear_attention is not supported"],
    );
    let sliding = json!(["full_attention", "sliding_attention"]);
    check_config("layer_types", sliding, &["no sliding_window is set"]);
}

#[test]
fn dimensions_that_cannot_be() {
    check_config(
        "num_attention_heads",
        json!(3),
        &["3 query heads cannot share 2 key heads"],
    );
    check_config("head_dim", json!(5), &["head_dim = 5 is odd"]);
    // Before anything is made of it.
    check_config("head_dim", json!(u32::MAX), &["head_dim = 4294967295"]);
    check_config("hidden_size", json!(0), &["hidden_size = 0"]);
    check_config("vocab_size", json!(u32::MAX), &["vocab_size = 4294967295"]);
    check_config(
        "num_hidden_layers",
        json!(u32::MAX),
        &["num_hidden_layers = 4294967295"],
    );
    check_config("num_hidden_layers", json!(0), &["num_hidden_layers = 0"]);
    check_config(
        "intermediate_size",
        json!(1 << 24),
        &["gate_proj", "expected [16777216, 8]"],
    );
    let mut tiny = Tiny::plain();
    tiny.unset("head_dim").set("num_attention_heads", json!(6));
    check_tiny(&tiny, &["hidden_size 8 cannot be shared by 6 heads"]);
}

#[test]
fn eos_outside_the_vocabulary() {
    check_config(
        "eos_token_id",
        json!([VOCAB, -1]),
        &[
            "config.json",
            "eos_token_id 20 is outside the vocabulary of 20 tokens",
        ],
    );
    let mut tiny = Tiny::plain();
    tiny.files.insert(
        "generation_config.json".into(),
        r#"{"eos_token_id": 99}"#.into(),
    );
    check_tiny(
        &tiny,
        &["generation_config.json: eos_token_id 99 is outside"],
    );
}

#[test]
fn broken_generation_config() {
    let mut tiny = Tiny::plain();
    tiny.files
        .insert("generation_config.json".into(), "{".into());
    check_tiny(&tiny, &["generation_config.json does not parse"]);
}

#[test]
fn broken_text_files() {
    for file in [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    ] {
        let mut tiny = Tiny::plain();
        tiny.files.insert(file.into(), "{\"model\": ".into());
        check_tiny(&tiny, &[file, "is not JSON", "EOF", "download it again"]);
    }
    let mut tiny = Tiny::plain();
    tiny.files
        .insert("chat_template.jinja".into(), vec![0xff, 0xfe]);
    check_tiny(&tiny, &["chat_template.jinja is not text"]);
}

#[test]
fn no_weights() {
    let dir = Tiny::plain().write();
    fs::remove_file(dir.path().join(WEIGHTS)).unwrap();
    check(
        dir.path(),
        &["has no weights", "*.safetensors", "download the weights"],
    );
    fs::write(dir.path().join("pytorch_model.bin"), "pickle").unwrap();
    check(dir.path(), &["pytorch_model.bin: convert it"]);
}

#[test]
fn missing_shard() {
    let dir = Tiny::plain().write_sharded();
    fs::remove_file(dir.path().join(SHARD)).unwrap();
    check(dir.path(), &[SHARD, "is missing", "download it again"]);
}

#[test]
fn index_that_names_files_elsewhere() {
    for shard in ["../model.safetensors", "/etc/passwd", "a\\b", "", ".."] {
        let dir = Tiny::plain().write_sharded();
        let index = json!({"weight_map": {"lm_head.weight": shard}}).to_string();
        fs::write(dir.path().join(INDEX), index).unwrap();
        check(
            dir.path(),
            &[INDEX, "not the name of a file in the same directory"],
        );
    }
}

#[test]
fn index_that_is_wrong() {
    let dir = Tiny::plain().write_sharded();
    fs::write(dir.path().join(INDEX), "[]").unwrap();
    check(dir.path(), &[INDEX, "does not parse"]);
    let index = json!({"weight_map": {"no.such.tensor": SHARD}}).to_string();
    fs::write(dir.path().join(INDEX), index).unwrap();
    check(dir.path(), &[SHARD, "no.such.tensor", "not there"]);
}

#[test]
fn missing_tensor() {
    for name in [Q_PROJ, "model.norm.weight", "model.embed_tokens.weight"] {
        let mut tiny = Tiny::plain();
        tiny.tensors.remove(name);
        check_tiny(&tiny, &[name, "is missing", "llama"]);
    }
}

#[test]
fn untied_without_head() {
    let mut tiny = Tiny::of("qwen2", Dtype::BF16);
    tiny.tensors.remove("lm_head.weight");
    let expected = ["lm_head.weight is missing", "tie_word_embeddings"];
    check_tiny(&tiny, &expected);
    check_tiny(tiny.unset("tie_word_embeddings"), &expected);
}

#[test]
fn tensor_that_the_family_does_not_have() {
    let mut tiny = Tiny::plain();
    tiny.add("model.layers.0.self_attn.q_norm.weight", &[4], Dtype::BF16);
    check_tiny(&tiny, &["q_norm.weight is not part of a llama model"]);
    let mut tiny = Tiny::plain();
    tiny.add("model.layers.0.mlp.up_proj.bias", &[12], Dtype::BF16);
    check_tiny(&tiny, &["up_proj.bias is not part of a llama model"]);
}

#[test]
fn wrong_shape() {
    let mut tiny = Tiny::plain();
    tiny.add(Q_PROJ, &[HIDDEN, 16], Dtype::BF16);
    check_tiny(&tiny, &[Q_PROJ, "shape [8, 16]", "expected [16, 8]"]);
    let mut tiny = Tiny::plain();
    tiny.add("model.norm.weight", &[HIDDEN, 1], Dtype::BF16);
    check_tiny(
        &tiny,
        &["model.norm.weight", "shape [8, 1]", "expected [8]"],
    );
}

#[test]
fn unsupported_dtype() {
    let mut tiny = Tiny::plain();
    tiny.tensor(Q_PROJ).dtype = Dtype::I32;
    check_tiny(
        &tiny,
        &[
            Q_PROJ,
            "stored as I32",
            "BF16, F16, F32",
            "quantization_config",
        ],
    );
}

#[test]
fn weights_that_are_not_finite() {
    for (bad, text) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
            let mut tiny = Tiny::of("llama", dtype);
            tiny.tensor(Q_PROJ).values[3 * HIDDEN + 5] = bad;
            check_tiny(&tiny, &[Q_PROJ, text, "[3, 5]", "finite"]);
        }
        let mut tiny = Tiny::plain();
        tiny.tensor("model.embed_tokens.weight").values[7 * HIDDEN + 1] = bad;
        check_tiny(&tiny, &["model.embed_tokens.weight", text, "[7, 1]"]);
        let mut tiny = Tiny::plain();
        tiny.tensor("model.norm.weight").values[6] = bad;
        check_tiny(&tiny, &["model.norm.weight", text, "[6]"]);
    }
}

#[test]
fn of_several_weights_that_are_not_finite_the_first_is_named() {
    for name in [Q_PROJ, "model.embed_tokens.weight"] {
        for _ in 0..20 {
            let mut tiny = Tiny::of("llama", Dtype::F32);
            let values = &mut tiny.tensor(name).values;
            for at in [HIDDEN + 5, 2 * HIDDEN, 6 * HIDDEN + 1, 7 * HIDDEN + 7] {
                values[at] = f32::NAN;
            }
            check_tiny(&tiny, &[name, "NaN", "[1, 5]"]);
        }
    }
}

#[test]
fn product_of_weight_and_gain_that_overflows() {
    let mut tiny = Tiny::of("llama", Dtype::F32);
    tiny.tensor("lm_head.weight").values[2 * HIDDEN + 4] = 1e30;
    tiny.tensor("model.norm.weight").values[4] = 1e30;
    check_tiny(
        &tiny,
        &["lm_head.weight", "inf", "[2, 4]", "times the gain"],
    );
}

#[test]
fn too_wide_for_exact_products() {
    // 1040 rows of 127 in one column exceed what leaves 14 bits only from some 13,000 on.
    let ffn = 20_000;
    let mut tiny = Tiny::plain();
    tiny.set("intermediate_size", json!(ffn))
        .set("num_hidden_layers", json!(1));
    for name in ["gate_proj", "up_proj"] {
        tiny.add(
            &format!("model.layers.0.mlp.{name}.weight"),
            &[ffn, HIDDEN],
            Dtype::BF16,
        );
    }
    let down = "model.layers.0.mlp.down_proj.weight";
    tiny.add(down, &[HIDDEN, ffn], Dtype::BF16);
    super::load_tiny(&tiny);
    tiny.tensor(down).values[5 * ffn..6 * ffn].fill(127.0 / 128.0);
    let int16 = "try int8 weights";
    check_tiny(
        &tiny,
        &[
            "layer 0 down is too wide",
            "output 5",
            "2540000",
            "14 bits",
            int16,
        ],
    );
    let error = load(tiny.write().path(), WeightFormat::Int8)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("output 5") && !error.contains("int8 weights"),
        "{error}"
    );
}

#[test]
fn truncated_file() {
    let whole = Tiny::plain().write();
    let path = whole.path().join(WEIGHTS);
    let bytes = fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        let found = format!("has {length}:");
        check(
            whole.path(),
            &[WEIGHTS, "is truncated", &found, "download it again"],
        );
    }
}

#[test]
fn bytes_after_the_end() {
    let dir = Tiny::plain().write();
    let path = dir.path().join(WEIGHTS);
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(0);
    fs::write(&path, &bytes).unwrap();
    check(
        dir.path(),
        &[WEIGHTS, "invalid safetensors header", "the file has"],
    );
}

/// Replaces the header of a good file, keeping its data.
fn with_header(change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let dir = Tiny::plain().write();
    let path = dir.path().join(WEIGHTS);
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let header = header.to_string().into_bytes();
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend(header);
    changed.extend(&bytes[8 + length..]);
    fs::write(&path, changed).unwrap();
    dir
}

#[test]
fn header_that_lies() {
    let lie = |change: &dyn Fn(&mut Value)| {
        let dir = with_header(|header| change(&mut header[Q_PROJ]));
        check(
            dir.path(),
            &[WEIGHTS, "invalid safetensors header", "download it again"],
        );
    };
    lie(&|q| q["shape"] = json!([16, 9]));
    lie(&|q| q["shape"] = json!([u64::MAX, u64::MAX]));
    lie(&|q| q["shape"] = json!([-1, 8]));
    lie(&|q| q["dtype"] = json!("F32"));
    lie(&|q| q["dtype"] = json!("F12"));
    lie(&|q| q["data_offsets"] = json!([0, 256]));
    lie(&|q| q["data_offsets"] = json!([256, 0]));
    lie(&|q| q["data_offsets"] = json!([0, u64::MAX]));
}

#[test]
fn header_that_promises_more_than_there_is() {
    let dir = with_header(|header| {
        let size = 1u64 << 40;
        let last = header.as_object().unwrap().values();
        let end = last
            .map(|t| t["data_offsets"][1].as_u64().unwrap())
            .max()
            .unwrap();
        let huge = json!({"dtype": "BF16", "shape": [size], "data_offsets": [end, end + 2 * size]});
        header["zzz"] = huge;
    });
    check(dir.path(), &[WEIGHTS, "is truncated"]);
}

#[test]
fn header_that_claims_to_be_huge() {
    let dir = Tiny::plain().write();
    let path = dir.path().join(WEIGHTS);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    check(
        dir.path(),
        &["claims to be 18446744073709551615 bytes long", "100000000"],
    );
    bytes[..8].copy_from_slice(&99_999_999u64.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    check(dir.path(), &["is truncated", "100000007"]);
}

#[test]
fn header_that_is_not_json() {
    let dir = Tiny::plain().write();
    fs::write(dir.path().join(WEIGHTS), b"\x04\0\0\0\0\0\0\0!!!!").unwrap();
    check(dir.path(), &[WEIGHTS, "invalid safetensors header"]);
}

#[test]
fn device_without_room() {
    let dir = Tiny::plain().write();
    let small = Box::new(Memory::of_bytes(1000));
    let refused = Model::load(dir.path(), WeightFormat::Int16, small, &mut |_| {
        panic!("nothing is quantised before all matrices have room")
    });
    let text = refused.err().unwrap().to_string();
    assert!(
        text.contains("out of device memory") && text.contains("1000"),
        "{text}"
    );
}

#[test]
fn device_in_use() {
    use crate::backend::{Backend, MatrixShape};
    let mut used = Memory::default();
    let shape = MatrixShape {
        k: 1,
        n: 1,
        format: WeightFormat::Int8,
    };
    used.add_matrix(shape).unwrap();
    let dir = Tiny::plain().write();
    let refused = Model::load(dir.path(), WeightFormat::Int16, Box::new(used), &mut |_| ());
    let text = refused.err().unwrap().to_string();
    assert!(text.contains("held 1 matrices"), "{text}");
}
