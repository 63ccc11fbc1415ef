//! Commands that talk to a service, as a user runs them: output and exit codes.

mod cvm;

use std::path::PathBuf;
use std::process::Output;

use cvm::{Cvm, Script};
use serde_json::Value;
use talaria_client::answer::Answer;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const DEVELOPMENT: &str = "--dangerous-accept-development-evidence";

struct Run {
    cvm: Cvm,
    directory: tempfile::TempDir,
}

struct Done {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    async fn new(script: Script) -> Self {
        let run = Self {
            cvm: Cvm::start(script).await,
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::write(run.path("policy.toml"), cvm::policy()).unwrap();
        run
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_talaria"));
        command.args(words.iter().map(|word| match *word {
            "URL" => self.cvm.url.clone(),
            word => match word.strip_prefix("@") {
                Some(file) => self.path(file).display().to_string(),
                None => word.into(),
            },
        }));
        command
    }

    /// `URL` stands for the service, `@name` for a file.
    async fn run(&self, words: &[&str]) -> Done {
        self.command(words).output().await.unwrap().into()
    }

    /// With the policy, and accepting development evidence.
    async fn trusting(&self, words: &[&str]) -> Done {
        self.run(&[words, &["--policy", "@policy.toml", DEVELOPMENT]].concat())
            .await
    }
}

#[tokio::test]
async fn ask_prints_the_reply_and_shouts_about_development() {
    let run = Run::new(Script::default()).await;
    let done = run.trusting(&["ask", "URL", "what do owls do"]).await;
    assert_eq!(
        (done.code, done.out.as_str()),
        (0, "Owls see \u{1f989}!\n"),
        "{}",
        done.err
    );
    assert!(done.err.contains("WARNING: DEVELOPMENT EVIDENCE ACCEPTED"));
    let done = run
        .trusting(&["ask", "URL", "--raw", "count 40", "--max-new-tokens", "3"])
        .await;
    assert_eq!((done.code, done.out.as_str()), (0, "0 1 2 \n"));
}

/// Greedy, it would be without effect.
#[tokio::test]
async fn top_k_without_a_temperature_samples() {
    let run = Run::new(Script::default()).await;
    for flags in [
        &["--top-k", "5"][..],
        &["--top-k", "5", "--temperature", "0"],
        &[],
    ] {
        let done = run.trusting(&[&["ask", "URL", "hi"], flags].concat()).await;
        assert_eq!(done.code, 0, "{}", done.err);
    }
    let requests = run.cvm.seen.requests.lock().unwrap();
    let temperatures = requests.iter().map(|request| request.sampling.temperature);
    assert_eq!(temperatures.collect::<Vec<_>>(), [1.0, 0.0, 0.0]);
    assert!(requests.iter().all(|request| request.max_new_tokens == 512));
}

#[tokio::test]
async fn every_failure_has_an_exit_code_and_says_what_to_do() {
    let run = Run::new(Script::default()).await;
    let policy = ["--policy", "@policy.toml"];
    for (words, code, expected) in [
        (vec!["ask", "URL", "hi"], 2, "--policy"),
        (
            vec!["ask", "URL", "hi", policy[0], policy[1]],
            1,
            "Ask the operator for a CVM",
        ),
        (
            vec!["chat", "URL", policy[0], policy[1]],
            1,
            "nothing was sent",
        ),
        (
            vec![
                "proxy",
                "URL",
                policy[0],
                policy[1],
                "--listen",
                "127.0.0.1:0",
            ],
            1,
            "nothing was sent",
        ),
        (
            vec![
                "proxy",
                "URL",
                policy[0],
                policy[1],
                "--listen",
                "0.0.0.0:0",
            ],
            2,
            "give --api-key",
        ),
        (
            vec!["ask", "URL", "", policy[0], policy[1]],
            2,
            "it is empty",
        ),
        (
            vec!["ask", "URL", "hi", "--top-p", "1.5", policy[0], policy[1]],
            2,
            "expected a number from 0 to 1",
        ),
        (
            vec!["ask", "URL", "hi", "--policy", "@none.toml"],
            1,
            "cannot read",
        ),
        (
            vec!["ask", "https://cvm.example", "hi", policy[0], policy[1]],
            2,
            "http://",
        ),
        (
            vec!["ask", "http://127.0.0.1:1", "hi", policy[0], policy[1]],
            1,
            "Check the address",
        ),
        (
            vec![
                "ask",
                "URL",
                "fail refused",
                policy[0],
                policy[1],
                DEVELOPMENT,
            ],
            1,
            "refuses this request",
        ),
        (
            vec!["ask", "URL", "fail busy", policy[0], policy[1], DEVELOPMENT],
            1,
            "try again later",
        ),
        (
            vec![
                "ask",
                "URL",
                "fail integrity",
                policy[0],
                policy[1],
                DEVELOPMENT,
            ],
            1,
            "tell the operator",
        ),
        (
            vec![
                "ask",
                "URL",
                "hi",
                policy[0],
                policy[1],
                DEVELOPMENT,
                "--save",
                "@policy.toml",
            ],
            1,
            "choose another name",
        ),
        (vec!["pin", "URL", "--policy", "@policy.toml"], 1, "--force"),
        (
            vec!["pin", "URL", "--policy", "@new.toml"],
            1,
            "nothing was written",
        ),
        (vec!["verify", "--policy", "@policy.toml"], 2, "--evidence"),
        (
            vec![
                "receipt",
                "verify",
                "--answer",
                "@none.json",
                policy[0],
                policy[1],
            ],
            1,
            "cannot read",
        ),
        (
            vec![
                "receipt",
                "verify",
                "--answer",
                "@policy.toml",
                policy[0],
                policy[1],
            ],
            1,
            "does not parse",
        ),
    ] {
        let done = run.run(&words).await;
        assert_eq!(done.code, code, "{words:?}: {}", done.err);
        assert!(done.err.contains(expected), "{words:?}: {}", done.err);
    }
    assert!(!run.path("new.toml").exists());

    run.cvm.script.lock().unwrap().cut_after = Some(2);
    let done = run
        .trusting(&["ask", "URL", "count 9", "--save", "@cut.json"])
        .await;
    assert_eq!((done.code, done.out.as_str()), (1, "0 1 "));
    assert!(
        done.err.contains("what came of a reply is not all"),
        "{}",
        done.err
    );
    assert!(!run.path("cut.json").exists());
}

#[tokio::test]
async fn verify_asks_for_evidence_and_sends_nothing() {
    let run = Run::new(Script::default()).await;
    let done = run.trusting(&["verify", "URL"]).await;
    assert_eq!(done.code, 0, "{}", done.err);
    for step in ["nonce", "receipt public key", "masking: shares", "PASSED"] {
        assert!(done.out.contains(step), "{}", done.out);
    }
    assert!(!done.out.contains("age unknown"));
    let refused = run
        .run(&["verify", "URL", "--policy", "@policy.toml", "--json"])
        .await;
    assert_eq!(refused.code, 1);
    let document: Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(document["steps"][0]["refusal"], "development-not-allowed");
    let nowhere = run
        .run(&[
            "verify",
            "http://127.0.0.1:1",
            "--policy",
            "@policy.toml",
            "--json",
        ])
        .await;
    assert_eq!(nowhere.code, 1);
    let document: Value = serde_json::from_str(&nowhere.out).unwrap();
    assert!(document["error"].as_str().unwrap().contains("cannot reach"));
    run.cvm.until(|seen| &seen.closed, 2).await;
    assert_eq!(run.cvm.binary(), [0; 0]);
}

#[tokio::test]
async fn what_was_pinned_is_accepted_and_nothing_else() {
    let run = Run::new(Script::default()).await;
    let done = run
        .run(&["pin", "URL", "--policy", "@new.toml", DEVELOPMENT])
        .await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("TRUSTS A FIRST LOOK"));
    let written = std::fs::read_to_string(run.path("new.toml")).unwrap();
    assert!(done.out.contains(&written) && written.contains("masking = [\"shares\"]"));
    let ask = ["ask", "URL", "hi", "--policy", "@new.toml", DEVELOPMENT];
    assert_eq!(run.run(&ask).await.code, 0);

