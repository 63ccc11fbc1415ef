//! The text part of a multimodal model: `text_config` in config.json.

use serde_json::{Map, Value, json};

/// What such a model says once for all of its parts.
const OF_THE_WHOLE: [&str; 4] = [
    "quantization_config",
    "compression_config",
    "tie_word_embeddings",
    "eos_token_id",
];

/// The configuration of the text part, with what the whole says and what transformers leaves out when it writes it:
/// keys that have the value which the configuration class of the part's `model_type` gives them.
pub(super) fn of(whole: &Value) -> Option<Value> {
    let mut text = whole.get("text_config")?.as_object()?.clone();
    for key in OF_THE_WHOLE {
        let unset = text.get(key).is_none_or(Value::is_null);
        if let Some(value) = whole.get(key).filter(|_| unset) {
            text.insert(key.into(), value.clone());
        }
    }
    let defaults = text.get("model_type").and_then(Value::as_str).map(defaults);
    // Null has a meaning of its own.
    for (key, value) in defaults.into_iter().flatten() {
        text.entry(key).or_insert(value);
    }
    Some(Value::Object(text))
}

/// Of transformers 5.24.
fn defaults(model_type: &str) -> Map<String, Value> {
    let (intermediate_size, key_value_heads, vocab_size, positions) = match model_type {
        // As many as heads.
        "llama" => (11_008, None, 32_000, 2048),
        "mistral" => (14_336, Some(8), 32_000, 131_072),
        "qwen2" | "qwen3" => (22_016, Some(32), 151_936, 32_768),
        _ => return Map::new(),
    };
    let keys = [
        ("hidden_size", Some(4096)),
        ("intermediate_size", Some(intermediate_size)),
        ("num_hidden_layers", Some(32)),
        ("num_attention_heads", Some(32)),
        ("num_key_value_heads", key_value_heads),
        ("vocab_size", Some(vocab_size)),
        ("max_position_embeddings", Some(positions)),
    ];
    let given = |(key, value): (&str, Option<u32>)| Some((key.into(), json!(value?)));
    keys.into_iter().filter_map(given).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As llava-v1.6-mistral-7b has it.
    #[test]
    fn keys_of_the_class_that_transformers_leaves_out() {
        let whole = json!({
            "model_type": "llava_next", "eos_token_id": 2, "hidden_size": 3,
            "text_config": {"model_type": "mistral", "intermediate_size": 14336, "max_position_embeddings": 32768,
                "num_key_value_heads": 8, "rope_theta": 1000000.0, "sliding_window": null, "vocab_size": 32064},
        });
        let text = of(&whole).unwrap();
        for (key, value) in [
            ("hidden_size", 4096),
            ("num_hidden_layers", 32),
            ("num_attention_heads", 32),
            ("max_position_embeddings", 32_768),
            ("vocab_size", 32_064),
            ("eos_token_id", 2),
        ] {
            assert_eq!(text[key], value, "{key}");
        }
        assert_eq!(text["sliding_window"], Value::Null);
        assert_eq!(
            of(&json!({"text_config": {"model_type": "gemma3_text"}}))
                .unwrap()
                .get("hidden_size"),
            None
        );
        assert_eq!(of(&json!({"model_type": "llama"})), None);
    }
}
