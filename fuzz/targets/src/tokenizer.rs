//! `tokenizer.json`, which comes from a checkpoint.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use talaria_guest::testing;
use talaria_guest::tokenizer::{TOKENIZER_FILE, Tokenizer};

use crate::Seed;

/// Longer ones only take longer.
const MAX_INPUT_BYTES: usize = 64 << 10;

const TEXTS: [&str; 3] = [
    "",
    "hello, w\u{f6}rld!  a b\n\t<|end|> </s>\u{1f989}",
    "lower lowest 1234567 don't \u{4e2d}\u{6587}",
];

/// Ids of a small vocabulary, of none, and of none at all.
const IDS: [u32; 12] = [0, 1, 2, 3, 5, 8, 13, 36, 39, 1 << 20, u32::MAX, 4];

/// [`Tokenizer::from_files`], and what can be done with what it accepts: the text of a stream is that of the whole.
pub fn tokenizer(data: &[u8]) {
    if data.len() > MAX_INPUT_BYTES {
        return;
    }
    let files = BTreeMap::from([(TOKENIZER_FILE.to_string(), data.to_vec())]);
    let Ok(tokenizer) = Tokenizer::from_files(&files) else {
        return;
    };
    decode(&tokenizer, &IDS);
    for text in TEXTS {
        for add_special_tokens in [false, true] {
            if let Ok(ids) = tokenizer.encode(text, add_special_tokens) {
                decode(&tokenizer, &ids);
            }
        }
    }
    for id in IDS {
        tokenizer.token_bytes(id);
        let token = tokenizer.id_to_token(id);
        assert!(token.is_some() || !tokenizer.is_special(id));
    }
}

fn decode(tokenizer: &Tokenizer, ids: &[u32]) {
    for skip_special_tokens in [false, true] {
        let mut stream = tokenizer.stream(skip_special_tokens);
        let mut text: String = ids.iter().map(|id| stream.push(tokenizer, *id)).collect();
        text.push_str(&stream.finish());
        if let Ok(whole) = tokenizer.decode(ids, skip_special_tokens) {
            assert_eq!(text, whole);
        }
    }
}

/// One of each model, with normalizers, pre-tokenizers, post-processors and decoders of each kind.
pub fn seeds() -> Vec<Seed> {
    let bytes = testing::text_files().remove(TOKENIZER_FILE);
    let seed = |name, file: Value| Seed::new(name, file.to_string());
    vec![
        Seed::new("byte-level.json", bytes.expect("the test model's")),
        seed("bpe.json", bpe()),
        seed("unigram.json", unigram()),
        seed("word-piece.json", word_piece()),
        seed("word-level.json", word_level()),
        seed("precompiled.json", precompiled()),
    ]
}

/// In the style of Llama 2: bytes that no token has are tokens of their own.
fn bpe() -> Value {
    let mut vocab = serde_json::Map::new();
    let spelled = [
        "<unk>", "<s>", "</s>", "\u{2581}", "l", "o", "w", "e", "r", "lo", "low", "er", "lower",
    ];
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    for (token, id) in spelled
        .into_iter()
        .map(String::from)
        .chain(bytes)
        .zip(0_u32..)
    {
        vocab.insert(token, id.into());
    }
    json!({
        "version": "1.0", "added_tokens": [added(1, "<s>"), added(2, "</s>")],
        "truncation": { "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0 },
        "padding": { "strategy": { "Fixed": 9 }, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 0,
                     "pad_type_id": 0, "pad_token": "<unk>" },
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "\u{2581}" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" },
        ]},
        "pre_tokenizer": null,
        "post_processor": template("<s>", 1),
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " },
            { "type": "ByteFallback" }, { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": true,
            "vocab": vocab, "merges": [["l", "o"], ["lo", "w"], ["e", "r"], ["low", "er"]],
        },
    })
}

fn unigram() -> Value {
    json!({
        "version": "1.0", "added_tokens": [added(0, "<unk>")], "truncation": null, "padding": null,
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFKC" }, { "type": "Lowercase" },
            { "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " },
        ]},
        "pre_tokenizer": { "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true },
        "post_processor": null,
        "decoder": { "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true },
        "model": { "type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": [
            ["<unk>", 0.0], ["\u{2581}", -2.0], ["\u{2581}low", -3.5], ["er", -4.0], ["l", -5.0], ["o", -5.0],
            ["w", -5.0], ["e", -5.0], ["st", -6.0],
        ]},
    })
}

fn word_piece() -> Value {
    json!({
        "version": "1.0", "added_tokens": [added(1, "[CLS]")], "truncation": null, "padding": null,
        "normalizer": { "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                        "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "Sequence", "processors": [template("[CLS]", 1)] },
        "decoder": { "type": "Sequence", "decoders": [{ "type": "Fuse" }] },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100,
                   "vocab": { "[UNK]": 0, "[CLS]": 1, "low": 2, "##er": 3, "##est": 4, "hello": 5, ",": 6 } },
    })
}

fn word_level() -> Value {
    let split = json!({ "type": "Sequence", "pretokenizers": [
        { "type": "Split", "pattern": { "Regex": "\\p{N}{1,3}|[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)" },
          "behavior": "Isolated", "invert": false },
        { "type": "Digits", "individual_digits": true },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
    ]});
    json!({
        "version": "1.0", "added_tokens": [added(9, "<|end|>")], "truncation": null, "padding": null,
        "normalizer": { "type": "NFC" }, "pre_tokenizer": split, "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "WordLevel", "unk_token": "<unk>",
                   "vocab": { "<unk>": 0, "hello": 1, "\u{120}low": 2, "1": 3, ",": 4 } },
    })
}

/// With a normalization that SentencePiece compiled, and regular expressions wherever they can be.
fn precompiled() -> Value {
    let reference = include_str!("../../../guest/src/tokenizer/tests/reference.json");
    let reference: Value = serde_json::from_str(reference).expect("the guest's reference");
    let mut file = unigram();
    file["normalizer"] = json!({ "type": "Sequence", "normalizers": [
        { "type": "Precompiled", "precompiled_charsmap": reference["precompiled"]["charsmap"] },
        { "type": "Replace", "pattern": { "Regex": "^ +|(?<=a)b(?!c)$" }, "content": "-" },
    ]});
    file["decoder"] = json!({ "type": "Sequence", "decoders": [
        { "type": "Replace", "pattern": { "Regex": "\u{2581}(l|w)*" }, "content": " " }, { "type": "Fuse" },
    ]});
    file
}

fn added(id: u32, content: &str) -> Value {
    json!({
        "id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": true,
        "normalized": false,
    })
}

/// Puts a token before a text.
fn template(token: &str, id: u32) -> Value {
    let first = json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let text = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    json!({
        "type": "TemplateProcessing", "single": [first, text("A")], "pair": [first, text("A"), text("B")],
        "special_tokens": { token: { "id": token, "ids": [id], "tokens": [token] } },
    })
}
