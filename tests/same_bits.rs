//! The same bits from every masking, backend, number of sessions and placement of hosts, and from the
//! payload's code run natively.

use sha2::{Digest, Sha256};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};
use talaria_guest::setup::Scheme;
use talaria_host_cvm::Masking;
use talaria_host_gpu::backend::BackendKind;
use talaria_tests::{
    golden::{golden, model_dir},
    native::Native,
    system::{Setup, System, has_gpu, ids_request},
};
use talaria_wire::manifest::WeightFormat;

const MODEL: &str = "demo-qwen3";
const TOKENS: u32 = 8;

fn prompt() -> Vec<u32> {
    golden(MODEL).prompts[2].ids.clone()
}

async fn digest(system: &System, ids: &[u32]) -> [u8; 32] {
    let outcome = system
        .ask(ids_request(ids, TOKENS))
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(outcome.token_ids.len(), TOKENS as usize);
    outcome.logits_digest.expect("asked for")
}

/// The digest by the payload's code in this process, without Wasm, sockets or masking.
fn native_digest(ids: &[u32]) -> [u8; 32] {
    let native = Native::load(MODEL, WeightFormat::Int16, Scheme::DangerousPlaintext);
    let tokens = native.greedy(ids, TOKENS as usize);
    let mut state = native.state();
    let mut hash = Sha256::new();
    let mut position = 0;
    let mut next = ids.to_vec();
    for token in tokens {
        let logits = native.logits(&mut state, &next, position, 1);
        logits
            .iter()
            .for_each(|logit| hash.update(logit.to_le_bytes()));
        position += next.len();
        next = vec![token];
    }
    hash.finalize().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_masking_gives_what_native_code_gives() {
    let ids = prompt();
    let expected = native_digest(&ids);
    for masking in Masking::ALL {
        let system = Setup::masked(masking).start(&model_dir(MODEL)).await;
        assert_eq!(digest(&system, &ids).await, expected, "{masking}");
        // Host and payload mean the same scheme by a name.
        let summary = system.cvm.summary();
        let named = summary.masking.split(' ').next();
        assert_eq!(named, Some(masking.name()));
        assert_eq!(summary.hosts as usize, masking.hosts());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wgpu_gives_what_the_cpu_gives() {
    if !has_gpu() {
        return;
    }
    let ids = prompt();
    let expected = native_digest(&ids);
    for masking in Masking::ALL {
        let system = Setup::masked(masking)
            .on(BackendKind::Wgpu)
            .start(&model_dir(MODEL))
            .await;
        assert_eq!(digest(&system, &ids).await, expected, "{masking}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_sessions_each_get_what_they_get_alone() {
    let prompts: Vec<Vec<u32>> = (0..16)
        .map(|i| {
            golden(MODEL).prompts[2]
                .ids
                .iter()
                .skip(i)
                .step_by(1 + i % 3)
                .copied()
                .collect()
        })
        .collect();
    let mut alone = Vec::new();
    let system = Setup::default().start(&model_dir(MODEL)).await;
    for ids in &prompts {
        alone.push(digest(&system, ids).await);
    }
    for engines in [1, 2] {
        // Few rows a pass, so that prompts are cut at many places.
        let setup = Setup {
            engines,
            max_batch_rows: 24,
            ..Setup::default()
        };
        let system = setup.start(&model_dir(MODEL)).await;
        let requests = prompts.iter().map(|ids| ids_request(ids, TOKENS)).collect();
        let outcomes = system.ask_all(requests).await;
        for (i, (outcome, alone)) in outcomes.iter().zip(&alone).enumerate() {
            assert_eq!(
                outcome.logits_digest,
                Some(*alone),
                "session {i}, {engines} engines"
            );
        }
    }
}

/// `talaria-gpu serve` in a process of its own.
struct Server(Child, String);

impl Server {
    fn start(weights: &str) -> Self {
        let mut child = Command::new(talaria_tests::program("talaria-gpu"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--backend",
                "cpu",
                "--weights",
                weights,
            ])
            .arg("--model")
            .arg(model_dir(MODEL))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("talaria-gpu starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("a ready line");
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"));
        let url = url
            .unwrap_or_else(|| panic!("no URL in {line:?}"))
            .to_owned();
        Self(child, url)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn separate_servers_give_the_same_bits() {
    let ids = prompt();
    let servers = [Server::start("int16"), Server::start("int16")];
    let urls = servers.iter().map(|server| server.1.clone()).collect();
    let cvm = Setup::default()
        .connect(urls)
        .await
        .unwrap_or_else(|e| panic!("{e}"));
    let system = System {
        hosts: Vec::new(),
        cvm,
    };
    assert_eq!(digest(&system, &ids).await, native_digest(&ids));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_with_different_models_are_refused() {
    let servers = [Server::start("int16"), Server::start("int8")];
    let urls = servers.iter().map(|server| server.1.clone()).collect();
    let error = Setup::default()
        .connect(urls)
        .await
        .err()
        .expect("must refuse")
        .to_string();
    assert!(error.contains("serves another model"), "{error}");
}
