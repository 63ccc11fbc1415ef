//! Goldens of every scheme (tests/make_goldens.py), and tensors that contradict each other.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView, serialize};
use safetensors::{SafeTensors, tensor::Metadata};
use serde_json::{Value, json};
use talaria_wire::manifest::WeightFormat;
use tempfile::TempDir;

use super::scheme;
use crate::weights::checkpoint::Checkpoint;
use crate::weights::tests::checkpoint::{HEAD_DIM, HEADS, KV_HEADS, Tiny, VOCAB};
use crate::weights::{LoadError, digest_dir};

const LAYER: &str = "model.layers.0.mlp.up_proj";
const WEIGHT: &str = "model.layers.0.mlp.up_proj.weight";

const GOLDENS: [&str; 20] = [
    "awq",
    "awq-one-group",
    "float-quantized-block",
    "float-quantized-channel",
    "fp8-block",
    "fp8-block-ragged",
    "fp8-channel",
    "fp8-tensor",
    "fp8-tensor-inv",
    "gptq-4",
    "gptq-4-desc-act",
    "gptq-4-v2-one-group",
    "gptq-8",
    "int-quantized-channel",
    "int-quantized-tensor",
    "naive-quantized-group",
    "pack-quantized-4",
    "pack-quantized-4-actorder",
    "pack-quantized-4-zeros",
    "pack-quantized-8-channel",
];

/// A golden file: configuration, tensors of the layer, weights expected.
struct Golden {
    config: Value,
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
    shape: Vec<usize>,
    expected: Vec<f32>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/weights/quantised/tests");
        let bytes = fs::read(dir.join(format!("{name}.safetensors"))).unwrap();
        let (_, metadata): (_, Metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let config = &metadata.metadata().as_ref().unwrap()["quantization_config"];
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let expected = file.tensor("expected").unwrap();
        let tensors = file.iter().filter(|(name, _)| *name != "expected");
        Self {
            config: serde_json::from_str(config).unwrap(),
            tensors: tensors
                .map(|(name, t)| (name.into(), t.dtype(), t.shape().into(), t.data().into()))
                .collect(),
            shape: expected.shape().into(),
            expected: bytemuck::pod_collect_to_vec(expected.data()),
        }
    }

    /// The bytes of a part, and its shape.
    fn part(&mut self, part: &str) -> (&mut Vec<usize>, &mut Vec<u8>) {
        let name = format!("{LAYER}.{part}");
        let found = self.tensors.iter_mut().find(|(tensor, ..)| *tensor == name);
        let (_, _, shape, bytes) = found.unwrap();
        (shape, bytes)
    }

    fn remove(&mut self, part: &str) {
        let name = format!("{LAYER}.{part}");
        self.tensors.retain(|(tensor, ..)| *tensor != name);
    }

    fn write(&self) -> TempDir {
        let dir = TempDir::new().unwrap();
        let views = self.tensors.iter().map(|(name, dtype, shape, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
            (name, view)
        });
        fs::write(
            dir.path().join("model.safetensors"),
            serialize(views, None).unwrap(),
        )
        .unwrap();
        dir
    }

    /// The layer's weights, as they load.
    fn load(&self) -> Result<Vec<f32>, LoadError> {
        let scheme = scheme::describe(&self.config)?;
        let dir = self.write();
        let checkpoint = Checkpoint::open(dir.path(), "llama", scheme.as_ref())?;
        let names: Vec<_> = checkpoint
            .names()
            .filter(|name| !name.ends_with(".bias"))
            .collect();
        assert_eq!(names, [WEIGHT], "every part belongs to the weight");
        checkpoint.tensor(WEIGHT, &self.shape)?.read_all()
    }

