//! Bodies of the OpenAI API.

use serde_json::json;
use talaria_client::proxy::{Asked, Endpoint};
use talaria_wire::channel::MAX_STREAMS;
use talaria_wire::channel::message::ToPayload;

use crate::Seed;

/// [`Asked::parse`] for `/v1/chat/completions`.
pub fn chat(data: &[u8]) {
    parse(Endpoint::Chat, data);
}

/// [`Asked::parse`] for `/v1/completions`.
pub fn completions(data: &[u8]) {
    parse(Endpoint::Completions, data);
}

/// At least one request and no more than a connection has streams, each as the payload would read it.
fn parse(endpoint: Endpoint, body: &[u8]) {
    match Asked::parse(endpoint, body) {
        Ok(asked) => {
            assert!((1..=MAX_STREAMS).contains(&asked.requests.len()));
            for request in asked.requests {
                assert!(request.max_new_tokens > 0);
                let message = ToPayload::Request(request);
                let read = ToPayload::from_bytes(&message.to_bytes());
                assert!(read.is_ok_and(|read| read == message));
            }
        }
        Err(error) => assert!(error.body()["error"]["message"].is_string()),
    }
}

/// Conversations, plain and with every field.
pub fn chat_seeds() -> Vec<Seed> {
    let plain = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
    let full = json!({
        "model": "m", "stream": true, "stream_options": { "include_usage": true }, "n": 2,
        "messages": [
            { "role": "developer", "content": "be brief" },
            { "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } },
            ] },
            { "role": "tool", "tool_call_id": "a", "name": "f", "content": "1" },
            { "role": "assistant", "content": "c", "tool_calls": [] },
        ],
        "temperature": 0.7, "top_p": 0.9, "top_k": -1, "min_p": 0.1, "repetition_penalty": 1.1,
        "presence_penalty": -2, "frequency_penalty": 2.0, "logit_bias": { "3": -100, "7": 0.5 },
        "seed": -1, "stop": ["x", "y"], "max_completion_tokens": 7, "logprobs": true,
        "top_logprobs": 20, "ignore_eos": false, "talaria_receipt": true, "tool_choice": "none",
        "response_format": { "type": "text" }, "modalities": ["text"], "user": "u",
    });
    vec![
        Seed::new("plain.json", plain.to_string()),
        Seed::new("full.json", full.to_string()),
    ]
}

/// Prompts of all four forms.
pub fn completion_seeds() -> Vec<Seed> {
    let body = |name, prompt| {
        let body = json!({
            "model": "m", "prompt": prompt, "max_tokens": 5, "n": 3, "logprobs": 2, "seed": 1,
            "echo": false, "best_of": 1, "suffix": "", "stop": "x",
        });
        Seed::new(name, body.to_string())
    };
    vec![
        body("text.json", json!("a")),
        body("texts.json", json!(["a", "b"])),
        body("ids.json", json!([1, 2, 3])),
        body("lists.json", json!([[1, 2], [4_294_967_295_u32]])),
    ]
}
