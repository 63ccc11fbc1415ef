//! Against a host in this process that answers as each test wants.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use talaria_transport::weighted::project_response::Result as Outcome;
use talaria_transport::weighted::weighted_host_server::{WeightedHost, WeightedHostServer};
use talaria_transport::weighted::{
    Chunk, IdentityRequest, IdentityResponse, ManifestRequest, ProjectRequest, ProjectResponse,
    Refusal, WeightsRequest, refusal,
};
use talaria_wire::manifest::WeightFormat;
use tokio::net::TcpListener;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tokio_stream::{Stream, StreamExt, iter};
use tonic::{Request, Response, Status, Streaming};

use super::*;

const SHAPE: MatrixShape = MatrixShape {
    k: 3,
    n: 2,
    format: WeightFormat::Int16,
};

/// What a host does with a request.
enum Act {
    Answer(ProjectResponse),
    Silence,
    Fail(Status),
    /// Ends the stream without an answer.
    Hang,
}

type Behaviour = dyn Fn(usize, &ProjectRequest) -> Vec<Act> + Send + Sync;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A host whose behaviour is given the number of the request and the request.
#[derive(Clone)]
struct Puppet {
    behaviour: Arc<Behaviour>,
    seen: Arc<Mutex<Vec<ProjectRequest>>>,
    streams: Arc<AtomicUsize>,
    manifest: Arc<Vec<Chunk>>,
    identity: Arc<Mutex<IdentityResponse>>,
    /// Before each chunk.
    pause: Duration,
}

#[tonic::async_trait]
impl WeightedHost for Puppet {
    type ManifestStream = Answers<Chunk>;
    type WeightsStream = Answers<Chunk>;
    type ProjectStream = Answers<ProjectResponse>;

    async fn identity(
        &self,
        _: Request<IdentityRequest>,
    ) -> Result<Response<IdentityResponse>, Status> {
        Ok(Response::new(self.identity.lock().unwrap().clone()))
    }

    async fn manifest(
        &self,
        _: Request<ManifestRequest>,
    ) -> Result<Response<Self::ManifestStream>, Status> {
        Ok(Response::new(self.chunks()))
    }

    async fn weights(
        &self,
        _: Request<WeightsRequest>,
    ) -> Result<Response<Self::WeightsStream>, Status> {
        Ok(Response::new(self.chunks()))
    }

    async fn project(
        &self,
        requests: Request<Streaming<ProjectRequest>>,
    ) -> Result<Response<Self::ProjectStream>, Status> {
        self.streams.fetch_add(1, Ordering::SeqCst);
        let (answers, stream) = tokio::sync::mpsc::unbounded_channel();
        let puppet = self.clone();
        let mut requests = requests.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                for act in puppet.act(request) {
                    match act {
                        Act::Answer(response) => drop(answers.send(Ok(response))),
                        Act::Fail(status) => drop(answers.send(Err(status))),
                        Act::Silence => {}
                        Act::Hang => return,
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            stream,
        ))))
    }
}

impl Puppet {
    fn chunks(&self) -> Answers<Chunk> {
        let chunks: Vec<_> = self.manifest.iter().cloned().map(Ok).collect();
        let pause = self.pause;
        Box::pin(iter(chunks).then(move |chunk| async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            chunk
        }))
    }

    fn act(&self, request: ProjectRequest) -> Vec<Act> {
        let number = self.seen.lock().unwrap().len();
        let acts = (self.behaviour)(number, &request);
        self.seen.lock().unwrap().push(request);
        acts
    }
}

/// One that no other puppet has.
fn identity() -> IdentityResponse {
    static PUPPETS: AtomicUsize = AtomicUsize::new(0);
    let mut process = [0; 32];
    process[0] = PUPPETS.fetch_add(1, Ordering::SeqCst) as u8;
    IdentityResponse {
        process: Bytes::copy_from_slice(&process),
        link_key: Bytes::new(),
    }
}

/// A running puppet; gone when dropped.
struct Host {
    address: SocketAddr,
    puppet: Puppet,
    runtime: Option<Runtime>,
}

impl Host {
    fn start(
        behaviour: impl Fn(usize, &ProjectRequest) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        Self::start_at("127.0.0.1:0", Vec::new(), behaviour)
    }

