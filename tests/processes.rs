//! The parties as processes of their own, as a deployment has them: GPU hosts, a CVM, a client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use talaria_client::policy::Policy;
use talaria_client::remote::{Address, Opened, RemoteError, Session, Trust};
use talaria_client::time::UnixTime;

use crate::{golden::model_dir, program};

/// For a line of a process that is to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process with all that it printed; killed when dropped.
pub struct Process {
    child: Child,
    printed: Arc<Mutex<String>>,
}

impl Process {
    /// Starts a program of the workspace and waits for a line with `marker`; the line.
    pub fn start(name: &str, arguments: &[&str], marker: &str) -> (Self, String) {
        let mut child = Command::new(program(name))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let printed = Arc::new(Mutex::new(String::new()));
        let out = child.stdout.take().expect("piped");
        let err = child.stderr.take().expect("piped");
        copy(out, printed.clone());
        copy(err, printed.clone());
        let mut process = Self { child, printed };
        let line = process.wait_for(marker);
        (process, line)
    }

    fn wait_for(&mut self, marker: &str) -> String {
        let begun = Instant::now();
        loop {
            let printed = self.printed();
            if let Some(line) = printed.lines().find(|line| line.contains(marker)) {
                return line.to_owned();
            }
            let ended = self.child.try_wait().expect("a child").is_some();
            assert!(
                !ended && begun.elapsed() < PATIENCE,
                "no line with {marker:?} in:\n{printed}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it printed so far, standard output and error.
    pub fn printed(&self) -> String {
        self.printed.lock().expect("no panic").clone()
    }

    /// For looking into it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as an init system does.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Stands still until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Goes on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.expect("kill").success());
    }

    /// Waits for its end; the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end:\n{}", self.printed());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy(from: impl Read + Send + 'static, to: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            let Ok(line) = line else { return };
            let mut to = to.lock().expect("no panic");
            to.push_str(&line);
            to.push('\n');
        }
    });
}

/// Two GPU hosts and a CVM with development evidence, of a checkpoint of the fixtures. Links are encrypted.
pub struct Service {
    /// The CVM.
    pub cvm: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where the GPU hosts listen, with their keys.
    pub hosts: Vec<String>,
    /// What GPU hosts recorded.
    pub records: tempfile::TempDir,
    model: PathBuf,
    gpu: [Option<Process>; 2],
}

impl Service {
    /// `flags`: more for the CVM.
    pub fn start(model: &str, flags: &[&str]) -> Self {
        Self::start_with(&model_dir(model), flags)
    }

    /// Of a checkpoint elsewhere.
    pub fn start_with(dir: &Path, flags: &[&str]) -> Self {
        let records = tempfile::tempdir().expect("a directory");
        let started = [0, 1].map(|host| {
            let record = records.path().join((host + 1).to_string());
            start_gpu(dir, &record, "127.0.0.1:0")
        });
        let hosts: Vec<_> = started.iter().map(|(_, url)| url.clone()).collect();
        let gpu = started.map(|(process, _)| Some(process));
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0"];
        arguments.extend(["--metrics-listen", "127.0.0.1:0"]);
        arguments.extend(["--evidence", "development"]);
        hosts
            .iter()
            .for_each(|url| arguments.extend(["--gpu", url]));
        arguments.extend(flags);
        let marker = "serving clients on http://";
        let (cvm, line) = Process::start("talaria-cvm", &arguments, marker);
        let address = line.trim_start_matches(marker).parse().expect("an address");
        Self {
            cvm,
            address,
            hosts,
            records,
            model: dir.into(),
            gpu,
        }
    }

