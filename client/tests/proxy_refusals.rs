//! The proxy where something is wrong: with a request, a caller, the payload or the connection to it.

mod cvm;
mod served;

use std::sync::atomic::Ordering;
use std::time::Duration;

use cvm::Script;
use serde_json::{Value, json};
use served::{Response, serve};
use talaria_client::proxy::Guard;
use talaria_wire::channel::message::Prompt;
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let served = serve(Script::default(), None).await;
    let with = |content: Value| json!({ "messages": [{ "role": "user", "content": content }] });
    let called =
        |call: Value| json!({ "messages": [{ "role": "assistant", "tool_calls": [call] }] });
    let chats = [
        (
            json!({ "messages": null }),
            "messages",
            "missing_required_parameter",
        ),
        (json!({ "messages": "hi" }), "messages", "invalid_type"),
        (json!({ "messages": [] }), "messages", "empty_array"),
        (json!({ "messages": ["hi"] }), "messages[0]", "invalid_type"),
        (
            json!({ "messages": [{ "role": "user" }] }),
            "messages[0].content",
            "missing_required_parameter",
        ),
        (
            json!({ "messages": [{ "content": "a" }] }),
            "messages[0].role",
            "missing_required_parameter",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": "a", "colour": 1 }] }),
            "messages[0].colour",
            "unknown_parameter",
        ),
        // As OpenAI: there is content, but where tools are called.
        (
            with(json!(null)),
            "messages[0].content",
            "missing_required_parameter",
        ),
        (with(json!(7)), "messages[0].content", "invalid_type"),
        (
            json!({ "messages": [{ "role": "assistant", "content": null, "tool_calls": [] }] }),
            "messages[0].content",
            "missing_required_parameter",
        ),
        (
            called(json!("f")),
            "messages[0].tool_calls[0]",
            "invalid_type",
        ),
        (
            called(json!({ "id": "1", "type": "custom", "custom": {} })),
            "messages[0].tool_calls[0].custom",
            "unknown_parameter",
        ),
        (
            called(json!({ "id": "1", "function": { "name": "f", "arguments": "" } })),
            "messages[0].tool_calls[0].type",
            "invalid_value",
        ),
        (
            called(json!({ "id": "1", "type": "function" })),
            "messages[0].tool_calls[0].function",
            "missing_required_parameter",
        ),
        (
            called(json!({ "id": "1", "type": "function", "function": { "name": "f" } })),
            "messages[0].tool_calls[0].function.arguments",
            "missing_required_parameter",
        ),
        (
            called(json!({ "type": "function", "function": { "name": "f", "arguments": "" } })),
            "messages[0].tool_calls[0].id",
            "missing_required_parameter",
        ),
        (
            json!({ "messages": [{ "role": "assistant", "tool_calls": vec![json!({}); 129] }] }),
            "messages[0].tool_calls",
            "array_above_max_length",
        ),
        (
            with(json!([{ "type": "text", "text": "a" }, { "type": "text" }])),
            "messages[0].content[1].text",
            "missing_required_parameter",
        ),
        (
            with(json!([{ "type": "image_url", "image_url": {} }])),
            "messages[0].content[0].image_url",
            "unsupported_parameter",
        ),
        (
            with(json!([{ "type": "file" }])),
            "messages[0].content[0].type",
            "invalid_value",
        ),
        (
            json!({ "temperature": -1 }),
            "temperature",
            "decimal_below_min_value",
        ),
        (
            json!({ "temperature": "hot" }),
            "temperature",
            "invalid_type",
        ),
        (
            json!({ "temperature": 1e300 }),
            "temperature",
            "decimal_above_max_value",
        ),
        (json!({ "top_p": -0.1 }), "top_p", "decimal_below_min_value"),
        (json!({ "top_p": 1.1 }), "top_p", "decimal_above_max_value"),
        (json!({ "top_k": 1.5 }), "top_k", "invalid_type"),
        (json!({ "min_p": 2 }), "min_p", "decimal_above_max_value"),
        (
            json!({ "repetition_penalty": 0 }),
            "repetition_penalty",
            "decimal_below_min_value",
        ),
        (
            json!({ "presence_penalty": 2.5 }),
            "presence_penalty",
            "decimal_above_max_value",
        ),
        (
            json!({ "frequency_penalty": -3 }),
            "frequency_penalty",
            "decimal_below_min_value",
        ),
        (
            json!({ "logit_bias": { "x": 1 } }),
            "logit_bias",
            "invalid_value",
        ),
        (
            json!({ "logit_bias": { "1": 101 } }),
            "logit_bias",
            "invalid_value",
        ),
        (json!({ "n": 0 }), "n", "integer_below_min_value"),
        (json!({ "n": 65 }), "n", "integer_above_max_value"),
        (
            json!({ "max_tokens": 0 }),
            "max_tokens",
            "integer_below_min_value",
        ),
        (
            json!({ "max_completion_tokens": -1 }),
            "max_completion_tokens",
            "integer_below_min_value",
        ),
        (
            json!({ "max_completion_tokens": 1, "max_tokens": 2 }),
            "max_tokens",
            "invalid_value",
        ),
        (
            json!({ "stop": vec!["a"; 17] }),
            "stop",
            "array_above_max_length",
        ),
        (json!({ "stop": "" }), "stop", "empty_string"),
        (json!({ "stop": ["a", ""] }), "stop", "empty_string"),
        (json!({ "stop": [1] }), "stop", "invalid_type"),
        (json!({ "seed": 0.5 }), "seed", "invalid_value"),
        (json!({ "stream": "yes" }), "stream", "invalid_type"),
        (
            json!({ "stream_options": {} }),
            "stream_options",
            "invalid_value",
        ),
        (
            json!({ "stream": true, "stream_options": { "colour": 1 } }),
            "stream_options.colour",
            "unknown_parameter",
        ),
        (
            json!({ "top_logprobs": 3 }),
            "top_logprobs",
            "invalid_value",
        ),
        (
            json!({ "logprobs": true, "top_logprobs": 21 }),
            "top_logprobs",
            "integer_above_max_value",
        ),
        (json!({ "prompt": "a" }), "prompt", "unknown_parameter"),
    ];
    let completions = [
        (
            json!({ "prompt": null }),
            "prompt",
            "missing_required_parameter",
        ),
        (json!({ "prompt": [] }), "prompt", "empty_array"),
        (json!({ "prompt": {} }), "prompt", "invalid_type"),
        (json!({ "prompt": [[]] }), "prompt", "invalid_type"),
        (json!({ "prompt": [1, -1] }), "prompt", "invalid_type"),
        (json!({ "prompt": [1, "a"] }), "prompt", "invalid_type"),
        (
            json!({ "prompt": vec!["a"; 65] }),
            "prompt",
            "array_above_max_length",
        ),
        (
            json!({ "prompt": vec!["a"; 33], "n": 2 }),
            "n",
            "integer_above_max_value",
        ),
        (
            json!({ "max_tokens": 0 }),
            "max_tokens",
            "integer_below_min_value",
        ),
        (json!({ "logprobs": true }), "logprobs", "invalid_type"),
        (
            json!({ "top_logprobs": 1 }),
            "top_logprobs",
            "unknown_parameter",
        ),
    ];
    let mut responses = Vec::new();
    for (more, param, code) in chats {
        responses.push((served.chat("hi", more).await, param, code));
    }
    for (more, param, code) in completions {
        responses.push((served.complete(json!("a"), more).await, param, code));
    }
    for (response, param, code) in responses {
        assert_refused(&response, param, code);
    }
    assert!(served.cvm.seen.requests.lock().unwrap().is_empty());
    for body in ["", "{", "[]", "\"a\""] {
        let head = served.head("POST", "/v1/chat/completions");
        assert_eq!(
            served.raw(&head, body.as_bytes()).await.status,
            400,
            "{body}"
        );
    }
}

