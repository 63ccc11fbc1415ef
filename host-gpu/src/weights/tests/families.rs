//! What config.json and generation_config.json become.

use safetensors::Dtype;
use serde_json::{Value, json};
use talaria_wire::manifest::{Manifest, Place, Role, WeightFormat};

use super::checkpoint::{FFN, HEAD_DIM, HEADS, HIDDEN, KV_HEADS, LAYERS, Tiny, VOCAB};
use super::{load, load_tiny};

fn windows(tiny: &Tiny) -> Vec<Option<u32>> {
    let layers = load_tiny(tiny).manifest.layers;
    layers.iter().map(|l| l.sliding_window).collect()
}

fn tiny_with(model_type: &str, keys: Value) -> Tiny {
    let mut tiny = Tiny::of(model_type, Dtype::BF16);
    for (key, value) in keys.as_object().unwrap() {
        tiny.set(key, value.clone());
    }
    tiny
}

#[test]
fn every_family_has_its_parts_and_survives_the_wire() {
    for model_type in ["qwen2", "qwen3", "llama", "mistral"] {
        let model = load_tiny(&Tiny::of(model_type, Dtype::F32));
        let manifest = Manifest::from_bytes(&model.manifest_bytes).unwrap();
        assert_eq!(manifest, model.manifest);
        assert_eq!(manifest.decoder.model_type, model_type);
        assert_eq!(manifest.projections.len(), 4 * LAYERS + 2);
        assert_eq!(manifest.weight_bytes(), model.backend.weight_bytes());
        for projection in &manifest.projections {
            let biased = model_type == "qwen2" && projection.place.role == Role::Qkv;
            let expected = if biased { projection.n as usize } else { 0 };
            assert_eq!(projection.bias.len(), expected, "{projection:?}");
        }
        for layer in &manifest.layers {
            let expected = if model_type == "qwen3" { HEAD_DIM } else { 0 };
            assert_eq!(
                (layer.q_norm.len(), layer.k_norm.len()),
                (expected, expected)
            );
        }
    }
}

#[test]
fn biases_by_configuration_are_stacked_like_their_outputs() {
    let mut tiny = tiny_with("llama", json!({"attention_bias": true, "mlp_bias": true}));
    for layer in 0..LAYERS {
        for (name, n) in [
            ("self_attn.q_proj", HEADS * HEAD_DIM),
            ("self_attn.k_proj", KV_HEADS * HEAD_DIM),
            ("self_attn.v_proj", KV_HEADS * HEAD_DIM),
            ("self_attn.o_proj", HIDDEN),
            ("mlp.gate_proj", FFN),
            ("mlp.up_proj", FFN),
            ("mlp.down_proj", HIDDEN),
        ] {
            tiny.add(
                &format!("model.layers.{layer}.{name}.bias"),
                &[n],
                Dtype::F32,
            );
        }
    }
    let manifest = load_tiny(&tiny).manifest;
    let bias = |place: Place| {
        let index = manifest.index_of(place).unwrap();
        manifest.projections[index].bias.clone()
    };
    let stored = |names: &[&str]| -> Vec<f32> {
        let names = names
            .iter()
            .map(|name| format!("model.layers.1.{name}.bias"));
        names
            .flat_map(|name| tiny.tensors[&name].values.clone())
            .collect()
    };
    let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
    assert_eq!(bias(Role::Qkv.of(1)), stored(&qkv));
    assert_eq!(bias(Role::O.of(1)), stored(&["self_attn.o_proj"]));
    assert_eq!(
        bias(Role::GateUp.of(1)),
        stored(&["mlp.gate_proj", "mlp.up_proj"])
    );
    assert_eq!(bias(Role::Down.of(1)), stored(&["mlp.down_proj"]));
    assert!(bias(Place::LM_HEAD).is_empty() && bias(Place::EMBEDDING).is_empty());
}

#[test]
fn windows_of_mistral() {
    let window = |value: Value| tiny_with("mistral", json!({"sliding_window": value}));
    assert_eq!(windows(&window(json!(7))), [Some(7); LAYERS]);
    assert_eq!(windows(&window(Value::Null)), [None; LAYERS]);
    let mut absent = window(Value::Null);
    absent.unset("sliding_window");
    assert_eq!(windows(&absent), [Some(4096); LAYERS]);
}

