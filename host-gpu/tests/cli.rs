//! The program as users start it: what it prints, and how it ends.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use talaria_host_gpu::record::Reader;
use talaria_transport::weighted::project_request::Body;
use talaria_transport::weighted::weighted_host_client::WeightedHostClient;
use talaria_transport::weighted::{ProjectRequest, project_response};
use tonic::transport::Endpoint;

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_talaria-gpu"));
    program.env("RUST_LOG", "info");
    program
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn model(name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../tests/fixtures").join(name);
    path.to_str().unwrap().to_owned()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_digest_is_one_line_of_hex_and_depends_on_the_format() {
    let digest = |format: &str| {
        let output = run(&[
            "digest",
            "--model",
            &model("tiny-qwen2"),
            "--weights",
            format,
        ]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let line = text(&output.stdout).trim().to_owned();
        assert_eq!(hex::decode(&line).unwrap().len(), 32);
        line
    };
    assert_eq!(digest("int16"), digest("int16"));
    assert_ne!(digest("int16"), digest("int8"));
}

#[test]
fn devices_are_listed() {
    let output = run(&["devices"]);
    assert!(output.status.success());
    assert!(text(&output.stdout).starts_with("cpu "));
}

#[test]
fn the_environment_chooses_the_adapter() {
    let with_name = |name: &str, arguments: &[&str]| {
        let mut program = program();
        program.env("WGPU_ADAPTER_NAME", name);
        program.args(arguments).output().unwrap()
    };
    let listed = with_name("", &["devices"]);
    let listed = text(&listed.stdout).to_owned();
    let Some(first) = listed.lines().find(|line| line.ends_with("--backend wgpu")) else {
        assert!(listed.contains("no adapter found"), "{listed}");
        return;
    };
    // The first word of its name.
    let part = first["wgpu  ".len()..].split(' ').next().unwrap();
    let chosen = with_name(&part.to_uppercase(), &["devices"]);
    assert!(text(&chosen.stdout).contains(first));

    let model = model("tiny-qwen2");
    for backend in ["auto", "wgpu"] {
        let serve = ["serve", "--model", &model, "--listen", "127.0.0.1:0"];
        let refused = with_name("no such", &[&serve[..], &["--backend", backend]].concat());
        let error = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{error}");
        assert!(
            error.contains("`no such`") && error.contains(part),
            "{error}"
        );
    }
    let refused = with_name("no such", &["devices"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stdout).contains(part));
}

#[test]
fn bad_use_and_bad_checkpoints_end_with_one_clear_line() {
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let good = model("tiny-qwen2");
    let keys = tempfile::tempdir().unwrap();
    let path = |name: &str| keys.path().join(name).to_str().unwrap().to_owned();
    let (key, callers, list) = (path("key"), path("callers"), path("list"));
    std::fs::write(&callers, "# one\n12\n").unwrap();
    std::fs::write(&list, "11".repeat(32)).unwrap();
    let socket = format!("unix:{}", path("socket"));
    let serve = ["serve", "--model", &good, "--listen"];
    let tcp = [&serve[..], &["127.0.0.1:0", "--callers"]].concat();
    let keyed = ["--link-key", &key];
    for (arguments, code, expected) in [
        (&*[&tcp[..], &[&callers]].concat(), 2, "--link-key"),
        (
            &[&tcp[..], &[&callers], &keyed].concat(),
            1,
            "line 2 is no public key",
        ),
        (&[&tcp[..], &["/no/list"], &keyed].concat(), 1, "/no/list"),
        (
            &[&serve[..], &[&socket, "--callers", &list], &keyed].concat(),
            1,
            "a Unix socket has no encrypted links",
        ),
        (&["digest", "--model", empty], 1, "has no config.json"),
        (&["digest", "--model", "/no/such"], 1, "/no/such"),
        (
            &["serve", "--model", empty, "--listen", "127.0.0.1:0"],
            1,
            "config.json",
        ),
        (
            &["serve", "--model", &good, "--listen", &taken],
            1,
            "cannot listen on",
        ),
        (
            &["serve", "--model", &good, "--listen", "nowhere"],
            2,
            "no address",
        ),
        (
            &[
                "serve",
                "--model",
                &good,
                "--listen",
                "127.0.0.1:0",
                "--link-key",
                "/no/such/key",
            ],
            1,
            "/no/such/key",
        ),
        (&["serve", "--model", &good], 2, "--listen"),
        (
            &["serve", "--model", &good, "--listen", "h:1", "--fast"],
            2,
            "--fast",
        ),
        (
            &["digest", "--model", &good, "--weights", "int4"],
            2,
            "int4",
        ),
        (&["devices", "--threads", "0"], 2, "--threads"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(error.contains(expected), "{arguments:?}: {error}");
        if code == 1 {
            let last = error.lines().next_back().unwrap();
            assert!(
                last.starts_with("error: ") && last.contains(expected),
                "{error}"
            );
        }
        assert!(output.stdout.is_empty());
    }
}

/// A server that is killed with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// Starts a server; its line on standard output.
    fn start(arguments: &[&str]) -> (Self, String) {
        let mut program = program();
        program
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut server = Self(program.spawn().unwrap());
        let mut ready = String::new();
        let stdout = server.0.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut ready).unwrap();
        (server, ready)
    }

    #[cfg(unix)]
    fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        let kill = Command::new("kill").args([signal, &pid]).status();
        assert!(kill.unwrap().success());
    }
}

