//! The proxy where something is wrong: with a request, a caller, the payload or the connection to it.

mod cvm;
mod served;

use std::sync::atomic::Ordering;
use std::time::Duration;

use cvm::Script;
use serde_json::{Value, json};
use served::serve;
use talaria_client::proxy::Guard;
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let served = serve(Script::default(), None).await;
    let image = json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }]);
    let chats = [
        (json!({ "messages": "hi" }), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": image }), "messages"),
        (json!({ "messages": [{ "role": "user" }] }), "messages"),
        (json!({ "temperature": -1 }), "temperature"),
        (json!({ "temperature": "hot" }), "temperature"),
        (json!({ "temperature": 1e300 }), "temperature"),
        (json!({ "top_p": 0 }), "top_p"),
        (json!({ "top_p": 1.1 }), "top_p"),
        (json!({ "top_k": 1.5 }), "top_k"),
        (json!({ "min_p": 2 }), "min_p"),
        (json!({ "repetition_penalty": 0 }), "repetition_penalty"),
        (json!({ "presence_penalty": 2.5 }), "presence_penalty"),
        (json!({ "frequency_penalty": -3 }), "frequency_penalty"),
        (json!({ "logit_bias": { "x": 1 } }), "logit_bias"),
        (json!({ "logit_bias": { "1": 101 } }), "logit_bias"),
        (json!({ "n": 0 }), "n"),
        (json!({ "n": 65 }), "n"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (
            json!({ "max_completion_tokens": -1 }),
            "max_completion_tokens",
        ),
        (json!({ "stop": vec!["a"; 17] }), "stop"),
        (json!({ "stop": "" }), "stop"),
        (json!({ "seed": 0.5 }), "seed"),
        (json!({ "stream": "yes" }), "stream"),
        (json!({ "top_logprobs": 3 }), "top_logprobs"),
        (
            json!({ "logprobs": true, "top_logprobs": 21 }),
            "top_logprobs",
        ),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (
            json!({ "tool_choice": { "type": "function" } }),
            "tool_choice",
        ),
        (
            json!({ "response_format": { "type": "json_schema" } }),
            "response_format",
        ),
        (json!({ "modalities": ["text", "audio"] }), "modalities"),
    ];
    let completions = [
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": {} }), "prompt"),
        (json!({ "prompt": [[]] }), "prompt"),
        (json!({ "prompt": [1, -1] }), "prompt"),
        (json!({ "prompt": [1, "a"] }), "prompt"),
        (json!({ "prompt": vec!["a"; 33], "n": 2 }), "n"),
        (json!({ "echo": true }), "echo"),
        (json!({ "best_of": 2 }), "best_of"),
        (json!({ "suffix": "z" }), "suffix"),
    ];
    let mut responses = Vec::new();
    for (more, param) in chats {
        responses.push((served.chat("hi", more).await, param));
    }
    for (more, param) in completions {
        responses.push((served.complete(json!("a"), more).await, param));
    }
    for (response, param) in responses {
        assert_eq!(response.status, 400, "{param}: {}", response.body);
        let error = &response.json()["error"];
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().len() > 10);
        assert!(error.get("code").is_some());
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