    /// Sends chunks of these lengths as its manifest and its weights.
    fn of_chunks(lengths: &[usize], pause: Duration) -> Self {
        let chunk = |bytes: &usize| Chunk {
            data: vec![1; *bytes].into(),
        };
        let chunks = lengths.iter().map(chunk).collect();
        Self::start_paused("127.0.0.1:0", (chunks, pause), |_, _| Vec::new())
    }

    fn start_at(
        address: &str,
        manifest: Vec<Chunk>,
        behaviour: impl Fn(usize, &ProjectRequest) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        Self::start_paused(address, (manifest, Duration::ZERO), behaviour)
    }

    fn start_paused(
        address: &str,
        (manifest, pause): (Vec<Chunk>, Duration),
        behaviour: impl Fn(usize, &ProjectRequest) -> Vec<Act> + Send + Sync + 'static,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let puppet = Puppet {
            behaviour: Arc::new(behaviour),
            seen: Arc::default(),
            streams: Arc::default(),
            manifest: Arc::new(manifest),
            identity: Arc::new(Mutex::new(identity())),
            pause,
        };
        let service = WeightedHostServer::new(puppet.clone());
        let incoming = TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(incoming));
        Self {
            address,
            puppet,
            runtime: Some(runtime),
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The host is gone, its connections with it.
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    fn seen(&self) -> Vec<ProjectRequest> {
        self.puppet.seen.lock().unwrap().clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

const DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_millis(600),
    project: Duration::from_millis(900),
    patience: Duration::ZERO,
    step_cpu: Duration::from_secs(1),
};

struct Rig {
    links: Links,
    counters: Arc<InstanceCounters>,
    stop: watch::Sender<bool>,
}

fn rig(urls: &[String]) -> Rig {
    let parse = |(i, url): (usize, &String)| HostAddress::parse(i, url).unwrap();
    let (stop, stopped) = watch::channel(false);
    let plan = LinkPlan {
        hosts: urls.iter().enumerate().map(parse).collect(),
        roster: Arc::new(Roster::new(urls.len())),
        presence: Presence::assumed(urls.len()),
        shapes: Arc::new([SHAPE]),
        deadlines: DEADLINES,
        quarantined: Arc::default(),
        stop: stopped,
    };
    let counters = Arc::new(InstanceCounters::default());
    let links = Links::new(plan, &counters).unwrap();
    Rig {
        links,
        counters,
        stop,
    }
}

impl Rig {
    fn project(&mut self, rows: u32) -> Result<Answer, LinkError> {
        let row = || RowBody::residues((0..rows * 2 * SHAPE.k as u32).collect());
        let bodies = self.links.links.iter().map(|_| row()).collect();
        self.links.project(0, rows, false, bodies)
    }

    fn failure(&mut self) -> LinkError {
        let started = std::time::Instant::now();
        let error = self.project(1).unwrap_err();
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{error} took too long"
        );
        error
    }
}

/// The right length, filled with the first residue of the request plus `add`.
fn honest(request: &ProjectRequest, add: u32) -> Act {
    let outputs = SHAPE.outputs(Planes::apart_if(request.planes_apart));
    let words = request.rows as usize * 2 * outputs;
    let product: Vec<u8> = (0..words as u32)
        .flat_map(|i| (i + add).to_le_bytes())
        .collect();
    answer(request.id, Some(Outcome::Residues(product.into())))
}

fn answer(id: u64, result: Option<Outcome>) -> Act {
    Act::Answer(ProjectResponse {
        id,
        result,
        compute_us: 7,
    })
}

fn refuse(request: &ProjectRequest, code: refusal::Code, message: &str) -> Act {
    let refusal = Refusal {
        code: code.into(),
        message: message.into(),
    };
    answer(request.id, Some(Outcome::Refusal(refusal)))
}