#[cfg(unix)]
#[test]
fn a_server_ends_with_130_on_ctrl_c() {
    let model = model("tiny-qwen2");
    let serve = [
        "serve",
        "--model",
        &model,
        "--listen",
        "127.0.0.1:0",
        "--backend",
        "cpu",
    ];
    let (mut server, _) = Server::start(&serve);
    server.signal("-INT");
    assert_eq!(server.0.wait().unwrap().code(), Some(130));
}

/// Sends one seeded row for projection 0 and gives the number of bytes that come back.
async fn project_once(url: String) -> usize {
    let channel = Endpoint::try_from(url).unwrap().connect().await.unwrap();
    let mut client = WeightedHostClient::new(channel);
    let request = ProjectRequest {
        id: 1,
        projection: 0,
        rows: 1,
        deadline_ms: 10_000,
        body: Some(Body::Seed(vec![1; 32].into())),
        planes_apart: false,
    };
    let answers = client.project(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    match answer.result.unwrap() {
        project_response::Result::Residues(residues) => residues.len(),
        project_response::Result::Refusal(refusal) => panic!("{refusal:?}"),
    }
}

#[cfg(unix)]
#[test]
fn a_server_says_when_it_is_ready_records_and_ends_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let record = directory.path().to_str().unwrap();
    let model = model("tiny-qwen2");
    let (mut server, ready) = Server::start(&[
        "serve",
        "--model",
        &model,
        "--listen",
        "127.0.0.1:0",
        "--backend",
        "cpu",
        "--threads",
        "1",
        "--record",
        record,
    ]);
    let url = ready.split_whitespace().nth(1).unwrap();
    let digest = ready.trim().rsplit(' ').next().unwrap();
    assert!(ready.starts_with("ready: http://127.0.0.1:"), "{ready}");
    assert_eq!(
        text(&run(&["digest", "--model", &model]).stdout).trim(),
        digest
    );

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bytes = runtime.block_on(project_once(url.to_owned()));
    runtime.shutdown_background();

    server.signal("-TERM");
    assert!(server.0.wait().unwrap().success());

    let file = std::fs::read_dir(record).unwrap().next().unwrap().unwrap();
    let reader = Reader::open(&file.path()).unwrap();
    assert_eq!(reader.digest().to_string(), digest);
    let n = reader.manifest().projections[0].n as usize;
    assert_eq!(bytes, 2 * n * 4);
    let entries: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
    assert_eq!((entries.len(), entries[0].seen.rows), (1, 1));
}