    /// For clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What this CVM is, as a policy.
    pub fn policy(&self) -> String {
        let printed = self.cvm.printed();
        let value = |name: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} in {printed}"))
                .to_owned()
        };
        let (_, configuration) = self.get("/v1/configuration");
        format!(
            "version = 1\n[claims]\npayload_sha256 = [\"{}\"]\nmodel_digest = [\"{}\"]\nmasking = [\"{}\"]\n\
             host_configuration_digest = [\"{}\"]\n",
            value("payload "),
            value("model "),
            value("masking "),
            hex::encode(Sha256::digest(configuration))
        )
    }

    /// Trust in it.
    pub fn trust(&self) -> Trust {
        let policy = Policy::from_toml(&self.policy()).expect("a policy");
        Trust::new(policy).dangerous_accept_development_evidence(true)
    }

    /// Verifies and connects.
    pub async fn connect(&self) -> Result<Session, RemoteError> {
        self.connect_by(self.address).await
    }

    /// Verifies and connects through whoever listens there.
    pub async fn connect_by(&self, listener: SocketAddr) -> Result<Session, RemoteError> {
        let address: Address = format!("http://{listener}").parse().expect("an address");
        let opened = Opened::open(&address).await?;
        opened.enter(&self.trust(), UnixTime::now()).await
    }

    /// A request by HTTP; status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.address, path)
    }

    /// What monitoring reads.
    pub fn metrics(&self) -> String {
        let printed = self.cvm.printed();
        let line = printed
            .lines()
            .find_map(|line| line.strip_prefix("metrics on http://"));
        let address = line
            .and_then(|at| at.strip_suffix("/metrics"))
            .expect("printed");
        get(address.parse().expect("an address"), "/metrics").1
    }

    /// Ends a GPU host at once.
    pub fn kill_host(&mut self, host: usize) {
        self.gpu[host] = None;
    }

    /// A GPU host that was ended is there again, at the same address with the same key.
    pub fn restart_host(&mut self, host: usize) {
        let (_, address) = self.hosts[host].split_once('@').expect("an encrypted link");
        // The key lies beside what was recorded.
        let before = self.records.path().join((host + 1).to_string());
        let record = self.records.path().join(format!("{}-again", host + 1));
        std::fs::copy(before.with_extension("key"), record.with_extension("key")).expect("copied");
        let (process, url) = start_gpu(&self.model, &record, address);
        assert_eq!(url, self.hosts[host]);
        self.gpu[host] = Some(process);
    }

    /// A GPU host stands still until [`resume_host`](Self::resume_host).
    pub fn pause_host(&self, host: usize) {
        self.gpu[host].as_ref().expect("running").pause();
    }

    /// It goes on.
    pub fn resume_host(&self, host: usize) {
        self.gpu[host].as_ref().expect("running").resume();
    }
}

/// A GPU host with an encrypted link that records, and its URL.
fn start_gpu(model: &Path, record: &Path, listen: &str) -> (Process, String) {
    let key = record.with_extension("key");
    let arguments = [
        "serve",
        "--model",
        model.to_str().expect("UTF-8"),
        "--listen",
        listen,
        "--backend",
        "cpu",
        "--record",
        record.to_str().expect("UTF-8"),
        "--link-key",
        key.to_str().expect("UTF-8"),
    ];
    let (process, line) = Process::start("talaria-gpu", &arguments, "ready: ");
    let url = line.split_whitespace().nth(1).expect("a URL");
    (process, url.to_owned())
}

/// Carries one connection to `to` and keeps all bytes of both directions.
pub fn relay(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let kept = Arc::<Mutex<Vec<u8>>>::default();
    let keeps = kept.clone();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().expect("a client");
        let server = TcpStream::connect(to).expect("the CVM");
        let halves = [(&client, &server), (&server, &client)];
        std::thread::scope(|scope| {
            for (from, into) in halves {
                scope.spawn(|| carry(from, into, &keeps));
            }
        });
    });
    (address, kept)
}

fn carry(mut from: &TcpStream, mut into: &TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut bytes = [0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        kept.lock().expect("no panic").extend(&bytes[..count]);
        if into.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(std::net::Shutdown::Both);
}

/// GET over HTTP/1.1; status and body.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("connects");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sends");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("an answer");
    let status = response
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.expect("a status"), body.to_owned())
}

/// Runs `talaria` to its end.
pub fn talaria(arguments: &[&str]) -> Output {
    let output = Command::new(program("talaria")).args(arguments).output();
    output.expect("talaria starts")
}

/// Writes a policy file.
pub fn write(dir: &Path, name: &str, content: &str) -> String {
    let file = dir.join(name);
    std::fs::write(&file, content).expect("written");
    file.to_str().expect("UTF-8").to_owned()
}