#[test]
fn both_hosts_answer_over_one_stream_each() {
    let hosts = [0, 100].map(|add| Host::start(move |_, r| vec![honest(r, add)]));
    let mut rig = rig(&hosts.each_ref().map(Host::url));
    for rows in [1, 3, 2] {
        let answer = rig.project(rows).unwrap();
        let expected = |add: u32| (add..add + rows * 4).collect::<Vec<_>>();
        assert_eq!(answer.products, [expected(0), expected(100)]);
        assert_eq!(answer.gpu_us, 7);
    }
    for host in &hosts {
        assert_eq!(host.puppet.streams.load(Ordering::SeqCst), 1);
        let seen = host.seen();
        assert_eq!(seen.iter().map(|r| r.rows).collect::<Vec<_>>(), [1, 3, 2]);
        assert!(seen.iter().all(|r| r.deadline_ms == 900));
        let Some(Body::Residues(bytes)) = &seen[0].body else {
            panic!("{seen:?}")
        };
        assert_eq!(words(bytes), [0, 1, 2, 3, 4, 5]);
    }
    let counted = rig.counters.read();
    // 2 hosts x 6 rows of 24 bytes up and 16 down, and framing.
    assert!((288..400).contains(&counted.bytes_up), "{counted:?}");
    assert!((192..300).contains(&counted.bytes_down), "{counted:?}");
}

#[test]
fn wrong_lengths_are_malformed_and_the_next_call_works() {
    for wrong in [0, 15, 17, 32, 1 << 20] {
        let host = Host::start(move |number, request| {
            let wrong = Some(Outcome::Residues(vec![0; wrong].into()));
            let first = answer(request.id, wrong);
            vec![if number == 0 {
                first
            } else {
                honest(request, 0)
            }]
        });
        let mut rig = rig(&[host.url()]);
        let error = rig.failure();
        assert_eq!(error.failure, LinkFailure::Malformed);
        assert!(
            error
                .to_string()
                .contains(&format!("{wrong} bytes, expected 16")),
            "{error}"
        );
        rig.project(1).unwrap();
    }
}

#[test]
fn an_answer_above_every_bound_is_malformed() {
    let host = Host::start(|_, request| {
        let product = vec![0; (64 << 20) + (1 << 17)];
        vec![answer(request.id, Some(Outcome::Residues(product.into())))]
    });
    let mut rig = rig(&[host.url()]);
    let error = rig.project(1).unwrap_err();
    assert!(
        matches!(error.failure, LinkFailure::Malformed | LinkFailure::Timeout),
        "{error}"
    );
}

#[test]
fn nonsense_is_malformed() {
    let nonsense: [fn(&ProjectRequest) -> Act; 3] = [
        |r| answer(r.id, None),
        |r| answer(r.id + 1, Some(Outcome::Residues(vec![0; 16].into()))),
        |_| Act::Fail(Status::internal("a\u{1b}[31mb")),
    ];
    for nonsense in nonsense {
        let host = Host::start(move |_, request| vec![nonsense(request)]);
        let error = rig(&[host.url()]).failure();
        assert_eq!(error.failure, LinkFailure::Malformed, "{error}");
        assert!(
            !error.message.contains('\u{1b}'),
            "control characters of a host are not shown"
        );
    }
}

#[test]
fn answers_of_abandoned_calls_are_skipped() {
    let host = Host::start(|_, request| {
        let late = Some(Outcome::Residues(vec![9; 16].into()));
        vec![answer(request.id - 1, late), honest(request, 0)]
    });
    let answer = rig(&[host.url()]).project(1).unwrap();
    assert_eq!(answer.products, [[0, 1, 2, 3]]);
}

#[test]
fn a_late_host_is_a_timeout_and_the_next_call_works() {
    let host = Host::start(|number, request| {
        vec![if number == 0 {
            Act::Silence
        } else {
            honest(request, 0)
        }]
    });
    let mut rig = rig(&[host.url()]);
    let error = rig.failure();
    assert_eq!(error.failure, LinkFailure::Timeout);
    assert!(error.to_string().contains("within 0.9 s"), "{error}");
    rig.project(1).unwrap();
}

#[test]
fn a_broken_stream_is_made_anew_and_the_identical_bytes_sent_once_more() {
    let host = Host::start(|number, request| {
        vec![if number == 1 {
            Act::Hang
        } else {
            honest(request, 0)
        }]
    });
    let mut rig = rig(&[host.url()]);
    rig.project(1).unwrap();
    rig.project(2).unwrap();
    let seen = host.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[1], seen[2]);
    assert_eq!(host.puppet.streams.load(Ordering::SeqCst), 2);
}

#[test]
fn a_stream_that_breaks_twice_is_unreachable() {
    let host = Host::start(|_, _| vec![Act::Hang]);
    let error = rig(&[host.url()]).failure();
    assert_eq!(error.failure, LinkFailure::Unreachable);
    assert_eq!(host.seen().len(), 2);
}

