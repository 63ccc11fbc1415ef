//! The proxy as programs use it: raw HTTP in, JSON and events out, and a CVM behind it.

mod cvm;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cvm::{Cvm, Script};
use serde_json::{Value, json};
use talaria_client::answer::{Answer, check};
use talaria_client::policy::Policy;
use talaria_client::proxy::{Guard, Proxy, Upstream};
use talaria_client::remote::Trust;
use talaria_client::time::UnixTime;
use talaria_wire::channel::message::Prompt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Served {
    cvm: Cvm,
    address: SocketAddr,
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }

    /// Chunks before `[DONE]`, which must come last.
    fn chunks(&self) -> Vec<Value> {
        assert!(self.head.contains("text/event-stream"), "{}", self.head);
        let mut events: Vec<_> = self.body.split("\n\n").filter(|e| !e.is_empty()).collect();
        assert_eq!(events.pop(), Some("data: [DONE]"), "{}", self.body);
        let parse = |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap());
        events
            .into_iter()
            .map(|event| parse(event).unwrap())
            .collect()
    }
}

async fn serve(script: Script, api_key: Option<&str>) -> Served {
    let cvm = Cvm::start(script).await;
    let trust = Trust::new(Policy::from_toml(&cvm::policy()).unwrap())
        .dangerous_accept_development_evidence(true);
    let upstream = Upstream::new(cvm.url.parse().unwrap(), trust, UnixTime::now);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let guard = Guard::new(address, api_key.map(String::from)).unwrap();
    let router = Proxy::new(upstream, "owl".into(), guard).router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Served { cvm, address }
}

impl Served {
    async fn send(&self, head: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head = format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses a long body closes before all of it is written.
        let _ = stream.write_all(body).await;
        stream
    }

    async fn raw(&self, head: &str, body: &[u8]) -> Response {
        let mut stream = self.send(head, body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Response {
            status: head[9..12].parse().unwrap(),
            body: match head
                .to_ascii_lowercase()
                .contains("transfer-encoding: chunked")
            {
                true => unchunked(body),
                false => body.into(),
            },
            head: head.into(),
        }
    }

    fn head(&self, method: &str, path: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address)
    }

    async fn get(&self, path: &str) -> Response {
        self.raw(&self.head("GET", path), b"").await
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.raw(&self.head("POST", path), body.to_string().as_bytes())
            .await
    }

    async fn chat(&self, text: &str, more: Value) -> Response {
        let messages = json!([{ "role": "user", "content": text }]);
        let body = merge(json!({ "model": "gpt-4o", "messages": messages }), more);
        self.post("/v1/chat/completions", body).await
    }

    async fn complete(&self, prompt: Value, more: Value) -> Response {
        let body = merge(json!({ "model": "m", "prompt": prompt }), more);
        self.post("/v1/completions", body).await
    }
}

fn merge(mut body: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            break;
        }
        body += &after[..length];
        rest = &after[length + 2..];
    }
    body
}

const OWL: &str = "Owls see \u{1f989}!";

