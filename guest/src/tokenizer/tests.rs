use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::OnceLock;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    /// Where the file is of a tokenizer that adds tokens.
    ids_without_added: Option<Vec<u32>>,
    decoded: String,
    decoded_without_specials: String,
}

#[derive(Deserialize)]
struct Golden {
    #[serde(alias = "cases")]
    tokenizer_cases: Vec<Case>,
    #[serde(default)]
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    text: String,
    ids: Vec<u32>,
    greedy_ids: Vec<u32>,
    greedy_text: String,
    greedy_text_without_specials: String,
}

struct Fixture {
    name: &'static str,
    tokenizer: Tokenizer,
    /// The `tokenizers` crate by itself.
    reference: tokenizers::Tokenizer,
    golden: Golden,
}

fn read(path: &str) -> Vec<u8> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures"));
    std::fs::read(root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn files(json: &[u8]) -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([(TOKENIZER_FILE.to_owned(), json.to_vec())])
}

fn fixture(name: &'static str, golden: &str) -> Fixture {
    let json = read(&format!("{name}/tokenizer.json"));
    Fixture {
        name,
        tokenizer: Tokenizer::from_files(&files(&json)).unwrap(),
        reference: tokenizers::Tokenizer::from_bytes(&json).unwrap(),
        golden: serde_json::from_slice(&read(&format!("{name}/{golden}"))).unwrap(),
    }
}

fn fixtures() -> &'static [Fixture] {
    static FIXTURES: OnceLock<Vec<Fixture>> = OnceLock::new();
    FIXTURES.get_or_init(|| {
        vec![
            fixture("demo-qwen3", "golden.json"),
            fixture("tiny-qwen2", "golden.json"),
            fixture("tiny-llama", "golden.json"),
            fixture("tiny-mistral", "golden.json"),
            fixture("tokenizers/llama3-style", "cases.json"),
            fixture("tokenizers/llama2-style", "cases.json"),
        ]
    })
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip_special_tokens: bool) -> String {
    let mut stream = tokenizer.stream(skip_special_tokens);
    let mut text: String = ids.iter().map(|&id| stream.push(tokenizer, id)).collect();
    text.push_str(&stream.finish());
    text
}

#[test]
fn encodes_as_hugging_face() {
    for Fixture {
        name,
        tokenizer,
        golden,
        ..
    } in fixtures()
    {
        assert!(golden.tokenizer_cases.len() > 30, "{name}");
        for case in &golden.tokenizer_cases {
            let plain = case.ids_without_added.as_ref().unwrap_or(&case.ids);
            assert_eq!(
                tokenizer.encode(&case.text, true).unwrap(),
                case.ids,
                "{name} {:?}",
                case.text
            );
            assert_eq!(
                &tokenizer.encode(&case.text, false).unwrap(),
                plain,
                "{name} {:?}",
                case.text
            );
        }
        for prompt in &golden.prompts {
            assert_eq!(
                tokenizer.encode(&prompt.text, false).unwrap(),
                prompt.ids,
                "{name}"
            );
        }
    }
}

/// The bytes of a text's tokens are the text, but for a space that decoders of SentencePiece take off its start.
#[test]
fn bytes_of_tokens_add_up_to_the_text() {
    for f in fixtures() {
        let mut compared = 0;
        for case in &f.golden.tokenizer_cases {
            let plain = case.ids.iter().filter(|id| !f.tokenizer.is_special(**id));
            let bytes: Vec<u8> = plain.flat_map(|id| f.tokenizer.token_bytes(*id)).collect();
            // Where it is no UTF-8, decoding shows replacement characters.
            if let Ok(text) = String::from_utf8(bytes) {
                let expected = &case.decoded_without_specials;
                assert!(
                    text == *expected || text.strip_prefix(' ') == Some(expected),
                    "{}: {text:?} instead of {expected:?}",
                    f.name
                );
                compared += 1;
            }
        }
        assert!(compared > 30, "{}", f.name);
    }
}

#[test]
fn a_token_can_be_part_of_a_character() {
    let tokenizer = Tokenizer::from_files(&crate::testing::text_files()).unwrap();
    let of = |text: &str| -> Vec<Vec<u8>> {
        let ids = tokenizer.encode(text, false).unwrap();
        ids.iter().map(|id| tokenizer.token_bytes(*id)).collect()
    };
    assert_eq!(
        of("a €<|end|>"),
        [b"a", b" ", &[0xe2][..], &[0x82], &[0xac], b"<|end|>"]
    );
    assert!(tokenizer.token_bytes(40).is_empty());
}