#[test]
fn a_host_that_comes_back_is_used_again() {
    let mut host = Host::start(|_, request| vec![honest(request, 0)]);
    let mut rig = rig(&[host.url()]);
    rig.project(1).unwrap();
    host.kill();
    let error = rig.failure();
    assert_eq!(error.failure, LinkFailure::Unreachable);
    assert!(error.to_string().contains("talaria-gpu serve"), "{error}");
    let address = host.address.to_string();
    let _host = Host::start_at(&address, Vec::new(), |_, request| vec![honest(request, 0)]);
    rig.project(1).unwrap();
}

/// As a host that is restarted does: the kernel accepts for a listener that is about to close.
#[test]
fn a_reset_while_a_link_is_opened_again_is_no_attempt() {
    let mut host = Host::start(|_, request| vec![honest(request, 0)]);
    let mut rig = rig(&[host.url()]);
    rig.project(1).unwrap();
    let address = host.address;
    host.kill();
    let coming_back = std::thread::spawn(move || {
        let dying = std::net::TcpListener::bind(address).unwrap();
        for _ in 0..3 {
            let socket = dying.accept().unwrap();
            // What arrived and was not read makes it a reset.
            std::thread::sleep(Duration::from_millis(20));
            drop(socket);
        }
        drop(dying);
        Host::start_at(&address.to_string(), Vec::new(), |_, r| vec![honest(r, 0)])
    });
    rig.project(1).unwrap();
    assert_eq!(coming_back.join().unwrap().seen().len(), 1);
}

/// By two spellings of its address, by a relay, or by one of two ports: with both shares it would see the rows.
#[test]
fn one_host_at_two_addresses_is_never_sent_both_shares() {
    let host = Host::start(|_, request| vec![honest(request, 0)]);
    let two_spellings = [
        host.url(),
        format!("http://[::ffff:127.0.0.1]:{}", host.address.port()),
    ];
    let other = Host::start(|_, request| vec![honest(request, 0)]);
    *other.puppet.identity.lock().unwrap() = host.puppet.identity.lock().unwrap().clone();
    for urls in [two_spellings, [host.url(), other.url()]] {
        let mut rig = rig(&urls);
        for _ in 0..2 {
            let error = rig.failure();
            assert_eq!(error.failure, LinkFailure::SameHost, "{error}");
            assert!(error.message.contains("different operators"), "{error}");
        }
    }
    let sent = host.seen().len() + other.seen().len();
    assert!(sent <= 4, "one share a call: {sent}");
}

/// A host may restart, but not come back as the other one.
#[test]
fn a_host_that_comes_back_as_the_other_is_refused() {
    let mut first = Host::start(|_, request| vec![honest(request, 0)]);
    let second = Host::start(|_, request| vec![honest(request, 0)]);
    let mut rig = rig(&[first.url(), second.url()]);
    rig.project(1).unwrap();
    first.kill();
    let address = first.address.to_string();
    let again = Host::start_at(&address, Vec::new(), |_, r| vec![honest(r, 0)]);
    rig.project(1).unwrap();
    drop(again);
    let twin = Host::start_at(&address, Vec::new(), |_, r| vec![honest(r, 0)]);
    *twin.puppet.identity.lock().unwrap() = second.puppet.identity.lock().unwrap().clone();
    assert_eq!(rig.failure().failure, LinkFailure::SameHost);
    assert!(twin.seen().is_empty());
}

#[test]
fn a_host_that_does_not_say_who_it_is_is_not_used() {
    let host = Host::start(|_, request| vec![honest(request, 0)]);
    let said = identity();
    for (process, link_key) in [
        (Bytes::new(), Bytes::new()),
        (Bytes::from_static(&[1; 31]), Bytes::new()),
        // Of a link that something else ends in between.
        (said.process, Bytes::from_static(&[1; 32])),
    ] {
        *host.puppet.identity.lock().unwrap() = IdentityResponse { process, link_key };
        assert_eq!(rig(&[host.url()]).failure().failure, LinkFailure::Malformed);
    }
    assert!(host.seen().is_empty());
}