    run.cvm
        .script
        .lock()
        .unwrap()
        .claims
        .host_configuration_digest = [9; 32];
    let done = run.run(&ask).await;
    assert_eq!(done.code, 1);
    assert!(done.err.contains("host configuration"), "{}", done.err);
    let again = [
        "pin",
        "URL",
        "--policy",
        "@new.toml",
        DEVELOPMENT,
        "--force",
    ];
    assert_eq!(run.run(&again).await.code, 0);
    assert_eq!(run.run(&ask).await.code, 0);
}

#[tokio::test]
async fn a_kept_answer_is_what_the_payload_signed() {
    let run = Run::new(Script::default()).await;
    let asked = [
        "ask",
        "URL",
        "what",
        "--system",
        "s",
        "--seed",
        "4",
        "--temperature",
        "0.3",
        "--save",
        "@a.json",
    ];
    let done = run.trusting(&asked).await;
    assert_eq!(done.code, 0, "{}", done.err);
    let bytes = std::fs::read(run.path("a.json")).unwrap();
    let answer = Answer::from_json(&bytes).unwrap();
    assert_eq!(answer.text() + "\n", done.out);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(run.path("a.json"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let verify = ["receipt", "verify", "--answer", "@a.json"];
    let done = run.trusting(&verify).await;
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    assert!(done.out.contains("ok       reply") && done.out.contains("PASSED"));

    let changed = String::from_utf8(bytes)
        .unwrap()
        .replacen("Owls", "Cats", 1);
    std::fs::write(run.path("a.json"), changed).unwrap();
    let done = run.trusting(&verify).await;
    assert_eq!(done.code, 1);
    assert!(done.out.contains("REFUSED  reply"), "{}", done.out);
    let done = run
        .run(&[&verify[..], &["--policy", "@policy.toml"]].concat())
        .await;
    assert_eq!(done.code, 1);
    assert!(done.out.contains("development-not-allowed"), "{}", done.out);
}

#[tokio::test]
async fn a_conversation() {
    let run = Run::new(Script::default()).await;
    let mut command = run.command(&[
        "chat",
        "URL",
        "--system",
        "s",
        "--policy",
        "@policy.toml",
        DEVELOPMENT,
    ]);
    command.stdin(std::process::Stdio::piped());
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let said = b"one\n\ncount 2\nfail busy\nthree\n/reset\nfour\n/quit\n";
    child.stdin.take().unwrap().write_all(said).await.unwrap();
    let done = Done::from(child.wait_with_output().await.unwrap());
    assert_eq!(done.code, 0, "{}", done.err);
    let owl = "Owls see \u{1f989}!\n";
    assert_eq!(done.out, format!("{owl}0 1 \n\n{owl}{owl}"));
    assert!(
        done.err.contains("error: the payload has no room now"),
        "{}",
        done.err
    );
    let requests = run.cvm.seen.requests.lock().unwrap();
    let lengths = requests.iter().map(|request| match &request.prompt {
        talaria_wire::channel::message::Prompt::Chat(messages) => messages.len(),
        _ => 0,
    });
    // Each with the system message; the one that failed is not kept.
    assert_eq!(lengths.collect::<Vec<_>>(), [2, 4, 6, 6, 2]);
}
