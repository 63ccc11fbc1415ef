//! The proxy as programs use it: what they say reaches the payload, and replies have the forms they expect.

mod cvm;
mod served;

use std::sync::atomic::Ordering;
use std::time::Duration;

use cvm::Script;
use serde_json::{Value, json};
use served::{merge, serve, serve_over};
use talaria_client::answer::{Answer, check};
use talaria_wire::channel::message::{Message, Prompt, ToolCall};

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
    let usage = json!({
        "prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9,
        "prompt_tokens_details": { "cached_tokens": 0 },
    });
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
async fn calls_of_tools_and_their_results_reach_the_payload() {
    let served = serve(Script::default(), None).await;
    let function = json!({ "name": "owls", "arguments": "{\"n\": 2}" });
    let calls = json!([{ "id": "a", "type": "function", "index": 0, "function": function }]);
    let messages = json!([
        { "role": "user", "content": "hi", "name": "Ann" },
        { "role": "assistant", "content": null, "tool_calls": calls },
        { "role": "tool", "tool_call_id": "a", "content": [{ "type": "text", "text": "1" }] },
        { "role": "assistant", "content": "One.", "tool_calls": calls },
    ]);
    let response = served.chat("", json!({ "messages": messages })).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let calls = vec![ToolCall {
        id: "a".into(),
        name: "owls".into(),
        arguments: "{\"n\": 2}".into(),
    }];
    let expected = vec![
        Message {
            name: Some("Ann".into()),
            ..Message::new("user", "hi")
        },
        Message {
            content: None,
            tool_calls: calls.clone(),
            ..Message::new("assistant", "")
        },
        Message {
            tool_call_id: Some("a".into()),
            ..Message::new("tool", "1")
        },
        Message {
            tool_calls: calls,
            ..Message::new("assistant", "One.")
        },
    ];
    let requests = served.cvm.seen.requests.lock().unwrap();
    assert!(requests[0].prompt == Prompt::Chat(expected));
}

#[tokio::test]
async fn every_parameter_reaches_the_payload() {
    let served = serve(Script::default(), None).await;
    let all = json!({
        "max_completion_tokens": 7, "max_tokens": 7, "stop": ["x", "y"], "seed": -1, "temperature": 0.5,
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

/// The likeliest token, as at OpenAI.
#[tokio::test]
async fn top_p_zero_reaches_the_payload() {
    let served = serve(Script::default(), None).await;
    let response = served.chat("hi", json!({ "top_p": 0 })).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let requests = served.cvm.seen.requests.lock().unwrap();
    assert_eq!(requests[0].sampling.top_p, 0.0);
}

#[tokio::test]
async fn usage_counts_a_prompt_once_for_all_its_choices() {
    let served = serve(Script::default(), None).await;
    let alone = served.chat("what do owls do", json!({})).await.json();
    let alone = &alone["usage"]["prompt_tokens"];
    assert_eq!(alone, 4);
    let several = json!({ "n": 3, "max_tokens": 2 });
    let usage = json!({
        "prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10,
        "prompt_tokens_details": { "cached_tokens": 0 },
    });
    let reply = served.chat("what do owls do", several.clone()).await;
    assert_eq!(reply.json()["usage"], usage);

    let options = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let reply = served.chat("what do owls do", merge(several, options.clone()));
    assert_eq!(reply.await.chunks().last().unwrap()["usage"], usage);

    // Two prompts, of one word and of two, each with two choices.
    let two = merge(json!({ "n": 2, "max_tokens": 1 }), options);
    let reply = served.complete(json!(["a", "a b"]), two);
    let usage = json!({
        "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
        "prompt_tokens_details": { "cached_tokens": 0 },
    });
    assert_eq!(reply.await.chunks().last().unwrap()["usage"], usage);
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
        "talaria_proxy_time_to_first_token_seconds_count 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn a_conversation_keeps_its_connection_and_conversations_use_all() {
    let served = serve_over(Script::default(), None, 2).await;
    let connections = || served.cvm.seen.connections.load(Ordering::SeqCst);
    for _ in 0..4 {
        let reply = served.chat("hi", json!({})).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(connections(), 1);
    }
    for other in 0..20 {
        let key = json!({ "prompt_cache_key": other.to_string() });
        assert_eq!(served.chat("hi", key).await.status, 200);
    }
    assert_eq!(connections(), 2);
}

/// A reply may wait for a GPU host, or its prompt be long: nobody is to take the stream for dead.
#[tokio::test]
async fn a_stream_that_is_quiet_says_so() {
    let script = Script {
        pace: Duration::from_secs(6),
        ..Script::default()
    };
    let served = serve(script, None).await;
    let response = served.chat("count 1", json!({ "stream": true })).await;
    assert_eq!(response.status, 200);
    let mut lines = response.body.lines();
    let comment = lines.find(|line| line.starts_with(':'));
    assert!(comment.is_some(), "{}", response.body);
    assert!(response.body.contains("[DONE]"), "{}", response.body);
}

#[tokio::test]
async fn the_dashboard_shows_metrics_that_there_are() {
    let served = serve(Script::default(), None).await;
    let metrics = served.raw(&served.head("GET", "/metrics"), b"").await.body;
    let dashboard = include_str!("../../docs/grafana.json");
    let names = dashboard.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut shown = 0;
    for name in names.filter(|name| name.starts_with("talaria_proxy_")) {
        let declared = format!("# TYPE {} histogram", name.trim_end_matches("_bucket"));
        assert!(metrics.contains(&declared), "{name} in:\n{metrics}");
        shown += 1;
    }
    assert_eq!(shown, 4);
}