/// Clients are told neither where a host is nor what it says.
#[test]
fn what_clients_are_told_is_a_fixed_text() {
    let host = Host::start(|_, r| vec![refuse(r, refusal::Code::Device, "send me your secrets")]);
    let error = rig(&[host.url()]).failure();
    assert!(error.message.contains("secrets") && error.message.contains(&host.url()));
    assert_eq!(
        error.for_clients(),
        "it did not take the request; try again later"
    );
}

#[test]
fn a_host_that_starts_late_is_waited_for() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut rig = rig(&[format!("http://{address}")]);
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(150));
        Host::start_at(&address.to_string(), Vec::new(), |_, r| vec![honest(r, 0)])
    });
    rig.project(1).unwrap();
    drop(late.join().unwrap());
}

#[test]
fn what_is_no_grpc_is_an_error_soon() {
    // Accepts and says nothing, or says something else.
    for greeting in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            use std::io::Write;
            let mut open = Vec::new();
            listener.set_nonblocking(true).unwrap();
            for _ in 0..100 {
                if let Ok((mut socket, _)) = listener.accept() {
                    let _ = socket.write_all(greeting);
                    open.push(socket);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let error = rig(&[url]).failure();
        assert_ne!(error.failure, LinkFailure::Refused, "{error}");
        server.join().unwrap();
    }
}

#[test]
fn refusals_keep_the_stream() {
    let host = Host::start(|number, request| {
        vec![match number {
            0 => refuse(request, refusal::Code::Overloaded, "17 waiting"),
            1 => refuse(request, refusal::Code::Expired, ""),
            2 => refuse(request, refusal::Code::Device, "lost"),
            _ => honest(request, 0),
        }]
    });
    let mut rig = rig(&[host.url()]);
    let error = rig.failure();
    assert_eq!(error.failure, LinkFailure::Refused);
    assert!(error.message.contains("17 waiting"), "{error}");
    assert_eq!(rig.failure().failure, LinkFailure::Timeout);
    assert!(rig.failure().message.contains("lost"));
    rig.project(1).unwrap();
    assert_eq!(host.puppet.streams.load(Ordering::SeqCst), 1);
}

#[test]
fn the_failing_host_is_named_and_the_other_stays_usable() {
    let good = Host::start(|_, request| vec![honest(request, 0)]);
    let bad = Host::start(|number, request| {
        vec![match number {
            0 => refuse(request, refusal::Code::Invalid, "no"),
            _ => honest(request, 0),
        }]
    });
    let mut rig = rig(&[good.url(), bad.url()]);
    let error = rig.failure();
    assert_eq!(error.host, 1);
    assert!(
        error.to_string().starts_with("GPU host 2: http://"),
        "{error}"
    );
    for _ in 0..3 {
        rig.project(1).unwrap();
    }
}

#[test]
fn shutting_down_ends_a_wait() {
    let host = Host::start(|_, _| vec![Act::Silence]);
    let mut rig = rig(&[host.url()]);
    let stop = rig.stop.clone();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        stop.send_replace(true);
    });
    let started = std::time::Instant::now();
    assert!(
        rig.project(1)
            .unwrap_err()
            .message
            .contains("shutting down")
    );
    assert!(started.elapsed() < Duration::from_millis(800));
    stopper.join().unwrap();
}

#[test]
fn planes_apart_are_asked_for_and_twice_as_long() {
    let host = Host::start(|_, request| vec![honest(request, 0)]);
    let mut rig = rig(&[host.url()]);
    for (planes_apart, outputs) in [(true, 2 * SHAPE.n), (false, SHAPE.n)] {
        let body = vec![RowBody::residues(vec![0; 2 * SHAPE.k])];
        let answer = rig.links.project(0, 1, planes_apart, body).unwrap();
        assert_eq!(answer.products[0].len(), 2 * outputs);
    }
    let asked: Vec<_> = host.seen().iter().map(|r| r.planes_apart).collect();
    assert_eq!(asked, [true, false]);
}

#[test]
fn nothing_is_sent_in_quarantine_or_in_the_wrong_shape() {
    let host = Host::start(|_, request| vec![honest(request, 0)]);
    let mut rig = rig(&[host.url()]);
    let body = |words: usize| vec![RowBody::residues(vec![0; words])];
    let wrong = [
        rig.links.project(0, 2, false, body(6)),
        rig.links.project(0, 0, false, body(0)),
        rig.links.project(1, 1, false, body(6)),
        rig.links
            .project(0, 1, false, vec![RowBody::Seed(vec![0; 31].into())]),
        rig.links.project(0, 1, false, Vec::new()),
    ];
    for wrong in wrong {
        assert_eq!(wrong.unwrap_err().failure, LinkFailure::Refused);
    }
    rig.links.quarantine();
    assert!(rig.project(1).unwrap_err().message.contains("quarantined"));
    assert!(host.seen().is_empty());
}