fn assert_refused(response: &Response, param: &str, code: &str) {
    assert_eq!(response.status, 400, "{param}: {}", response.body);
    let error = &response.json()["error"];
    assert_eq!(error["type"], "invalid_request_error");
    assert_eq!(
        (&error["param"], &error["code"]),
        (&json!(param), &json!(code)),
        "{error}"
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.len() > 10);
    // Of a bound of top_p that had 41 digits.
    let digits = message.split(|c: char| !c.is_ascii_digit());
    assert!(
        digits.max_by_key(|d| d.len()).unwrap().len() <= 10,
        "{message}"
    );
}

/// Values that ask for something, by the endpoints that know them.
fn unsupported() -> Vec<(&'static str, Value)> {
    let function = json!({ "type": "function", "function": { "name": "f" } });
    vec![
        ("tools", json!([function])),
        ("tool_choice", json!("required")),
        ("tool_choice", function),
        ("functions", json!([{ "name": "f" }])),
        ("function_call", json!({ "name": "f" })),
        ("web_search_options", json!({})),
        ("response_format", json!({ "type": "json_object" })),
        ("response_format", json!({ "type": "json_schema" })),
        ("structured_outputs", json!({ "choice": ["a"] })),
        ("guided_json", json!({ "type": "object" })),
        ("guided_choice", json!(["a"])),
        ("grammar", json!("root ::= \"a\"")),
        ("verbosity", json!("low")),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({ "voice": "alloy" })),
        ("chat_template", json!("{{ messages }}")),
        ("chat_template_kwargs", json!({ "enable_thinking": false })),
        ("add_generation_prompt", json!(false)),
        ("continue_final_message", json!(true)),
        ("truncate_prompt_tokens", json!(5)),
        ("reasoning_effort", json!("low")),
        ("min_tokens", json!(4)),
        ("stop_token_ids", json!([2])),
        ("include_stop_str_in_output", json!(true)),
        ("bad_words", json!(["a"])),
        ("allowed_token_ids", json!([1])),
        ("typical_p", json!(0.5)),
        ("mirostat", json!(2)),
        ("dry_multiplier", json!(0.8)),
        ("xtc_probability", json!(0.5)),
        ("samplers", json!(["top_k"])),
        ("best_of", json!(2)),
        ("use_beam_search", json!(true)),
        ("length_penalty", json!(2)),
        ("early_stopping", json!(true)),
        ("prediction", json!({ "type": "content", "content": "a" })),
        ("echo", json!(true)),
        ("prompt_logprobs", json!(0)),
        ("n_probs", json!(2)),
        ("skip_special_tokens", json!(false)),
        ("spaces_between_special_tokens", json!(false)),
    ]
}