#[test]
fn decodes_and_streams_as_hugging_face() {
    let check = |f: &Fixture, ids: &[u32], skip: bool, expected: &str| {
        assert_eq!(
            f.tokenizer.decode(ids, skip).unwrap(),
            expected,
            "{}",
            f.name
        );
        assert_eq!(streamed(&f.tokenizer, ids, skip), expected, "{}", f.name);
    };
    for fixture in fixtures() {
        for case in &fixture.golden.tokenizer_cases {
            check(fixture, &case.ids, false, &case.decoded);
            check(fixture, &case.ids, true, &case.decoded_without_specials);
        }
        for prompt in &fixture.golden.prompts {
            check(fixture, &prompt.greedy_ids, false, &prompt.greedy_text);
            check(
                fixture,
                &prompt.greedy_ids,
                true,
                &prompt.greedy_text_without_specials,
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    /// Random ids of the first few hundred are mostly single bytes: broken UTF-8 of every kind.
    #[test]
    fn streaming_any_tokens_is_decoding_them_all(
        at in 0..6_usize,
        ids in prop::collection::vec(prop_oneof![0..270_u32, 0..1100_u32, 4090..4099_u32], 0..60),
        skip in any::<bool>(),
    ) {
        let Fixture { name, tokenizer, reference, .. } = &fixtures()[at];
        let whole = reference.decode(&ids, skip).unwrap();
        prop_assert_eq!(&tokenizer.decode(&ids, skip).unwrap(), &whole, "{}", name);
        prop_assert_eq!(streamed(tokenizer, &ids, skip), whole, "{}", name);
    }

    #[test]
    fn any_text_is_encoded_as_by_the_crate(
        at in 0..6_usize,
        text in "([a-zA-Z]{1,6}|[ \\t]{1,4}|[\\r\\n]{1,3}|[0-9]{1,5}|'(s|LL|t)|[.,!?_-]|[é世ß🦀\u{301}ſ\u{200d}]|<s>|<\\|im_end\\|>){0,30}",
        add in any::<bool>(),
    ) {
        let Fixture { name, tokenizer, reference, .. } = &fixtures()[at];
        let ids = reference.encode(text.as_str(), add).unwrap();
        prop_assert_eq!(tokenizer.encode(&text, add).unwrap(), ids.get_ids(), "{} {:?}", name, text);
    }

    #[test]
    fn byte_level_text_comes_with_its_last_byte(text in "[a-z 你é🦀👨‍👩‍👧ß]{0,20}") {
        let tokenizer = &fixtures()[0].tokenizer;
        let ids = tokenizer.encode(&text, false).unwrap();
        let mut stream = tokenizer.stream(true);
        let mut out = String::new();
        for (n, &id) in ids.iter().enumerate() {
            out.push_str(&stream.push(tokenizer, id));
            let so_far = tokenizer.decode(&ids[..=n], true).unwrap();
            prop_assert_eq!(out.as_str(), so_far.trim_end_matches('\u{FFFD}'));
        }
        prop_assert_eq!(stream.finish(), "");
    }
}

#[test]
fn a_run_of_byte_tokens_comes_with_the_next_token() {
    let tokenizer = &fixtures()[5].tokenizer;
    let ids = tokenizer.encode("世界 a", false).unwrap(); // a space, 6 bytes, " a"
    let mut stream = tokenizer.stream(true);
    let pieces: Vec<String> = ids.iter().map(|&id| stream.push(tokenizer, id)).collect();
    assert_eq!(pieces, ["", "", "", "", "", "", "", "世界 a"]);
}

#[test]
fn special_tokens_are_found_by_content() {
    let tokenizer = &fixtures()[0].tokenizer;
    assert_eq!(tokenizer.token_to_id("<|im_end|>"), Some(4095));
    assert_eq!(tokenizer.id_to_token(4095).as_deref(), Some("<|im_end|>"));
    assert_eq!(tokenizer.token_to_id("<|eot_id|>"), None);
    assert_eq!(tokenizer.id_to_token(4096), None);
    assert!(
        tokenizer.is_special(4093) && !tokenizer.is_special(198) && !tokenizer.is_special(4096)
    );
    assert_eq!(tokenizer.vocab_size(), 4096);
}

#[test]
fn a_missing_or_broken_file_is_refused() {
    let refused = |files: &BTreeMap<String, Vec<u8>>| match Tokenizer::from_files(files) {
        Ok(_) => panic!("accepted"),
        Err(e) => e,
    };
    assert!(matches!(refused(&BTreeMap::new()), TokenizerError::Missing));
    let json = read("tokenizers/llama3-style/tokenizer.json");
    for broken in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        &json[..json.len() / 2],
        &json[1..],
    ] {
        assert!(matches!(
            refused(&files(broken)),
            TokenizerError::Broken { .. }
        ));
    }
    let too_large = vec![b' '; MAX_TOKENIZER_BYTES + 1];
    assert!(matches!(
        refused(&files(&too_large)),
        TokenizerError::FileTooLarge { .. }
    ));
}

fn llama3_with(pointer: &str, value: serde_json::Value) -> Result<Tokenizer, TokenizerError> {
    let json = read("tokenizers/llama3-style/tokenizer.json");
    let mut changed: serde_json::Value = serde_json::from_slice(&json).unwrap();
    *changed.pointer_mut(pointer).unwrap() = value;
    Tokenizer::from_files(&files(&serde_json::to_vec(&changed).unwrap()))
}

/// Found by mutating files at random: the `tokenizers` crate panics for these.
#[test]
fn files_that_the_crate_takes_on_trust_are_refused() {
    let refused = |pointer: &str, value| match llama3_with(pointer, value) {
        Err(TokenizerError::Broken { reason, .. }) => reason,
        _ => panic!("{pointer}"),
    };
    let template = "/post_processor/processors/1";
    let undefined = refused(&format!("{template}/special_tokens"), serde_json::json!({}));
    assert!(undefined.contains("<|begin_of_text|>"), "{undefined}");
    let pair = refused(&format!("{template}/single/1/Sequence/id"), "B".into());
    assert!(pair.contains("second text"), "{pair}");
    let precompiled = serde_json::json!({"type": "Precompiled", "precompiled_charsmap": "AA=="});
    let precompiled = refused("/normalizer", precompiled);
    assert!(
        precompiled.contains("precompiled_charsmap is cut off"),
        "{precompiled}"
    );
    // Half of a surrogate pair.
    let json = String::from_utf8(read("tokenizers/llama3-style/tokenizer.json")).unwrap();
    let halved = json.replacen(r#""decoder": {"#, r#""decoder": {"\ud800": 0,"#, 1);
    assert_ne!(halved, json);
    let half = Tokenizer::from_files(&files(halved.as_bytes()));
    assert!(matches!(half, Err(TokenizerError::Broken { .. })));
}

/// "Download or save it again" would not help.
#[test]
fn what_is_valid_and_not_supported_is_named_and_not_called_broken() {
    use serde_json::json;
    let named =
        |pointer: &str, value: serde_json::Value, name: &str| match llama3_with(pointer, value) {
            Err(e @ TokenizerError::Unsupported { .. }) => {
                let text = e.to_string();
                assert!(text.contains(name) && !text.contains("broken"), "{text}");
            }
            Err(e) => panic!("{pointer}: {e}"),
            Ok(_) => panic!("{pointer} {name}"),
        };
    let replace = |pattern| json!({"type": "Replace", "pattern": pattern, "content": "x"});
    let split = |regex: &str| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    named("/version", json!("2.0"), "version 2.0");
    named("/model/type", json!("Neural"), "Neural");
    named("/model/dropout", json!(0.1), "dropout");
    named(
        "/model/continuing_subword_prefix",
        json!("##"),
        "continuing_subword_prefix",
    );
    named(
        "/normalizer",
        json!({"type": "Sequence", "normalizers": [{"type": "Unicorn"}]}),
        "Unicorn",
    );
    named("/normalizer", replace(json!({"String": ""})), "empty");
    named(
        "/pre_tokenizer",
        json!({"type": "Sequence", "pretokenizers": [{"type": "Unicorn"}]}),
        "Unicorn",
    );
    named(
        "/pre_tokenizer",
        json!({"type": "FixedLength", "length": 0}),
        "no length",
    );
    named("/pre_tokenizer", split(r"(a)\1"), "has \\1");
    named("/post_processor", json!({"type": "Unicorn"}), "Unicorn");
    let many = vec![json!({"type": "NFC"}); 100];
    named(
        "/normalizer",
        json!({"type": "Sequence", "normalizers": many}),
        "more than 64",
    );
}

#[test]
fn a_text_beyond_the_bound_is_refused() {
    let tokenizer = &fixtures()[0].tokenizer;
    let refused = tokenizer.encode(&"a".repeat(MAX_TEXT_BYTES + 1), false);
    assert!(
        matches!(refused, Err(TokenizerError::TextTooLong { found }) if found == MAX_TEXT_BYTES + 1)
    );
}

/// Long texts of a kind that a splitting pattern could give up on, in silence: no token may go missing.
#[test]
fn long_monotonous_texts_survive() {
    for Fixture {
        name, tokenizer, ..
    } in [&fixtures()[0], &fixtures()[4]]
    {
        for unit in [" ", "a", "\n", " \n", "1", "!", "'s", "é", "<|im_end|>"] {
            let text = unit.repeat(60_000 / unit.len()) + "x";
            let ids = tokenizer.encode(&text, false).unwrap();
            assert!(
                tokenizer.decode(&ids, false).unwrap() == text,
                "{name} {unit:?}"
            );
        }
    }
}

/// In the crate by itself the rest of the text would be one word, in silence.
#[test]
fn a_pattern_that_takes_too_many_steps_is_an_error() {
    let hostile = serde_json::json!({"Regex": "(?:a+)+(?!.)b"});
    let split = serde_json::json!({"type": "Split", "pattern": hostile, "behavior": "Isolated", "invert": false});
    let replace = serde_json::json!({"type": "Replace", "pattern": hostile, "content": ""});
    for (pointer, step) in [("/pre_tokenizer", split), ("/normalizer", replace)] {
        let tokenizer = llama3_with(pointer, step).unwrap();
        let text = "a".repeat(40) + "!";
        let refused = tokenizer.encode(&text, false).map_err(|e| e.to_string());
        assert!(refused.is_err_and(|e| e.contains("backtrack")), "{pointer}");
        assert_eq!(tokenizer.encode("!", false).unwrap().len(), 1, "{pointer}");
    }
}

/// Whatever the file was saved with, a prompt is neither cut nor filled up.
#[test]
fn truncation_and_padding_of_the_file_are_ignored() {
    let json = read("demo-qwen3/tokenizer.json");
    let mut value: serde_json::Value = serde_json::from_slice(&json).unwrap();
    value["truncation"] = serde_json::json!({
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
    });
    value["padding"] = serde_json::json!({
        "strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": null,
        "pad_id": 4093, "pad_type_id": 0, "pad_token": "<|endoftext|>"
    });
    let changed = Tokenizer::from_files(&files(&serde_json::to_vec(&value).unwrap())).unwrap();
    let text = "The compiler rejects programs";
    assert_eq!(
        changed.encode(text, true).unwrap(),
        fixtures()[0].tokenizer.encode(text, true).unwrap()
    );
}

/// As many entries as Qwen's, in 6 MB. Natively and optimised it takes about 0.2 s of a core to load, 57 MB at the peak
/// and 47 MB from then on; through the crate's own reader, which makes a tree of it first, 152 MB.
#[test]
fn a_vocabulary_of_real_size_is_loaded_and_used() {
    const ENTRIES: usize = 151_936;
    let json = vocabulary_of(ENTRIES);
    let start = std::time::Instant::now();
    let tokenizer = Tokenizer::from_files(&files(&json)).unwrap();
    let loaded = start.elapsed();
    assert_eq!(tokenizer.vocab_size(), ENTRIES);
    let text = "The compiler rejects programs, 12345 times: naïve 世界.\n".repeat(2_000);
    let start = std::time::Instant::now();
    let ids = tokenizer.encode(&text, false).unwrap();
    println!(
        "{} bytes loaded in {loaded:?}, {} ids in {:?}",
        json.len(),
        ids.len(),
        start.elapsed()
    );
    assert!(ids.len() > 10_000);
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    let reference = tokenizers::Tokenizer::from_bytes(&json).unwrap();
    assert_eq!(reference.encode(text, false).unwrap().get_ids(), ids);
}

/// Bytes, and then pairs of earlier entries.
fn vocabulary_of(entries: usize) -> Vec<u8> {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    let mut tokens: Vec<String> = ByteLevel::alphabet().iter().map(char::to_string).collect();
    tokens.sort();
    let mut known: std::collections::HashSet<String> = tokens.iter().cloned().collect();
    let mut merges = Vec::new();
    let mut state = 1_u64;
    let mut chosen = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    while tokens.len() < entries {
        let [left, right] =
            [tokens.len().min(20_000), 256].map(|below| tokens[chosen(below)].clone());
        let joined = format!("{left}{right}");
        if joined.len() < 24 && known.insert(joined.clone()) {
            merges.push([left, right]);
            tokens.push(joined);
        }
    }
    let vocab: serde_json::Map<_, _> = tokens
        .into_iter()
        .zip(0_u32..)
        .map(|(t, id)| (t, id.into()))
        .collect();
    let mut file: serde_json::Value =
        serde_json::from_slice(&read("demo-qwen3/tokenizer.json")).unwrap();
    file["added_tokens"] = serde_json::json!([]);
    file["model"]["vocab"] = vocab.into();
    file["model"]["merges"] = serde_json::json!(merges);
    serde_json::to_vec(&file).unwrap()
}
