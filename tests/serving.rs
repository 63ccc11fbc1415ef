//! Two GPU hosts, a CVM and clients, each a process of its own, with development evidence.

use std::time::{Duration, Instant};

use serde_json::Value;
use talaria_client::remote::{Reply, Session};
use talaria_tests::golden::{copy_of, golden, model_dir};
use talaria_tests::processes::{Process, Service, talaria, write};
use talaria_tests::program;
use talaria_tests::system::{Setup, ids_request};
use talaria_wire::channel::message::{Event, FinishReason, Message, Prompt, Request};

/// Of a measurement.
const ROUNDS: usize = 40;

const FLAG: &str = "--dangerous-accept-development-evidence";

fn chat(content: &str) -> Prompt {
    Prompt::Chat(vec![Message::new("user", content)])
}

fn request(prompt: Prompt, max_new_tokens: u32) -> Request {
    Request {
        max_new_tokens,
        ignore_eos: true,
        ..Request::new(prompt)
    }
}

/// Token ids and text of a complete reply.
async fn ask(session: &Session, request: Request) -> (Vec<u32>, String) {
    let mut reply = session.request(request).await.expect("taken");
    let (ids, text, _) = rest(&mut reply, None).await;
    (ids, text)
}

/// Token ids, text and digest of the logits of a reply, of which `first` was taken.
async fn rest(reply: &mut Reply, first: Option<Event>) -> (Vec<u32>, String, Option<[u8; 32]>) {
    let (mut ids, mut text) = (Vec::new(), String::new());
    let mut next = first;
    loop {
        let event = match next.take() {
            Some(event) => event,
            None => reply.next().await.expect("no error").expect("an end"),
        };
        match event {
            Event::Token {
                id, text: piece, ..
            } => {
                ids.push(id);
                text.push_str(&piece);
            }
            Event::Finished {
                usage,
                logits_digest,
                ..
            } => {
                assert_eq!(usage.completion_tokens as usize, ids.len());
                return (ids, text, logits_digest);
            }
            Event::Failed { message, .. } => panic!("{message}"),
        }
    }
}

#[test]
fn a_question_is_answered_receipted_and_replayed() {
    let service = Service::start("demo-qwen3", &[]);
    let dir = tempfile::tempdir().unwrap();
    let policy = write(dir.path(), "policy.toml", &service.policy());
    let answer = dir.path().join("answer.json");
    let answer = answer.to_str().unwrap();
    let prompts = golden("demo-qwen3").prompts;
    let golden = prompts.iter().find(|p| p.name == "p4").expect("p4");
    let question = &golden.messages.as_ref().expect("a chat")[0].content;

    let url = service.url();
    let asked = talaria(&[
        "ask", &url, question, "--policy", &policy, FLAG, "--save", answer,
    ]);
    let stderr = String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "{stderr}");
    assert!(
        stderr.to_lowercase().contains("development"),
        "it shouts: {stderr}"
    );
    let reply = String::from_utf8(asked.stdout).unwrap();
    assert_eq!(
        reply.trim_end(),
        golden.stopped_text.as_deref().unwrap().trim_end()
    );

    let verify = [
        "receipt", "verify", "--answer", answer, "--policy", &policy, FLAG,
    ];
    let verified = talaria(&verify);
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    let replay = |answer: &str| {
        std::process::Command::new(program("talaria-local"))
            .args([
                "replay",
                "--answer",
                answer,
                "--masking",
                "dangerous-plaintext",
                "--model",
            ])
            .arg(model_dir("demo-qwen3"))
            .output()
            .unwrap()
    };
    let replayed = replay(answer);
    let stderr = String::from_utf8_lossy(&replayed.stderr);
    assert!(replayed.status.success(), "{stderr}");
    assert!(String::from_utf8_lossy(&replayed.stdout).contains("bit for bit"));

    // A changed reply is neither receipted nor replayed.
    let mut changed: Value = serde_json::from_slice(&std::fs::read(answer).unwrap()).unwrap();
    let id = changed["tokens"][1]["id"].as_u64().unwrap();
    changed["tokens"][1]["id"] = (id ^ 1).into();
    let changed = write(dir.path(), "changed.json", &changed.to_string());
    let refused = talaria(&[
        "receipt", "verify", "--answer", &changed, "--policy", &policy, FLAG,
    ]);
    assert!(!refused.status.success());
    let replayed = replay(&changed);
    assert_eq!(replayed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&replayed.stderr).contains("token 2"));
}

