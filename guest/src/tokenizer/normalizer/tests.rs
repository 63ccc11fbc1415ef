use super::*;
use serde_json::json;
use tokenizers::Normalizer as _;

fn normalized(config: &Value, text: &str) -> Result<String, String> {
    take_failure();
    let mut text = NormalizedString::from(text);
    let done = Normalizer::new(config).unwrap().normalize(&mut text);
    assert_eq!(take_failure().is_some(), done.is_err());
    done.map(|()| text.get().to_owned())
        .map_err(|e| e.to_string())
}

/// `../tests/make_reference.py` says how the expected texts came about: SentencePiece's own charsmap.
#[test]
fn precompiled_normalizes_as_the_reference() {
    #[derive(Deserialize)]
    struct Reference {
        precompiled: Precompiled,
    }
    #[derive(Deserialize)]
    struct Precompiled {
        charsmap: String,
        cases: Vec<(String, String)>,
    }
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/tokenizer/tests/reference.json"
    );
    let reference: Reference = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let Precompiled { charsmap, cases } = reference.precompiled;
    let config = json!({"type": "Precompiled", "precompiled_charsmap": charsmap});
    assert!(cases.len() > 9);
    for (text, expected) in &cases {
        assert_eq!(normalized(&config, text).as_ref(), Ok(expected), "{text:?}");
    }
    // Any unit may be anything in a hostile file.
    let mut bytes = precompiled::decode_base64(&charsmap).unwrap();
    for at in 4..bytes.len() {
        let kept = bytes[at];
        for other in [0, 0xff, kept ^ 0x81] {
            bytes[at] = other;
            if let Some(charsmap) = Charsmap::of_bytes(&bytes) {
                for (text, _) in &cases {
                    charsmap.normalize(&mut NormalizedString::from(text.as_str()));
                }
            }
        }
        bytes[at] = kept;
    }
}

#[test]
fn replace_with_a_regular_expression_works() {
    let replace = |regex: &str, content: &str| {
        json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": ""},
            {"type": "Replace", "pattern": {"Regex": regex}, "content": content},
        ]})
    };
    assert_eq!(
        normalized(&replace(" {2,}", "▁"), "a  b   c d").unwrap(),
        "a▁b▁c d"
    );
    assert_eq!(
        normalized(&replace("^#+ ", "- "), "# a\n## b").unwrap(),
        "- a\n- b"
    );
    assert_eq!(
        normalized(&replace(r"\s+$", ""), "a  \nb  ").unwrap(),
        "a\nb"
    );
    let empty = normalized(&replace("x*", "-"), "ab").unwrap_err();
    assert!(empty.contains("no length"), "{empty}");
}