#[test]
fn manifest_and_weights_are_bounded() {
    let chunk = |bytes: usize| Chunk {
        data: vec![1; bytes].into(),
    };
    let host = Host::start_at("127.0.0.1:0", vec![chunk(3), chunk(4)], |_, _| Vec::new());
    let address = HostAddress::parse(0, &host.url()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let roster = Roster::new(1);
        let manifest = fetch::manifest(&address, &roster, DEADLINES).await;
        assert_eq!(manifest.unwrap(), [1; 7]);
        for (total, good) in [(7, true), (6, false), (8, false), (0, false)] {
            let mut weights = fetch::Weights::open(&address, &roster, DEADLINES, total)
                .await
                .unwrap();
            let outcome = loop {
                match weights.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            assert_eq!(outcome.is_ok(), good, "{total}");
            if let Err(error) = outcome {
                assert_eq!(error.failure, LinkFailure::Malformed);
            }
        }
    });
}

/// Fetches manifest and weights of 5 bytes, each until its end or an error.
fn fetched(host: &Host) -> [Result<usize, LinkError>; 2] {
    let address = HostAddress::parse(0, &host.url()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let weights = async {
        let mut weights = fetch::Weights::open(&address, &Roster::new(1), DEADLINES, 5).await?;
        let mut received = 0;
        while let Some(chunk) = weights.next().await? {
            received += chunk.len();
        }
        Ok(received)
    };
    let manifest = async {
        let manifest = fetch::manifest(&address, &Roster::new(1), DEADLINES).await;
        manifest.map(|manifest| manifest.len())
    };
    let fetched = async { [manifest.await, weights.await] };
    let bounded = async { tokio::time::timeout(Duration::from_secs(30), fetched).await };
    runtime.block_on(bounded).expect("an end of set-up")
}

#[test]
fn empty_chunks_do_not_hold_set_up() {
    let endless = vec![0; 10_000];
    for lengths in [&endless[..], &[2, 0, 3]] {
        let host = Host::of_chunks(lengths, Duration::from_millis(10));
        for fetched in fetched(&host) {
            let error = fetched.unwrap_err();
            assert_eq!(error.failure, LinkFailure::Malformed, "{error}");
            assert!(error.message.contains("an empty chunk"), "{error}");
        }
    }
}

#[test]
fn a_host_that_sends_a_byte_now_and_then_does_not_hold_set_up() {
    // Never silent for long: the deadline is 1.8 s.
    let host = Host::of_chunks(&[1; 200], Duration::from_millis(500));
    for fetched in fetched(&host) {
        let error = fetched.unwrap_err();
        assert_eq!(error.failure, LinkFailure::Timeout, "{error}");
        assert!(error.message.contains("bytes a second"), "{error}");
    }
}

#[test]
fn time_in_the_payload_does_not_count_against_the_host() {
    let host = Host::of_chunks(&[1; 5], Duration::ZERO);
    let address = HostAddress::parse(0, &host.url()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let ends = runtime.block_on(async {
        let mut weights = fetch::Weights::open(&address, &Roster::new(1), DEADLINES, 5).await?;
        for _ in 0..5 {
            weights.next().await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        weights.next().await
    });
    assert!(ends.unwrap().is_none());
}

#[test]
fn unix_sockets_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gpu");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let puppet = Puppet {
        behaviour: Arc::new(|_, request| vec![honest(request, 0)]),
        seen: Arc::default(),
        streams: Arc::default(),
        manifest: Arc::default(),
        identity: Arc::new(Mutex::new(identity())),
        pause: Duration::ZERO,
    };
    let listener = {
        let _entered = runtime.enter();
        tokio::net::UnixListener::bind(&path).unwrap()
    };
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let service = WeightedHostServer::new(puppet);
    runtime.spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    rig(&[format!("unix:{}", path.display())])
        .project(2)
        .unwrap();
    runtime.shutdown_background();
}