#[tokio::test]
async fn what_would_change_the_reply_is_refused_and_never_dropped() {
    let served = serve(Script::default(), None).await;
    for (name, value) in unsupported() {
        let response = served.chat("hi", json!({ name: value })).await;
        let code = response.json()["error"]["code"].clone();
        let code = code.as_str().unwrap_or_default();
        assert!(code == "unsupported_parameter" || code == "unsupported_value");
        assert_refused(&response, name, code);
        // What is not there at all is not asked for.
        let response = served.chat("hi", json!({ name: null })).await;
        assert_eq!(response.status, 200, "{name}: {}", response.body);
    }
    for (name, value) in [
        ("suffix", json!("z")),
        ("echo", json!(true)),
        ("min_tokens", json!(1)),
    ] {
        let response = served.complete(json!("a"), json!({ name: value })).await;
        assert_eq!(
            (response.status, &response.json()["error"]["param"]),
            (400, &json!(name))
        );
    }
}

#[tokio::test]
async fn what_is_not_known_is_refused() {
    let served = serve(Script::default(), None).await;
    let response = served.chat("hi", json!({ "colour": "blue" })).await;
    assert_refused(&response, "colour", "unknown_parameter");
    // As clients recognise it that try again without.
    let message = response.json()["error"]["message"].to_string();
    assert!(message.contains("Unknown parameter: 'colour'"), "{message}");
    let long = "\u{7}\u{1b}".repeat(1 << 20);
    let response = served
        .complete(json!("a"), json!({ long.as_str(): 1 }))
        .await;
    assert_eq!(response.status, 400);
    assert!(response.body.len() < 2000 && !response.body.contains("u001b"));
}

