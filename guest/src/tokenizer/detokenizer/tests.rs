use super::*;
use proptest::prelude::*;
use serde_json::json;
use tokenizers::{Decoder, DecoderWrapper};

fn decoder(json: &serde_json::Value) -> DecoderWrapper {
    serde_json::from_value(json.clone()).unwrap()
}

fn sequence(decoders: &[serde_json::Value]) -> serde_json::Value {
    json!({"type": "Sequence", "decoders": decoders})
}

fn streamed(decoder: Option<&serde_json::Value>, tokens: &[String]) -> String {
    let mut detokenizer = Detokenizer::new(decoder).unwrap();
    let mut text = String::new();
    tokens
        .iter()
        .for_each(|token| detokenizer.push(token.clone(), &mut text));
    detokenizer.finish(&mut text);
    text
}

/// The decoders of Llama 2 and Mistral, Gemma, T5, GPT-2 and Llama 3, and what else is accepted.
fn supported() -> Vec<serde_json::Value> {
    let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let bytes = json!({"type": "ByteFallback"});
    let fuse = json!({"type": "Fuse"});
    let strip = |start: usize| json!({"type": "Strip", "content": " ", "start": start, "stop": 0});
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
    });
    let metaspace = |scheme: &str| json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    vec![
        sequence(&[replace.clone(), bytes.clone(), fuse.clone(), strip(1)]),
        sequence(&[
            replace.clone(),
            bytes.clone(),
            fuse.clone(),
            strip(3),
            fuse.clone(),
            strip(1),
        ]),
        sequence(&[replace.clone(), bytes.clone(), fuse]),
        sequence(&[replace.clone(), bytes.clone(), strip(2)]),
        sequence(&[bytes.clone(), metaspace("always")]),
        sequence(&[
            sequence(std::slice::from_ref(&replace)),
            byte_level.clone(),
            strip(1),
        ]),
        metaspace("first"),
        metaspace("never"),
        byte_level,
        replace,
        bytes,
        strip(1),
        json!({"type": "Replace", "pattern": {"Regex": " +|▁(a|b)*"}, "content": "-"}),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn streaming_is_decoding_the_whole(
        at in 0..13_usize,
        tokens in prop::collection::vec(prop_oneof![
            Just("<0xE4>"), Just("<0xBD>"), Just("<0xa0>"), Just("<0x41>"), Just("<0xF0>"), Just("<0x+1>"), Just("<0xé>"),
            Just("▁"), Just("▁a"), Just(" "), Just("  b"), Just(""), Just("Ġ"), Just("ä½"), Just("ł"),
            Just("ð"), Just("<|end|>"), Just("世"),
        ].prop_map(String::from), 0..20),
    ) {
        let json = &supported()[at];
        let decoder = decoder(json);
        let whole = decoder.decode(tokens.clone()).unwrap();
        prop_assert_eq!(streamed(Some(json), &tokens), whole, "{}", json);
        prop_assert_eq!(streamed(None, &tokens), tokens.join(" "));
    }
}

#[test]
fn every_byte_has_its_gpt2_spelling() {
    let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
    assert_eq!(alphabet.len(), 256);
    let mut bytes: Vec<u8> = alphabet
        .iter()
        .map(|&c| byte_level_byte(c).unwrap())
        .collect();
    bytes.sort_unstable();
    assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    for (spelled, byte) in [
        ('Ġ', b' '),
        ('Ċ', b'\n'),
        ('a', b'a'),
        ('Ń', 0xad),
        ('ł', 0xa0),
    ] {
        assert_eq!(byte_level_byte(spelled), Some(byte));
    }
    assert!(
        [' ', '\n', '\u{7f}', '\u{ad}', '\u{144}', '世']
            .iter()
            .all(|&c| byte_level_byte(c).is_none())
    );
}

#[test]
fn what_cannot_be_streamed_is_refused_by_name() {
    let refused = |json: serde_json::Value| match Detokenizer::new(Some(&json)) {
        Err(TokenizerError::UnsupportedDecoder { found }) => found,
        other => panic!("{json}: {other:?}"),
    };
    let fuse = json!({"type": "Fuse"});
    let bytes = json!({"type": "ByteFallback"});
    let strip_end = json!({"type": "Strip", "content": " ", "start": 0, "stop": 1});
    let regex = json!({"type": "Replace", "pattern": {"Regex": "a+(?!b)"}, "content": ""});
    assert!(
        refused(json!({"type": "WordPiece", "prefix": "##", "cleanup": true}))
            .contains("WordPiece")
    );
    assert!(refused(regex).contains("Replace"));
    assert!(refused(strip_end).contains("Strip"));
    assert!(refused(sequence(&[fuse, bytes])).contains("ByteFallback after Fuse"));
}