#[test]
fn windows_of_qwen() {
    for family in ["qwen2", "qwen3"] {
        let off = json!({"sliding_window": 7, "use_sliding_window": false, "max_window_layers": 1});
        assert_eq!(windows(&tiny_with(family, off)), [None, None]);
        let on = json!({"sliding_window": 7, "use_sliding_window": true, "max_window_layers": 1});
        assert_eq!(windows(&tiny_with(family, on)), [None, Some(7)]);
        let below =
            json!({"sliding_window": 7, "use_sliding_window": true, "max_window_layers": 2});
        assert_eq!(windows(&tiny_with(family, below)), [None, None]);
    }
}

#[test]
fn layer_types_decide() {
    let types = json!({"sliding_window": 7, "use_sliding_window": true, "max_window_layers": 0,
        "layer_types": ["sliding_attention", "full_attention"]});
    assert_eq!(windows(&tiny_with("qwen3", types.clone())), [Some(7), None]);
    assert_eq!(windows(&tiny_with("mistral", types)), [Some(7), None]);
}

#[test]
fn head_dim_by_default() {
    let mut llama = Tiny::plain();
    llama
        .set("head_dim", Value::Null)
        .set("num_attention_heads", json!(2));
    // 8 / 2 = 4, as stored for 4 heads: q_proj no longer fits, which shows that 4 was taken.
    let error = load(llama.write().path(), WeightFormat::Int16)
        .err()
        .unwrap();
    assert!(error.to_string().contains("expected [8, 8]"), "{error}");
    let mut qwen3 = Tiny::of("qwen3", Dtype::F32);
    qwen3.unset("head_dim");
    let error = load(qwen3.write().path(), WeightFormat::Int16)
        .err()
        .unwrap();
    assert!(error.to_string().contains("expected [512, 8]"), "{error}");
}

#[test]
fn generation_defaults_come_from_the_file_first() {
    let mut tiny = Tiny::plain();
    let plain = load_tiny(&tiny).manifest.generation;
    assert_eq!(plain.eos_token_ids, [1]);
    assert!(!plain.do_sample && plain.temperature.is_none());
    let file = json!({"eos_token_id": [3, 4], "do_sample": true, "temperature": 0.5, "top_k": 20,
        "top_p": 0.9, "min_p": null, "repetition_penalty": 1.1, "transformers_version": "x"});
    tiny.files
        .insert("generation_config.json".into(), file.to_string().into());
    let generation = load_tiny(&tiny).manifest.generation;
    assert_eq!(generation.eos_token_ids, [3, 4]);
    assert!(generation.do_sample);
    assert_eq!(generation.temperature, Some(0.5));
    assert_eq!(generation.top_k, Some(20));
    assert_eq!(generation.top_p, Some(0.9));
    assert_eq!(generation.min_p, None);
    assert_eq!(generation.repetition_penalty, Some(1.1));
}

#[test]
fn text_files_are_carried_as_they_are() {
    let mut tiny = Tiny::plain();
    for (name, text) in [
        ("tokenizer.json", "{ }"),
        ("tokenizer_config.json", "{\"a\": 1}"),
        ("chat_template.jinja", "{{ not json }"),
        ("README.md", "left out"),
    ] {
        tiny.files.insert(name.into(), text.into());
    }
    let files = load_tiny(&tiny).manifest.text_files;
    tiny.files.remove("README.md");
    assert_eq!(files, tiny.files);
}

#[test]
fn own_lm_head_wins_and_tied_takes_the_embedding() {
    let mut tiny = Tiny::plain();
    let own = load_tiny(&tiny).digest().unwrap();
    tiny.set("tie_word_embeddings", json!(true));
    assert_eq!(load_tiny(&tiny).digest().unwrap(), own);
    tiny.tensors.remove("lm_head.weight");
    let tied = load_tiny(&tiny).digest().unwrap();
    assert_ne!(tied, own);
    // The same as an lm_head of its own with the embedding's values.
    let copy = tiny.tensor("model.embed_tokens.weight").clone();
    assert_eq!(copy.shape, [VOCAB, HIDDEN]);
    tiny.tensors.insert("lm_head.weight".into(), copy);
    assert_eq!(load_tiny(&tiny).digest().unwrap(), tied);
}
