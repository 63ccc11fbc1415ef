use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::super::parameters;
use super::*;

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("role|content|type|text|[0-9]{1,3}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

const FIELDS: [&str; 29] = [
    "messages",
    "prompt",
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "n",
    "stop",
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
    "response_format",
    "modalities",
    "min_tokens",
    "mirostat",
    "echo",
    "best_of",
    "suffix",
    "audio",
    "talaria_date",
];

fn asked(endpoint: Endpoint, date: Value) -> Result<Request, String> {
    let body = match endpoint {
        Endpoint::Chat => {
            json!({ "messages": [{ "role": "user", "content": "a" }], "talaria_date": date })
        }
        Endpoint::Completions => json!({ "prompt": "a", "talaria_date": date }),
    };
    let asked = Asked::parse(endpoint, body.to_string().as_bytes());
    asked
        .map(|mut asked| asked.requests.remove(0))
        .map_err(|error| error.body().to_string())
}

#[test]
fn a_chat_has_the_date_that_the_caller_says_or_that_of_today() {
    let said = asked(Endpoint::Chat, json!("2026-07-26T14:30"))
        .unwrap()
        .now;
    assert_eq!(said, "2026-07-26T14:30".parse().ok());
    let today = asked(Endpoint::Chat, Value::Null).unwrap().now;
    assert!(today.unwrap().year() >= 2025, "{today:?}");
    assert_eq!(asked(Endpoint::Completions, Value::Null).unwrap().now, None);
    for wrong in [json!("26.7.2026"), json!(20260726), json!("2026-02-30")] {
        let error = asked(Endpoint::Chat, wrong).err().unwrap();
        assert!(
            error.contains("talaria_date': expected a date such as"),
            "{error}"
        );
    }
}

proptest! {
    #[test]
    fn no_body_makes_the_parser_panic(
        field in prop::sample::select(&FIELDS[..]),
        value in json_value(),
        body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        for endpoint in [Endpoint::Chat, Endpoint::Completions] {
            let mut valid = json!({ "messages": [{ "role": "user", "content": "a" }] });
            if endpoint == Endpoint::Completions {
                valid = json!({ "prompt": "a" });
            }
            valid[field] = value.clone();
            if let Ok(asked) = Asked::parse(endpoint, valid.to_string().as_bytes()) {
                prop_assert!((1..=MAX_STREAMS).contains(&asked.requests.len()));
                let request = &asked.requests[0];
                prop_assert!(request.max_new_tokens > 0 && request.stop.len() <= MAX_STOP_STRINGS);
                prop_assert!(request.sampling.temperature.is_finite());
            }
            let _ = Asked::parse(endpoint, &body);
        }
    }
}

/// What a row of `read` that nobody reads would be: refused by [`Fields::finish`].
#[test]
fn all_that_is_to_be_read_is_read() {
    let both = json!({
        "model": "m", "max_tokens": 3, "max_completion_tokens": 3, "temperature": 1, "top_p": 1, "top_k": 1,
        "min_p": 0, "repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0, "logit_bias": {},
        "seed": 1, "n": 1, "stop": "a", "stream": true, "stream_options": { "include_usage": true },
        "ignore_eos": true, "talaria_receipt": true, "prompt_cache_key": "a",
    });
    let text = json!([{ "type": "text", "text": "a" }]);
    let chat = json!({
        "messages": [{ "role": "user", "content": text }], "logprobs": true, "top_logprobs": 1,
        "talaria_date": "2026-07-26",
    });
    let completions = json!({ "prompt": "a", "logprobs": 1 });
    for (endpoint, own) in [(Endpoint::Chat, chat), (Endpoint::Completions, completions)] {
        let mut body = both.as_object().unwrap().clone();
        body.extend(own.as_object().unwrap().clone());
        let names: BTreeSet<&str> = body.keys().map(String::as_str).collect();
        assert_eq!(names, parameters::read_of_body(endpoint));
        let body = serde_json::to_vec(&body).unwrap();
        assert!(Asked::parse(endpoint, &body).is_ok());
    }
}