#[test]
fn a_sampled_answer_replays_with_the_seed_that_the_payload_drew() {
    let service = Service::start("demo-qwen3", &[]);
    let dir = tempfile::tempdir().unwrap();
    let policy = write(dir.path(), "policy.toml", &service.policy());
    let answer = dir.path().join("answer.json");
    let answer = answer.to_str().unwrap();
    let url = service.url();
    let asked = talaria(&[
        "ask",
        &url,
        "What is a lifetime?",
        "--policy",
        &policy,
        FLAG,
        "--save",
        answer,
        "--temperature",
        "1.2",
        "--max-new-tokens",
        "24",
        "--ignore-eos",
    ]);
    assert!(
        asked.status.success(),
        "{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    // Against the same GPU hosts, masked.
    let mut replay = std::process::Command::new(program("talaria-local"));
    replay.args(["replay", "--answer", answer]);
    for url in &service.hosts {
        replay.args(["--gpu", url]);
    }
    let replayed = replay.output().unwrap();
    assert!(
        replayed.status.success(),
        "{}",
        String::from_utf8_lossy(&replayed.stderr)
    );
}

/// The template's date is part of what was asked, so a replay on another day gives the same.
#[test]
fn an_answer_replays_with_the_date_that_it_was_asked_on() {
    let model = copy_of("demo-qwen3");
    let template = include_str!("../guest/src/chat_template/tests/date.jinja");
    write(model.path(), "chat_template.jinja", template);
    let service = Service::start_with(model.path(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let policy = write(dir.path(), "policy.toml", &service.policy());
    let answer = dir.path().join("answer.json");
    let (answer, url) = (answer.to_str().unwrap(), service.url());
    let asked = talaria(&[
        "ask",
        &url,
        "What is a lifetime?",
        "--policy",
        &policy,
        FLAG,
        "--save",
        answer,
        "--date",
        "2026-07-26T14:30",
        "--max-new-tokens",
        "8",
        "--ignore-eos",
    ]);
    let stderr = String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "{stderr}");
    let another_day = {
        let mut kept: Value = serde_json::from_slice(&std::fs::read(answer).unwrap()).unwrap();
        assert_eq!(kept["request"]["now"]["day"], 26, "{kept}");
        kept["request"]["now"]["day"] = 27.into();
        write(dir.path(), "another_day.json", &kept.to_string())
    };
    let verify = |answer: &str| {
        let flags = ["--answer", answer, "--policy", &policy, FLAG];
        talaria(&[&["receipt", "verify"][..], &flags].concat()).status
    };
    assert!(verify(answer).success());
    assert!(!verify(&another_day).success());
    let replay = |answer: &str| {
        let mut replay = std::process::Command::new(program("talaria-local"));
        replay.args(["replay", "--answer", answer]);
        for url in &service.hosts {
            replay.args(["--gpu", url]);
        }
        replay.output().unwrap()
    };
    let same = replay(answer);
    let stderr = String::from_utf8_lossy(&same.stderr);
    assert!(same.status.success(), "{stderr}");
    assert_eq!(replay(&another_day).status.code(), Some(1));
}

#[test]
fn what_the_policy_does_not_allow_gets_no_prompt() {
    let service = Service::start("tiny-llama", &[]);
    let dir = tempfile::tempdir().unwrap();
    let good = service.policy();
    let other = |name: &str| {
        let line = good.lines().find(|line| line.starts_with(name)).unwrap();
        let value = match name {
            "masking" => "module-lwe 512x5".to_owned(),
            _ => "ab".repeat(32),
        };
        good.replace(line, &format!("{name} = [\"{value}\"]"))
    };
    let before = service.metrics();
    assert!(before.contains("talaria_cvm_frames_in_total 0"), "{before}");
    let url = service.url();
    for (name, flag, expected) in [
        ("payload_sha256", FLAG, "payload"),
        ("model_digest", FLAG, "model"),
        ("masking", FLAG, "masking"),
        ("version", "--raw", "development"),
    ] {
        let policy = match name {
            "version" => good.clone(),
            name => other(name),
        };
        let policy = write(dir.path(), name, &policy);
        let refused = talaria(&["ask", &url, "Sesame", "--policy", &policy, flag]);
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{name}");
        assert!(stderr.contains(expected), "{name}: {stderr}");
    }
    let after = service.metrics();
    assert!(after.contains("talaria_cvm_frames_in_total 0"), "{after}");
    assert!(after.contains("talaria_cvm_connections_total 4"), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_streams_and_a_slow_reader() {
    let service = Service::start("tiny-llama", &[]);
    let session = service.connect().await.expect("connected");
    let slow = service.connect().await.expect("connected");
    let ids = |first| Prompt::Ids(vec![first, 2, 3]);
    let alone = ask(&session, request(ids(1), 100)).await;

    // Reads nothing: more than its window waits in the payload, and it stalls nobody.
    let mut unread = slow.request(request(ids(1), 100)).await.expect("taken");
    let mut streams = tokio::task::JoinSet::new();
    for stream in 0..32 {
        let session = session.clone();
        let prompt = ids(1 + stream % 4);
        streams.spawn(async move { (stream, ask(&session, request(prompt, 100)).await) });
    }
    while let Some(joined) = streams.join_next().await {
        let (stream, reply) = joined.expect("no panic");
        if stream % 4 == 0 {
            assert_eq!(reply, alone, "stream {stream}");
        }
    }
    let mut slow_ids = Vec::new();
    while let Some(event) = unread.next().await.expect("no error") {
        match event {
            Event::Token { id, .. } => slow_ids.push(id),
            Event::Finished { reason, .. } => assert_eq!(reason, FinishReason::Length),
            Event::Failed { message, .. } => panic!("{message}"),
        }
    }
    assert_eq!(slow_ids, alone.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_the_reply_under_way_end() {
    let mut service = Service::start("demo-qwen3", &[]);
    let session = service.connect().await.expect("connected");
    let mut reply = session
        .request(request(chat("What is a trait?"), 64))
        .await
        .expect("taken");
    reply.next().await.expect("no error").expect("a token");
    service.cvm.terminate();
    let mut tokens = 1;
    while let Some(event) = reply.next().await.expect("not cut off") {
        tokens += usize::from(matches!(event, Event::Token { .. }));
    }
    assert_eq!(tokens, 64);
    assert_eq!(service.cvm.wait(), Some(0));
    assert!(service.connect().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_dies_is_an_error_that_says_so_and_not_an_end() {
    let mut service = Service::start("demo-qwen3", &["--host-patience", "1"]);
    let session = service.connect().await.expect("connected");
    let mut reply = session
        .request(request(chat("What is a trait?"), 4000))
        .await
        .expect("taken");
    reply.next().await.expect("no error").expect("a token");
    service.kill_host(1);
    let failed = loop {
        match reply.next().await.expect("told by the payload") {
            Some(Event::Token { .. }) => {}
            Some(Event::Failed { message, .. }) => break message,
            Some(Event::Finished { .. }) | None => panic!("an end"),
        }
    };
    assert!(failed.contains("host 2"), "{failed}");
}

/// Replies wait for it, and then are what they would have been.
#[tokio::test(flavor = "multi_thread")]
async fn forty_eight_streams_outlive_a_host_that_is_killed_and_comes_back() {
    const STREAMS: u32 = 48;
    let mut service = Service::start("tiny-llama", &[]);
    let session = service.connect().await.expect("connected");
    let asked = |stream| Request {
        logits_digest: true,
        ..request(Prompt::Ids(vec![1 + stream % 4, 2, 3]), 60)
    };
    let mut expected = Vec::new();
    for stream in 0..4 {
        let mut reply = session.request(asked(stream)).await.expect("taken");
        expected.push(rest(&mut reply, None).await);
    }
    assert!(expected[0].2.is_some());
    let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let mut streams = tokio::task::JoinSet::new();
    for stream in 0..STREAMS {
        let (session, began) = (session.clone(), began.clone());
        streams.spawn(async move {
            let mut reply = session.request(asked(stream)).await.expect("taken");
            let first = reply.next().await.expect("no error").expect("a token");
            let _ = began.send(());
            (stream, rest(&mut reply, Some(first)).await)
        });
    }
    begun.recv().await.expect("a first token");
    service.kill_host(1);
    let begun = Instant::now();
    while service.get("/health").0 != 503 {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "it says that all is well"
        );
    }
    assert!(
        service
            .metrics()
            .contains("talaria_cvm_gpu_host_up{host=\"2\"} 0")
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    service.restart_host(1);
    while let Some(joined) = streams.join_next().await {
        let (stream, reply) = joined.expect("no panic");
        assert_eq!(reply, expected[stream as usize % 4], "stream {stream}");
    }
    assert_eq!(service.get("/health").0, 200);
    assert!(
        service
            .metrics()
            .contains("talaria_cvm_gpu_host_up{host=\"2\"} 1")
    );
}

#[test]
fn the_listener_answers_and_refuses_by_http() {
    let dir = tempfile::tempdir().unwrap();
    let limits = "[limits]\nevidence_per_minute = 3\n";
    let config = write(dir.path(), "cvm.toml", limits);
    let service = Service::start("tiny-llama", &["--config", &config]);
    let nonce = "5a".repeat(32);
    let (status, evidence) = service.get(&format!("/v1/evidence?nonce={nonce}"));
    assert_eq!(status, 200, "{evidence}");
    let evidence: Value = serde_json::from_str(&evidence).unwrap();
    assert_eq!(evidence["claims"]["nonce"], nonce);
    assert_eq!(evidence["claims"]["masking"], "shares");
    let (status, configuration) = service.get("/v1/configuration");
    assert_eq!(status, 200);
    use sha2::{Digest, Sha256};
    let digest = hex::encode(Sha256::digest(&configuration));
    assert_eq!(evidence["claims"]["host_configuration_digest"], digest);
    assert_eq!(service.get("/health").0, 200);
    for path in [
        "/v1/evidence",
        "/v1/evidence?nonce=12",
        "/v1/evidence?nonce=zz",
    ] {
        let (status, body) = service.get(path);
        assert_eq!(status, 400, "{path}");
        assert!(body.contains("64 hexadecimal digits"), "{body}");
    }
    assert_eq!(service.get("/v1/chat/completions").0, 404);
    let evidence = format!("/v1/evidence?nonce={nonce}");
    let statuses: Vec<_> = (0..3).map(|_| service.get(&evidence).0).collect();
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn a_host_with_a_link_key_serves_only_who_knows_it() {
    let service = Service::start("tiny-llama", &[]);
    let url = &service.hosts[0];
    let ask = |url: &str| {
        let output = std::process::Command::new(program("talaria-local"))
            .args(["run", "--masking", "dangerous-plaintext", "--gpu", url])
            .args(["--prompt-ids", "1,2,3", "--max-new-tokens", "2", "--json"])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), stderr)
    };
    let (code, stderr) = ask(url);
    assert_eq!(code, Some(0), "{stderr}");

    let (key, place) = url
        .strip_prefix("noise://")
        .unwrap()
        .split_once('@')
        .unwrap();
    let (code, stderr) = ask(&format!("http://{place}"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("cannot be reached"), "{stderr}");

    let other = match key.strip_prefix('0') {
        Some(rest) => format!("1{rest}"),
        None => format!("0{}", &key[1..]),
    };
    let (code, stderr) = ask(&format!("noise://{other}@{place}"));
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("--link-key"), "{stderr}");
}

#[test]
fn a_host_with_callers_serves_only_those_on_its_list() {
    let dir = tempfile::tempdir().unwrap();
    let ask = |url: &str, flags: &[&str]| {
        let output = std::process::Command::new(program("talaria-local"))
            .args(["run", "--masking", "dangerous-plaintext", "--gpu", url])
            .args(["--prompt-ids", "1,2,3", "--max-new-tokens", "2", "--json"])
            .args(flags)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), stderr)
    };
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let flags = [path("cvm.key"), path("stranger.key")];
    let [cvm, stranger] = flags.each_ref().map(|file| ["--caller-key", file]);
    // Nobody listens there, but the key is made, and named.
    let nobody = format!("noise://{}@127.0.0.1:1", "11".repeat(32));
    let (code, stderr) = ask(&nobody, &cvm);
    assert_eq!(code, Some(1), "{stderr}");
    let named = stderr
        .lines()
        .find_map(|line| line.strip_prefix("caller key "));
    let list = format!("# CVMs\n{}  # ours\n", named.expect("a key"));
    let callers = write(dir.path(), "callers", &list);

    let model = model_dir("tiny-llama").display().to_string();
    let (key, listed) = (path("gpu.key"), ["--callers", &callers]);
    let start = |flags: &[&str]| {
        let serve = ["serve", "--model", &model, "--listen", "127.0.0.1:0"];
        let rest = ["--backend", "cpu", "--link-key", &key];
        let (process, line) = Process::start(
            "talaria-gpu",
            &[&serve[..], &rest, flags].concat(),
            "ready: ",
        );
        (process, line.split_whitespace().nth(1).unwrap().to_owned())
    };
    let (_host, url) = start(&listed);
    let (code, stderr) = ask(&url, &cvm);
    assert_eq!(code, Some(0), "{stderr}");
    for flags in [&[][..], &stranger] {
        let (code, stderr) = ask(&url, flags);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("--callers"), "{stderr}");
    }
    let (_open, url) = start(&[]);
    let (code, stderr) = ask(&url, &stranger);
    assert_eq!(code, Some(0), "{stderr}");
}

/// Not timed for a verdict: docs/performance.md has what this prints.
#[tokio::test(flavor = "multi_thread")]
async fn first_tokens_come_over_the_channel() {
    let service = Service::start("tiny-llama", &[]);
    let session = service.connect().await.expect("connected");
    let mut over_channel = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let mut reply = session
            .request(request(Prompt::Ids(vec![1, 2, 3]), 1))
            .await
            .expect("taken");
        assert!(matches!(reply.next().await, Ok(Some(Event::Token { .. }))));
        over_channel.push(begun.elapsed());
        while let Ok(Some(_)) = reply.next().await {}
    }
    let system = Setup::default().start(&model_dir("tiny-llama")).await;
    let mut in_process = Vec::new();
    for _ in 0..ROUNDS {
        let outcome = system
            .ask(ids_request(&[1, 2, 3], 1))
            .await
            .expect("a reply");
        in_process.push(outcome.prefill());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[ROUNDS / 2]
    };
    let (channel, process) = (median(&mut over_channel), median(&mut in_process));
    println!(
        "first token, medians of {ROUNDS}: {channel:?} over the channel, {process:?} in process"
    );
}

/// Every panel of the dashboard shows something that is there.
#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let service = Service::start("tiny-llama", &[]);
    let metrics = service.metrics();
    let dashboard = include_str!("../docs/grafana.json");
    let parsed: Value = serde_json::from_str(dashboard).unwrap();
    let panels = parsed["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut shown = 0;
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let name = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in name.filter(|name| name.starts_with("talaria_cvm_")) {
            let family = name.trim_end_matches("_total");
            let declared = format!("# TYPE {family} ");
            assert!(metrics.contains(&declared), "{name} in:\n{metrics}");
            shown += 1;
        }
    }
    assert!(shown > 15, "{shown}");
}