#[tokio::test]
async fn values_that_ask_for_nothing_are_accepted() {
    let served = serve(Script::default(), None).await;
    let neutral = json!({
        "tools": [], "tool_choice": "none", "functions": [], "function_call": "auto", "parallel_tool_calls": true,
        "response_format": { "type": "text" }, "modalities": ["text"], "chat_template_kwargs": {},
        "add_generation_prompt": true, "continue_final_message": false, "min_tokens": 0, "stop_token_ids": [],
        "bad_words": [], "typical_p": 1, "mirostat": 0.0, "mirostat_tau": 5, "dry_multiplier": 0, "dry_base": 1.75,
        "xtc_probability": 0, "xtc_threshold": 0.1, "best_of": 1, "use_beam_search": false, "length_penalty": 1.0,
        "early_stopping": false, "echo": false, "skip_special_tokens": true, "cache_prompt": true, "user": "u",
        "metadata": { "a": "b" }, "store": true, "service_tier": "auto", "seed": 3.0, "stop": [], "logit_bias": {},
        "top_logprobs": 0, "stream_options": null, "logprobs": false, "max_tokens": 4, "max_completion_tokens": 4,
    });
    let response = served.chat("hi", neutral).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let messages = json!([{
        "role": "assistant", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }],
        "refusal": null, "annotations": [], "audio": null, "function_call": null, "tool_calls": null,
    }]);
    let response = served
        .chat("", json!({ "messages": messages, "stop": null }))
        .await;
    assert_eq!(response.status, 200, "{}", response.body);
    let requests = served.cvm.seen.requests.lock().unwrap();
    assert!(requests.iter().all(|request| request.stop.is_empty()));
    assert_eq!(requests[0].sampling.seed, Some(3));
    let Prompt::Chat(said) = &requests[1].prompt else {
        panic!("not a chat");
    };
    assert_eq!((said.len(), said[0].content.as_deref()), (1, Some("ab")));
}

#[tokio::test]
async fn bodies_of_reports() {
    let cases = [
        (include_str!("cases/dropped_fields.json"), 400),
        (include_str!("cases/top_p_zero.json"), 200),
        (include_str!("cases/usage_of_n.json"), 200),
        (include_str!("cases/content_null.json"), 200),
    ];
    let served = serve(Script::default(), None).await;
    for (body, status) in cases {
        let head = served.head("POST", "/v1/chat/completions");
        let response = served.raw(&head, body.as_bytes()).await;
        assert_eq!(response.status, status, "{body}: {}", response.body);
    }
}

