use crate::chat_template::{CONFIG_FILE, ChatTemplate, SPECIAL_TOKENS_FILE, TEMPLATE_FILE};
use crate::tokenizer::{TOKENIZER_FILE, Tokenizer, TokenizerError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use talaria_wire::channel::message::Message;

fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn files(config: &Value, map: &Value) -> BTreeMap<String, Vec<u8>> {
    let json = fixture("../tests/fixtures/demo-qwen3/tokenizer.json");
    let mut files = BTreeMap::from([
        (TOKENIZER_FILE.to_owned(), json),
        (CONFIG_FILE.to_owned(), config.to_string().into_bytes()),
    ]);
    if !map.is_null() {
        files.insert(SPECIAL_TOKENS_FILE.to_owned(), map.to_string().into_bytes());
    }
    files
}

#[derive(Deserialize)]
struct Reference {
    said: Vec<String>,
    configurations: Vec<Configuration>,
}

#[derive(Deserialize)]
struct Configuration {
    name: String,
    config: Value,
    map: Value,
    ids: Vec<Vec<u32>>,
    decoded: Vec<String>,
    /// Special tokens in a chat template.
    variables: String,
}

const VARIABLES: &str = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ cls_token }}|{{ unk_token }}|\
                         {{ image_token }}|{{ additional_special_tokens }}|{{ extra_special_tokens }}";

/// `../tests/make_reference.py` says how the expected values came about.
#[test]
fn tokens_of_the_configuration_are_merged_as_transformers_does() {
    let reference: Reference =
        serde_json::from_slice(&fixture("src/tokenizer/tests/reference.json")).unwrap();
    assert!(reference.configurations.len() > 10);
    for case in &reference.configurations {
        let mut files = files(&case.config, &case.map);
        let tokenizer = Tokenizer::from_files(&files).unwrap();
        for ((said, ids), decoded) in reference.said.iter().zip(&case.ids).zip(&case.decoded) {
            let name = format!("{}: {said:?}", case.name);
            assert_eq!(&tokenizer.encode(said, false).unwrap(), ids, "{name}");
            assert_eq!(&tokenizer.decode(ids, true).unwrap(), decoded, "{name}");
        }
        files.insert(TEMPLATE_FILE.to_owned(), VARIABLES.into());
        let template = ChatTemplate::from_files(&files).unwrap().unwrap();
        let message = Message::new("user", "");
        let variables = template.render(&[message], true, None).unwrap();
        assert_eq!(variables, case.variables, "{}", case.name);
    }
}

/// The id that the configuration has for a token that no other file knows.
#[test]
fn a_token_that_only_the_configuration_has_gets_its_id() {
    let token = json!({
        "content": "<|tool|>", "lstrip": false, "normalized": false, "rstrip": false, "single_word": false,
        "special": true,
    });
    let config = json!({"added_tokens_decoder": {"4092": token, "6000": {"content": "<|far|>", "special": true}}});
    let tokenizer = Tokenizer::from_files(&files(&config, &Value::Null)).unwrap();
    assert_eq!(
        tokenizer.encode("x<|tool|>y", false).unwrap(),
        [87, 4092, 88]
    );
    assert_eq!(
        tokenizer.decode(&[87, 4092, 6000], false).unwrap(),
        "x<|tool|><|far|>"
    );
    assert_eq!(tokenizer.decode(&[87, 4092, 6000], true).unwrap(), "x");
    assert_eq!(tokenizer.token_to_id("<|tool|>"), Some(4092));
    assert_eq!(tokenizer.id_to_token(6000).as_deref(), Some("<|far|>"));
    assert!(tokenizer.is_special(4092));
    assert_eq!(tokenizer.token_bytes(6000), b"<|far|>");
    assert_eq!(tokenizer.vocab_size(), 6001);
    // What the crate counted on.
    assert_eq!(tokenizer.id_to_token(4096), None);
    assert_eq!(tokenizer.decode(&[4096], false).unwrap(), "");
}

#[test]
fn a_broken_configuration_is_named() {
    let refused = |config: Value| match Tokenizer::from_files(&files(&config, &Value::Null)) {
        Err(TokenizerError::Broken { file, reason }) => (file, reason),
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("{config}"),
    };
    for (config, why) in [
        (json!({"added_tokens_decoder": []}), "not a mapping"),
        (json!({"added_tokens_decoder": {"x": "y"}}), "the id \"x\""),
        (
            json!({"added_tokens_decoder": {"-1": "y"}}),
            "the id \"-1\"",
        ),
        (
            json!({"added_tokens_decoder": {"1": {"lstrip": true}}}),
            "missing field `content`",
        ),
        (json!([]), "invalid type"),
    ] {
        let (file, reason) = refused(config);
        assert_eq!(file, CONFIG_FILE);
        assert!(reason.contains(why), "{reason}");
    }
    let many: serde_json::Map<_, _> = (0..=super::MAX_TOKENS)
        .map(|id| (id.to_string(), "x".into()))
        .collect();
    let (_, reason) = refused(json!({ "added_tokens_decoder": many }));
    assert!(reason.contains("added tokens"), "{reason}");
}
