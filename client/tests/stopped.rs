//! `talaria` when it is told to stop: exit codes as the README has them.
#![cfg(unix)]

mod cvm;

use std::process::Stdio;
use std::time::Duration;

use cvm::{Cvm, Script};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

struct Running {
    _cvm: Cvm,
    _policy: tempfile::NamedTempFile,
    child: Child,
}

impl Running {
    /// A command against a CVM whose replies never end.
    async fn start(words: &[&str]) -> Self {
        let slow = Script {
            pace: Duration::from_millis(20),
            ..Script::default()
        };
        let cvm = Cvm::start(slow).await;
        let policy = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(policy.path(), cvm::policy()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_talaria"));
        command
            .args([words[0], &cvm.url])
            .args(&words[1..])
            .arg("--policy")
            .arg(policy.path())
            .arg("--dangerous-accept-development-evidence")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().unwrap();
        Self {
            _cvm: cvm,
            _policy: policy,
            child,
        }
    }

    async fn signalled(mut self, signal: &str) -> Option<i32> {
        // Waiting would close it, and the end of its input ends a chat too.
        let _input = self.child.stdin.take();
        let id = self.child.id().unwrap().to_string();
        let kill = Command::new("kill").args([signal, &id]).status();
        assert!(kill.await.unwrap().success());
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait());
        ended.await.expect("it ends").unwrap().code()
    }
}

async fn line_with(marker: &str, from: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(from).split(b'>');
    while let Some(line) = lines.next_segment().await.unwrap() {
        if String::from_utf8_lossy(&line).contains(marker) {
            return;
        }
    }
    panic!("no {marker:?}");
}

#[tokio::test]
async fn a_proxy_ends_with_success_on_sigterm_and_130_on_ctrl_c() {
    for (signal, code) in [("-TERM", 0), ("-INT", 130)] {
        let mut proxy = Running::start(&["proxy", "--listen", "127.0.0.1:0"]).await;
        let mut lines = BufReader::new(proxy.child.stderr.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("http://127.0.0.1") {
                break;
            }
        }
        assert_eq!(proxy.signalled(signal).await, Some(code), "{signal}");
    }
}

#[tokio::test]
async fn what_was_not_done_ends_with_the_signals_code() {
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let mut ask = Running::start(&["ask", "count 9000", "--raw"]).await;
        let mut some = [0];
        let out = ask.child.stdout.as_mut().unwrap();
        tokio::io::AsyncReadExt::read_exact(out, &mut some)
            .await
            .unwrap();
        assert_eq!(ask.signalled(signal).await, Some(code), "ask {signal}");

        // It waits for a line of standard input then.
        let mut chat = Running::start(&["chat"]).await;
        line_with("/quit ends", chat.child.stderr.take().unwrap()).await;
        assert_eq!(chat.signalled(signal).await, Some(code), "chat {signal}");
    }
}