#[tokio::test]
async fn a_chat_at_once() {
    let served = serve(Script::default(), None).await;
    let response = served.chat("what do owls do", json!({ "seed": 5 })).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let reply = response.json();
    assert_eq!(reply["object"], "chat.completion");
    assert_eq!(reply["model"], "gpt-4o");
    assert!(reply["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(reply["created"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(reply["system_fingerprint"], "fp_030303030303");
    assert_eq!(reply["seed"], 5);
    let choice = &reply["choices"][0];
    let message = json!({ "role": "assistant", "content": OWL, "refusal": null });
    assert_eq!(choice["message"], message);
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["logprobs"], Value::Null);
    let usage = json!({ "prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9 });
    assert_eq!(reply["usage"], usage);
    assert_eq!(reply.get("talaria"), None);
}

#[tokio::test]
async fn a_chat_in_chunks() {
    let served = serve(Script::default(), None).await;
    for include_usage in [true, false] {
        let options =
            json!({ "stream": true, "stream_options": { "include_usage": include_usage } });
        let mut chunks = served.chat("hi", options).await.chunks();
        let same = |name: &str| chunks.iter().all(|chunk| chunk[name] == chunks[0][name]);
        assert!(same("id") && same("created") && same("model") && same("object"));
        assert_eq!(chunks[0]["object"], "chat.completion.chunk");
        if include_usage {
            let usage = chunks.pop().unwrap();
            assert_eq!(usage["choices"], json!([]));
            assert_eq!(usage["usage"]["total_tokens"], 6);
            assert!(
                chunks
                    .iter()
                    .all(|chunk| chunk.get("usage") == Some(&Value::Null))
            );
        } else {
            assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
        }
        let last = chunks.pop().unwrap();
        assert_eq!(last["choices"][0]["finish_reason"], "stop");
        assert_eq!(last["choices"][0]["delta"], json!({}));
        assert_eq!(last["seed"], 77, "as drawn by the payload");
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
        let finish = |chunk: &Value| chunk["choices"][0].get("finish_reason") == Some(&Value::Null);
        assert!(chunks.iter().all(finish));
        let text = chunks
            .iter()
            .map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap());
        assert_eq!(text.collect::<String>(), OWL);
    }
}

#[tokio::test]
async fn completions_of_every_form_of_prompt() {
    let served = serve(Script::default(), None).await;
    for (prompt, choices) in [
        (json!("a"), 1),
        (json!(["a", "b"]), 2),
        (json!([1, 2, 3]), 1),
        (json!([[1, 2], [3]]), 2),
    ] {
        let response = served.complete(prompt, json!({})).await;
        let reply = response.json();
        assert_eq!(reply["object"], "text_completion");
        let found = reply["choices"].as_array().unwrap();
        assert_eq!(found.len(), choices);
        for (i, choice) in found.iter().enumerate() {
            assert_eq!(
                (&choice["index"], &choice["text"]),
                (&json!(i), &json!(OWL))
            );
        }
        assert_eq!(reply["usage"]["completion_tokens"], 5 * choices);
    }
    let requests = served.cvm.seen.requests.lock().unwrap();
    assert!(requests.iter().all(|request| request.max_new_tokens == 16));
    assert!(requests.iter().any(|r| r.prompt == Prompt::Ids(vec![3])));
}

#[tokio::test]
async fn a_completion_in_chunks() {
    let served = serve(Script::default(), None).await;
    let options = json!({ "stream": true, "max_tokens": 2, "n": 2 });
    let chunks = served.complete(json!("a"), options).await.chunks();
    for index in 0..2 {
        let own: Vec<_> = chunks
            .iter()
            .map(|c| &c["choices"][0])
            .filter(|c| c["index"] == index)
            .collect();
        let text = own.iter().map(|choice| choice["text"].as_str().unwrap());
        assert_eq!(text.collect::<String>(), "Owls see");
        let (last, before) = own.split_last().unwrap();
        assert_eq!(last["finish_reason"], "length");
        assert!(
            before
                .iter()
                .all(|choice| choice["finish_reason"].is_null())
        );
    }
}

#[tokio::test]
async fn every_parameter_reaches_the_payload() {
    let served = serve(Script::default(), None).await;
    let all = json!({
        "max_completion_tokens": 7, "max_tokens": 9, "stop": ["x", "y"], "seed": -1, "temperature": 0.5,
        "top_p": 0.25, "top_k": 8, "min_p": 0.125, "repetition_penalty": 1.5, "presence_penalty": -2,
        "frequency_penalty": 2, "logit_bias": { "3": -100, "4": 1.5 }, "n": 3, "logprobs": true,
        "top_logprobs": 2, "user": "u", "store": true, "tools": [], "tool_choice": "auto",
        "response_format": { "type": "text" }, "metadata": null, "talaria_receipt": true,
    });
    let response = served.chat("hi", all).await;
    assert_eq!(response.status, 200, "{}", response.body);
    {
        let requests = served.cvm.seen.requests.lock().unwrap();
        let mut seeds: Vec<_> = requests.iter().map(|r| r.sampling.seed.unwrap()).collect();
        seeds.sort();
        assert_eq!(seeds, [0, 1, u64::MAX]);
        let request = &requests[0];
        assert_eq!(request.max_new_tokens, 7);
        assert_eq!(request.stop, ["x", "y"]);
        let sampling = &request.sampling;
        assert_eq!(
            (sampling.temperature, sampling.top_p, sampling.min_p),
            (0.5, 0.25, 0.125)
        );
        assert_eq!((sampling.top_k, sampling.repetition_penalty), (8, 1.5));
        assert_eq!(
            (sampling.presence_penalty, sampling.frequency_penalty),
            (-2.0, 2.0)
        );
        assert_eq!(sampling.logit_bias, [(3, -100.0), (4, 1.5)]);
        assert_eq!(request.top_logprobs, Some(2));
        assert!(request.receipt);
    }
    let reply = response.json();
    assert_eq!(reply["choices"].as_array().unwrap().len(), 3);
    let answers = reply["talaria"]["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 3);
    for answer in answers {
        let answer = Answer::from_json(answer.to_string().as_bytes()).unwrap();
        let claims = &answer.evidence.claims;
        assert!(
            check(&answer, claims)
                .iter()
                .all(|check| check.refusal.is_none())
        );
    }
    assert_eq!(reply["talaria"]["receipt"], answers[0]["receipt"]);
    assert_eq!(reply["talaria"]["evidence"]["claims"]["masking"], "shares");

    // What is not said is what OpenAI has without it.
    served
        .chat("hi", json!({ "top_k": -1, "stop": "z", "n": 1.0 }))
        .await;
    let requests = served.cvm.seen.requests.lock().unwrap();
    let request = requests.last().unwrap();
    let sampling = &request.sampling;
    assert_eq!(
        (sampling.temperature, sampling.top_p, sampling.top_k),
        (1.0, 1.0, 0)
    );
    assert_eq!((sampling.seed, request.max_new_tokens), (None, u32::MAX));
    assert_eq!(request.stop, ["z"]);
    assert_eq!((request.top_logprobs, request.receipt), (None, false));
}

#[tokio::test]
async fn logprobs_in_both_forms() {
    let served = serve(Script::default(), None).await;
    let options = json!({ "logprobs": true, "top_logprobs": 2 });
    let reply = served.chat("hi", options.clone()).await.json();
    let content = reply["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(content.len(), 5);
    assert_eq!(content[0]["token"], "Owls");
    assert_eq!(content[0]["bytes"], json!([79, 119, 108, 115]));
    assert_eq!(content[0]["logprob"], -0.5);
    assert_eq!(content[0]["top_logprobs"][1]["token"], "bytes:\\xf0\\x9f");

    let chunks = served
        .chat("hi", merge(options, json!({ "stream": true })))
        .await
        .chunks();
    let streamed = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["logprobs"]["content"].get(0));
    assert_eq!(streamed.cloned().collect::<Vec<_>>(), content);

    let reply = served
        .complete(json!("a"), json!({ "logprobs": 1 }))
        .await
        .json();
    let logprobs = &reply["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"][1], " see");
    assert_eq!(logprobs["token_logprobs"][1], -0.5);
    assert_eq!(logprobs["top_logprobs"][1], json!({ " see": -0.5 }));
    assert_eq!(logprobs["text_offset"], json!([0, 4, 8, 8, 10]));
}

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
async fn models_health_and_metrics() {
    let served = serve(Script::default(), None).await;
    let models = served.get("/v1/models").await.json();
    assert_eq!(models["object"], "list");
    assert_eq!(models["data"][0]["id"], "owl");
    assert_eq!(served.get("/v1/models/owl").await.json(), models["data"][0]);
    let other = served.get("/v1/models/a/b").await;
    assert_eq!(other.status, 404);
    assert_eq!(other.json()["error"]["code"], "model_not_found");
    assert_eq!(served.get("/health").await.json()["status"], "ok");

    served.chat("hi", json!({})).await;
    served.chat("fail busy", json!({})).await;
    let metrics = served.get("/metrics").await.body;
    for line in [
        "talaria_proxy_requests_total{endpoint=\"chat\"} 2",
        "talaria_proxy_errors_total 1",
        "talaria_proxy_completion_tokens_total 5",
        "talaria_proxy_active_streams 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
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
