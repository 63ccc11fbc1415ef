//! The smallest byte-level tokenizer: token b is byte b, then the three special tokens of ChatML.

use serde_json::{Map, Value, json};

/// `<|endoftext|>`.
pub(super) const END_OF_TEXT: usize = 256;
/// `<|im_start|>`.
pub(super) const IM_START: usize = 257;
/// `<|im_end|>`.
pub(super) const IM_END: usize = 258;
/// Tokens that mean something; the rest of a vocabulary decodes to nothing.
pub(super) const TOKENS: usize = 259;

const SPECIAL: [(&str, usize); 3] = [
    ("<|endoftext|>", END_OF_TEXT),
    ("<|im_start|>", IM_START),
    ("<|im_end|>", IM_END),
];

/// tokenizer.json.
pub(super) fn tokenizer() -> Value {
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let added = SPECIAL.map(|(content, id)| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab(), "merges": [],
        },
    })
}

/// Each byte's character in byte-level BPE: itself where it is printable, else one from 256 on.
fn vocab() -> Map<String, Value> {
    let mut invisible = 256u32..;
    (0..=255u8)
        .map(|byte| {
            let character = match byte {
                b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
                _ => invisible
                    .next()
                    .and_then(char::from_u32)
                    .unwrap_or_default(),
            };
            (character.to_string(), Value::from(byte))
        })
        .collect()
}

/// tokenizer_config.json.
pub(super) fn tokenizer_config() -> Value {
    json!({
        "bos_token": null,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "chat_template": "{%- for message in messages -%}\
            {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}\
            {%- endfor -%}\
            {%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}",
    })
}

/// generation_config.json.
pub(super) fn generation_config() -> Value {
    json!({"bos_token_id": END_OF_TEXT, "eos_token_id": [IM_END, END_OF_TEXT]})
}