#[tokio::test]
async fn failures_have_their_statuses() {
    let served = serve(Script::default(), None).await;
    for (how, status) in [
        ("refused", 400),
        ("busy", 429),
        ("host", 502),
        ("integrity", 502),
        ("internal", 502),
    ] {
        for stream in [false, true] {
            let response = served
                .chat(&format!("fail {how}"), json!({ "stream": stream }))
                .await;
            assert_eq!(response.status, status, "{how}");
            assert!(
                response.json()["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("asked for")
            );
        }
    }
    assert_eq!(served.get("/v1/nothing").await.status, 404);
    assert_eq!(served.get("/v1/completions").await.status, 405);
    let head = served.head("POST", "/v1/completions");
    let long = vec![b' '; (16 << 20) + 1];
    assert_eq!(served.raw(&head, &long).await.status, 413);
}

#[tokio::test]
async fn a_reply_that_is_cut_off_is_never_done() {
    let cut = Script {
        cut_after: Some(3),
        ..Script::default()
    };
    let served = serve(cut, None).await;
    let response = served.chat("count 9", json!({ "stream": true })).await;
    assert_eq!(response.status, 200);
    assert!(!response.body.contains("[DONE]"), "{}", response.body);
    assert!(!response.body.contains("\"finish_reason\":\"stop\""));
    let last = response.body.trim_end().rsplit("data: ").next().unwrap();
    let error: Value = serde_json::from_str(last).unwrap();
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("cut off")
    );

    let response = served.chat("count 9", json!({})).await;
    assert_eq!(response.status, 503);
    assert!(
        response.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("cut off")
    );

    // The next request has a connection of its own, verified anew.
    served.cvm.script.lock().unwrap().cut_after = None;
    assert_eq!(served.chat("hi", json!({})).await.status, 200);
    assert_eq!(served.cvm.seen.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_service_that_does_not_pass_is_not_asked() {
    let mut script = Script::default();
    script.claims.model_digest = [9; 32];
    let served = serve(script, None).await;
    let response = served.chat("secret", json!({})).await;
    assert_eq!(response.status, 502);
    assert_eq!(response.json()["error"]["code"], "evidence_refused");
    assert_eq!(served.get("/health").await.status, 502);
    assert_eq!(served.cvm.binary(), [0; 0]);
}

#[tokio::test]
async fn a_caller_that_hangs_up_cancels() {
    for stream in [true, false] {
        let slow = Script {
            pace: Duration::from_millis(5),
            ..Script::default()
        };
        let served = serve(slow, None).await;
        let messages = json!([{ "role": "user", "content": "count 9000" }]);
        let body = json!({ "messages": messages, "stream": stream, "n": 2 }).to_string();
        let head = served.head("POST", "/v1/chat/completions");
        let head = head.replace("Connection: close", "");
        let mut caller = served.send(&head, body.as_bytes()).await;
        if stream {
            caller.read_exact(&mut [0; 500]).await.unwrap();
        } else {
            served.cvm.until(|seen| &seen.events, 5).await;
        }
        assert!(
            served
                .get("/metrics")
                .await
                .body
                .contains("active_streams 2")
        );
        drop(caller);
        served.cvm.until(|seen| &seen.cancelled, 2).await;
        assert!(
            served
                .get("/metrics")
                .await
                .body
                .contains("active_streams 0")
        );
    }
}

#[tokio::test]
async fn many_callers_at_a_time() {
    let served = std::sync::Arc::new(serve(Script::default(), None).await);
    let tasks: Vec<_> = (1..33)
        .map(|n| {
            let served = served.clone();
            tokio::spawn(async move {
                let reply = served.chat(&format!("count {n}"), json!({})).await.json();
                assert_eq!(reply["usage"]["completion_tokens"], n);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(served.cvm.seen.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn web_pages_are_refused_without_a_key() {
    let served = serve(Script::default(), None).await;
    let port = served.address.port();
    let get =
        |host: String, more: &str| format!("GET /v1/models HTTP/1.1\r\nHost: {host}\r\n{more}");
    for (head, status) in [
        (get(format!("127.0.0.1:{port}"), ""), 200),
        (get(format!("LocalHost:{port}"), ""), 200),
        (get(format!("127.0.0.1:{port}"), "Origin: null\r\n"), 403),
        (
            get(
                format!("127.0.0.1:{port}"),
                "Origin: https://evil.example\r\n",
            ),
            403,
        ),
        (get(format!("evil.example:{port}"), ""), 403),
        (get("127.0.0.1:1".into(), ""), 403),
        (get("localhost".into(), ""), 403),
    ] {
        let response = served.raw(&head, b"").await;
        assert_eq!(response.status, status, "{head}");
        if status == 403 {
            assert!(
                response.json()["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("--api-key")
            );
        }
    }
}

#[tokio::test]
async fn the_key_is_needed_where_there_is_one() {
    let served = serve(Script::default(), Some("sk-owl")).await;
    let get = |more: &str| format!("GET /v1/models HTTP/1.1\r\nHost: x.example\r\n{more}");
    for (more, status) in [
        ("", 401),
        ("Authorization: Bearer sk-ow\r\n", 401),
        ("Authorization: Bearer sk-owk\r\n", 401),
        ("Authorization: Basic sk-owl\r\n", 401),
        ("Authorization: Bearer sk-owl\r\n", 200),
        (
            "Authorization: Bearer sk-owl\r\nOrigin: https://own.example\r\n",
            200,
        ),
    ] {
        let response = served.raw(&get(more), b"").await;
        assert_eq!(response.status, status, "{more}");
        if status == 401 {
            assert_eq!(response.json()["error"]["code"], "invalid_api_key");
        }
    }
    assert_eq!(served.get("/health").await.status, 200);
    assert!(Guard::new("0.0.0.0:8080".parse().unwrap(), None).is_err());
    assert!(Guard::new("0.0.0.0:8080".parse().unwrap(), Some("k".into())).is_ok());
}