    #[track_caller]
    fn check_refused(&self, expected: &[&str]) {
        let error = self.load().unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn weights_are_those_of_the_reference() {
    for name in GOLDENS {
        let golden = Golden::read(name);
        let found = golden.load().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(bits(&found), bits(&golden.expected), "{name}");
    }
}

#[test]
fn every_golden_file_is_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/weights/quantised/tests");
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = files
        .filter(|path: &PathBuf| path.extension().is_some_and(|e| e == "safetensors"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().into())
        .collect();
    names.sort();
    assert_eq!(names, GOLDENS);
}

/// Rows from anywhere, and as many as one likes.
#[test]
fn rows_do_not_depend_on_blocks() {
    for name in GOLDENS {
        let golden = Golden::read(name);
        let scheme = scheme::describe(&golden.config).unwrap();
        let dir = golden.write();
        let checkpoint = Checkpoint::open(dir.path(), "llama", scheme.as_ref()).unwrap();
        let tensor = checkpoint.tensor(WEIGHT, &golden.shape).unwrap();
        let (rows, width) = (golden.shape[0], golden.shape[1]);
        for count in [1, 3, 8, 11] {
            for first in (0..rows).step_by(count) {
                let count = count.min(rows - first);
                let mut raw = Vec::new();
                tensor.read(first, count, &mut raw).unwrap();
                for (row, raw) in (first..).zip(raw.chunks(tensor.rows().row_bytes())) {
                    let mut out = vec![0.0; width];
                    tensor.rows().decode(row, raw, &mut out);
                    let expected = &golden.expected[row * width..][..width];
                    assert_eq!(bits(&out), bits(expected), "{name}: row {row} of {count}");
                }
            }
        }
    }
}

#[test]
fn scales_of_activations_are_passed_over() {
    let mut golden = Golden::read("fp8-channel");
    for part in ["input_scale", "input_scale_ub"] {
        let part = format!("{LAYER}.{part}");
        golden.tensors.push((part, Dtype::F32, vec![1], vec![0; 4]));
    }
    assert_eq!(bits(&golden.load().unwrap()), bits(&golden.expected));
}

#[test]
fn parts_that_are_missing() {
    for (name, part) in [
        ("fp8-block", "weight_scale_inv"),
        ("gptq-4", "qzeros"),
        ("gptq-4", "scales"),
        ("awq", "qzeros"),
        ("int-quantized-channel", "weight_scale"),
        ("pack-quantized-4", "weight_shape"),
        ("pack-quantized-4-zeros", "weight_zero_point"),
    ] {
        let mut golden = Golden::read(name);
        golden.remove(part);
        // FP8 scales have two names.
        let part = part.trim_end_matches("_inv");
        golden.check_refused(&[&format!("{LAYER}.{part}"), "is missing", "quantised"]);
    }
}

#[test]
fn shapes_that_lie() {
    for (name, part) in [
        ("fp8-block", "weight_scale_inv"),
        ("fp8-channel", "weight_scale"),
        ("gptq-4", "qzeros"),
        ("gptq-4", "scales"),
        ("gptq-4-desc-act", "g_idx"),
        ("awq", "qzeros"),
        ("awq", "scales"),
        ("naive-quantized-group", "weight_zero_point"),
        ("naive-quantized-group", "weight_scale"),
        ("pack-quantized-4", "weight_packed"),
        ("pack-quantized-4", "weight_scale"),
        ("pack-quantized-4-zeros", "weight_zero_point"),
        ("pack-quantized-4-actorder", "weight_g_idx"),
    ] {
        let mut golden = Golden::read(name);
        let (shape, bytes) = golden.part(part);
        let row = bytes.len() / shape[0];
        shape[0] -= 1;
        bytes.truncate(bytes.len() - row);
        golden.check_refused(&[&format!("{LAYER}.{part} has shape"), "expected"]);
    }
}

#[test]
fn a_weight_shape_that_lies() {
    let mut golden = Golden::read("pack-quantized-4");
    golden.part("weight_shape").1[8] = 48;
    golden.check_refused(&["weight_packed has shape [20, 5], expected [20, 6]"]);
    let mut golden = Golden::read("pack-quantized-4");
    golden.part("weight_shape").1[8..].fill(0xff);
    golden.check_refused(&["weight_shape is [20, -1]", "expected two lengths"]);
    let mut golden = Golden::read("pack-quantized-4");
    golden.part("weight_shape").1[12] = 1;
    golden.check_refused(&["weight_shape", "expected two lengths"]);
}

#[test]
fn groups_that_are_not_there() {
    for (name, part) in [
        ("gptq-4-desc-act", "g_idx"),
        ("pack-quantized-4-actorder", "weight_g_idx"),
    ] {
        for (bad, text) in [([4, 0, 0, 0], "is 4 at [3]"), ([0xff; 4], "is -1 at [3]")] {
            let mut golden = Golden::read(name);
            golden.part(part).1[12..16].copy_from_slice(&bad);
            golden.check_refused(&[part, text, "groups"]);
        }
    }
    // All of them unset is none at all.
    let mut golden = Golden::read("pack-quantized-4-actorder");
    golden.part("weight_g_idx").1.fill(0xff);
    golden.load().unwrap();
}

#[test]
fn scales_that_are_not_finite() {
    for (name, part) in [
        ("fp8-block", "weight_scale_inv"),
        ("gptq-4", "scales"),
        ("awq", "scales"),
        ("int-quantized-channel", "weight_scale"),
        ("pack-quantized-4", "weight_scale"),
    ] {
        let mut golden = Golden::read(name);
        golden.part(part).1.fill(0xff);
        golden.check_refused(&[WEIGHT, "NaN", "finite"]);
    }
    let mut golden = Golden::read("fp8-tensor");
    golden.part("weight").1[36] = 0x7f;
    golden.check_refused(&[WEIGHT, "NaN at [1, 0]"]);
}

#[test]
fn parts_of_another_type() {
    for (name, part, dtype, expected) in [
        (
            "gptq-4",
            "scales",
            Dtype::I16,
            "is stored as I16, expected BF16, F16 or F32",
        ),
        (
            "gptq-4",
            "qzeros",
            Dtype::F32,
            "is stored as F32, expected I32",
        ),
        (
            "gptq-4-desc-act",
            "g_idx",
            Dtype::F32,
            "is stored as F32, expected I32",
        ),
        (
            "int-quantized-channel",
            "weight_scale",
            Dtype::U16,
            "is stored as U16",
        ),
        (
            "naive-quantized-group",
            "weight_zero_point",
            Dtype::U8,
            "is stored as U8, expected I8",
        ),
        (
            "pack-quantized-4",
            "weight_packed",
            Dtype::U32,
            "is stored as U32, expected I32",
        ),
    ] {
        let mut golden = Golden::read(name);
        let name = format!("{LAYER}.{part}");
        let found = golden
            .tensors
            .iter_mut()
            .find(|(tensor, ..)| *tensor == name);
        found.unwrap().1 = dtype;
        golden.check_refused(&[part, expected]);
    }
}

#[test]
fn a_plain_weight_beside_a_quantised_one() {
    let mut golden = Golden::read("awq");
    golden
        .tensors
        .push((WEIGHT.into(), Dtype::F32, vec![1], vec![0; 4]));
    golden.check_refused(&[WEIGHT, "beside a quantised weight"]);
}

#[track_caller]
fn check_config(config: Value, expected: &[&str]) {
    let error = scheme::describe(&config).unwrap_err().to_string();
    for part in expected {
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }
}

#[test]
fn methods_that_are_not_supported() {
    let supported = "fp8, fbgemm_fp8, gptq, awq and compressed-tensors";
    for method in ["bitsandbytes", "aqlm", "mxfp4", "modelopt"] {
        check_config(
            json!({"quant_method": method}),
            &[method, supported, "original"],
        );
    }
    check_config(json!({"bits": 4}), &["without quant_method", supported]);
}

#[test]
fn settings_that_are_not_supported() {
    let with = |base: Value, key: &str, value: Value| {
        let mut config = base;
        config[key] = value;
        config
    };
    let gptq = json!({"quant_method": "gptq", "bits": 4, "group_size": 128});
    let awq = json!({"quant_method": "awq", "bits": 4, "group_size": 128});
    let fp8 = json!({"quant_method": "fp8"});
    for (base, key, value, expected) in [
        (&gptq, "bits", json!(3), ["bits 3", "4 and 8"]),
        (&gptq, "group_size", json!(0), ["group_size 0", "above 0"]),
        (&gptq, "group_size", json!(-2), ["group_size -2", "above 0"]),
        (
            &gptq,
            "checkpoint_format",
            json!("marlin"),
            ["checkpoint_format marlin", "gptq and gptq_v2"],
        ),
        (
            &gptq,
            "is_marlin_format",
            json!(true),
            ["marlin", "gptq and gptq_v2"],
        ),
        (
            &gptq,
            "dynamic",
            json!({"-:lm_head": {}}),
            ["dynamic", "one setting"],
        ),
        (
            &gptq,
            "pack_dtype",
            json!("int16"),
            ["pack_dtype int16", "int32"],
        ),
        (&awq, "bits", json!(8), ["bits 8", "supported: 4"]),
        (&awq, "version", json!("gemv"), ["version gemv", "gemm"]),
        (
            &awq,
            "zero_point",
            json!(false),
            ["zero_point false", "true"],
        ),
        (&awq, "group_size", json!(0), ["group_size 0", "above 0"]),
        (&fp8, "fmt", json!("e5m2"), ["fmt e5m2", "e4m3"]),
        (
            &fp8,
            "weight_block_size",
            json!([0, 128]),
            ["weight_block_size [0, 128]", "above 0"],
        ),
        (
            &fp8,
            "weight_block_size",
            json!([-1, 128]),
            ["weight_block_size", "expected usize"],
        ),
    ] {
        check_config(with(base.clone(), key, value), &expected);
    }
    scheme::describe(&with(gptq, "dynamic", Value::Null)).unwrap();
}

#[test]
fn settings_of_compressed_tensors_that_are_not_supported() {
    let config = |format: &str, weights: Value| {
        json!({"quant_method": "compressed-tensors", "format": format,
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}})
    };
    let int4 = json!({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128});
    for (format, weights, expected) in [
        (
            "nvfp4-pack-quantized",
            json!({"num_bits": 4, "type": "float"}),
            ["nvfp4-pack-quantized (float of 4 bits)", "pack-quantized"],
        ),
        (
            "marlin-24",
            int4.clone(),
            ["marlin-24 (int of 4 bits)", "float-quantized"],
        ),
        (
            "pack-quantized",
            json!({"num_bits": 3}),
            ["bits 3", "4 and 8"],
        ),
        (
            "pack-quantized",
            json!({"num_bits": 4, "strategy": "group", "group_size": 0}),
            ["group_size 0", "above 0"],
        ),
        (
            "pack-quantized",
            json!({"num_bits": 4, "strategy": "group"}),
            ["strategy group", "with their sizes"],
        ),
        (
            "pack-quantized",
            json!({"num_bits": 4, "block_structure": [2, 4]}),
            ["strategy block", "group"],
        ),
        (
            "float-quantized",
            json!({"type": "float", "strategy": "block"}),
            ["block_structure", "above 0"],
        ),
        (
            "float-quantized",
            json!({"type": "float", "block_structure": "0x4"}),
            ["block_structure", "above 0"],
        ),
        (
            "int-quantized",
            json!({"strategy": "token"}),
            ["strategy token", "channel"],
        ),
    ] {
        check_config(config(format, weights), &expected);
    }
    let mut sparse = config("pack-quantized", int4.clone());
    sparse["sparsity_config"] = json!({"format": "sparse-24-bitmask"});
    check_config(sparse, &["sparsity_config sparse-24-bitmask", "dense"]);
    let mut rotated = config("pack-quantized", int4.clone());
    rotated["transform_config"] = json!({"config_groups": {"R1": {}}});
    check_config(rotated, &["transform_config", "none"]);
    let mut mixed = config("pack-quantized", int4);
    mixed["config_groups"]["group_1"] = json!({"targets": ["re:.*down_proj"], "weights": {"num_bits": 8}, "format": "int-quantized"});
    check_config(
        mixed,
        &["config_groups that store weights differently", "one way"],
    );
}

#[test]
fn nothing_is_quantised_where_only_activations_are() {
    let config =
        json!({"quant_method": "compressed-tensors", "format": "dense", "config_groups": {}});
    assert_eq!(scheme::describe(&config).unwrap(), None);
}

/// A model of one layer, as wide as the golden one, with its weights in float32.
fn model(golden: &Golden) -> Tiny {
    let (ffn, hidden) = (golden.shape[0], golden.shape[1]);
    let mut tiny = Tiny::of("llama", Dtype::F32);
    tiny.set("hidden_size", json!(hidden))
        .set("intermediate_size", json!(ffn));
    tiny.set("num_hidden_layers", json!(1));
    let (q, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    for (name, shape) in [
        ("model.embed_tokens", &[VOCAB, hidden][..]),
        ("model.norm", &[hidden]),
        ("lm_head", &[VOCAB, hidden]),
        ("model.layers.0.input_layernorm", &[hidden]),
        ("model.layers.0.post_attention_layernorm", &[hidden]),
        ("model.layers.0.self_attn.q_proj", &[q, hidden]),
        ("model.layers.0.self_attn.k_proj", &[kv, hidden]),
        ("model.layers.0.self_attn.v_proj", &[kv, hidden]),
        ("model.layers.0.self_attn.o_proj", &[hidden, q]),
        ("model.layers.0.mlp.gate_proj", &[ffn, hidden]),
        (LAYER, &[ffn, hidden]),
        ("model.layers.0.mlp.down_proj", &[hidden, ffn]),
    ] {
        tiny.add(&format!("{name}.weight"), shape, Dtype::F32);
    }
    tiny.tensor(WEIGHT).values.clone_from(&golden.expected);
    tiny
}

#[test]
fn a_model_of_a_quantised_layer_is_that_of_its_weights_in_float32() {
    for name in [
        "awq",
        "fp8-block-ragged",
        "gptq-4-desc-act",
        "int-quantized-channel",
        "pack-quantized-4-zeros",
    ] {
        let golden = Golden::read(name);
        let mut tiny = model(&golden);
        let digest = |dir: &Path| digest_dir(dir, WeightFormat::Int16, &mut |_| ()).unwrap();
        let expected = digest(tiny.write().path());

        tiny.set("quantization_config", golden.config.clone());
        let dir = tiny.write();
        let file = dir.path().join("model.safetensors");
        let bytes = fs::read(&file).unwrap();
        let plain = SafeTensors::deserialize(&bytes).unwrap();
        let plain = plain.iter().filter(|(name, _)| *name != WEIGHT);
        let views = plain.map(|(name, view)| (name.to_owned(), view));
        let quantised = golden.tensors.iter().map(|(name, dtype, shape, bytes)| {
            (
                name.clone(),
                TensorView::new(*dtype, shape.clone(), bytes).unwrap(),
            )
        });
        let bytes = serialize(views.chain(quantised), None).unwrap();
        fs::write(&file, bytes).unwrap();
        assert_eq!(digest(dir.path()), expected, "{name}");
    }
}
