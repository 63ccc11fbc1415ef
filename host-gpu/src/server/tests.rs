mod holding;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use super::fault::FaultInjection;
use super::service::MAX_IN_FLIGHT;
use super::*;
use crate::backend::Planes;
use crate::record::{Observer, Seen};
use crate::scheduler::Limits;
use crate::scheduler::rows::{ClaimBody, to_little_endian};
use crate::testing::memory::Control;
use crate::testing::{PATIENCE, model, some_rows, tiny_manifest};
use crate::weights::Model;
use bytes::Bytes;
use talaria_arithmetic::keystream::expand_rows;
use talaria_arithmetic::{P2, PRIMES, residue};
use talaria_transport::weighted::project_request::Body;
use talaria_transport::weighted::project_response::Result as Outcome;
use talaria_transport::weighted::refusal::Code;
use talaria_transport::weighted::weighted_host_client::WeightedHostClient;
use talaria_transport::weighted::{Chunk, ManifestRequest, ProjectRequest, ProjectResponse};
use talaria_transport::weighted::{Refusal, WeightsRequest};
use talaria_wire::digest::ModelHasher;
use talaria_wire::manifest::{Manifest, WeightFormat};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// Features and outputs of projection 1 of the tiny manifest.
const K: usize = 8;
const N: usize = 16;

struct Fixture {
    model: Arc<Model>,
    control: Arc<Control>,
    server: RunningServer,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Limits::default(), |host| host)
    }

    fn with(limits: Limits, change: impl FnOnce(GpuHost) -> GpuHost) -> Self {
        Self::of(tiny_manifest(), limits, change)
    }

    fn of(manifest: Manifest, limits: Limits, change: impl FnOnce(GpuHost) -> GpuHost) -> Self {
        Self::start(manifest, limits, change, Bounds::of_own_callers())
    }

    fn within(manifest: Manifest, bounds: Bounds) -> Self {
        Self::start(manifest, Limits::default(), |host| host, bounds)
    }

    fn start(
        manifest: Manifest,
        limits: Limits,
        change: impl FnOnce(GpuHost) -> GpuHost,
        bounds: Bounds,
    ) -> Self {
        let (model, control) = model(manifest);
        let host = GpuHost::new(Arc::clone(&model), limits).unwrap();
        let address = Address::Tcp("127.0.0.1:0".into());
        let server = RunningServer::start_within(Arc::new(change(host)), &address, bounds);
        Self {
            model,
            control,
            server: server.unwrap(),
        }
    }

    async fn caller(&self) -> Caller {
        Caller::connect(&self.server.url()).await
    }

    fn reference(&self, projection: usize, rows: usize, x: &[u32]) -> Bytes {
        self.reference_as(Planes::Joined, projection, rows, x)
    }

    fn reference_as(&self, planes: Planes, projection: usize, rows: usize, x: &[u32]) -> Bytes {
        let backend = &self.model.backend;
        to_little_endian(backend.project(projection, rows, x, planes).unwrap())
    }
}

/// A client with one stream.
struct Caller {
    requests: mpsc::Sender<ProjectRequest>,
    answers: Streaming<ProjectResponse>,
}

impl Caller {
    async fn connect(url: &str) -> Self {
        Self::over(channel(url).await).await
    }

    async fn over(channel: Channel) -> Self {
        let (requests, outgoing) = mpsc::channel(1024);
        let mut client = WeightedHostClient::new(channel);
        let answers = client.project(ReceiverStream::new(outgoing)).await.unwrap();
        Self {
            requests,
            answers: answers.into_inner(),
        }
    }

    async fn send(&self, request: ProjectRequest) {
        self.requests.send(request).await.unwrap();
    }

    async fn next(&mut self) -> Result<Option<ProjectResponse>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.message());
        next.await.expect("an answer in time")
    }

    async fn answer(&mut self) -> (u64, Outcome) {
        let answer = self.next().await.unwrap().unwrap();
        (answer.id, answer.result.unwrap())
    }

    async fn refusal(&mut self) -> Refusal {
        match self.answer().await.1 {
            Outcome::Refusal(refusal) => refusal,
            Outcome::Residues(residues) => panic!("{} bytes of residues", residues.len()),
        }
    }

    /// One round trip that must bring a product.
    async fn project(&mut self, request: ProjectRequest) -> Bytes {
        let id = request.id;
        self.send(request).await;
        match self.answer().await {
            (found, Outcome::Residues(residues)) if found == id => residues,
            other => panic!("{other:?}"),
        }
    }
}

async fn channel(url: &str) -> Channel {
    let endpoint = Endpoint::try_from(url.to_owned()).unwrap();
    endpoint.tcp_nodelay(true).connect().await.unwrap()
}

fn request(id: u64, projection: u32, rows: u32, body: Option<Body>) -> ProjectRequest {
    ProjectRequest {
        id,
        projection,
        rows,
        deadline_ms: 0,
        body,
        planes_apart: false,
    }
}

fn residues(x: &[u32]) -> Option<Body> {
    Some(Body::Residues(to_little_endian(x.to_vec())))
}

/// A valid request for projection 1 and its rows.
fn valid(id: u64, rows: usize) -> (ProjectRequest, Vec<u32>) {
    let x = some_rows(rows, K, id as u32);
    (request(id, 1, rows as u32, residues(&x)), x)
}

async fn collect(mut chunks: Streaming<Chunk>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        all.extend_from_slice(&chunk.data);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn manifest_and_weights_have_the_models_digest() {
    let fixture = Fixture::new();
    let mut client = WeightedHostClient::new(channel(&fixture.server.url()).await);
    let manifest = client.manifest(ManifestRequest {}).await.unwrap();
    let manifest = collect(manifest.into_inner()).await;
    assert_eq!(manifest, fixture.model.manifest_bytes);
    let weights = client.weights(WeightsRequest {}).await.unwrap();
    let weights = collect(weights.into_inner()).await;
    assert_eq!(weights.len() as u64, fixture.model.manifest.weight_bytes());
    let mut hasher = ModelHasher::new(&manifest);
    hasher.planes(&weights);
    assert_eq!(hasher.finish(), fixture.model.digest().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_right_for_residues_and_seeds() {
    let fixture = Fixture::new();
    let mut caller = fixture.caller().await;
    for (projection, shape) in fixture.model.manifest.projections.iter().enumerate() {
        for rows in [1, 3] {
            let x = expand_rows(&[9; 32], rows, shape.k as usize);
            let expected = fixture.reference(projection, rows, &x);
            let seed = Some(Body::Seed(vec![9; 32].into()));
            for (id, body) in [(1, residues(&x)), (2, seed)] {
                let request = request(id, projection as u32, rows as u32, body);
                assert_eq!(caller.project(request).await, expected);
            }
        }
    }
}

/// The request with planes apart.
fn apart(request: ProjectRequest) -> ProjectRequest {
    ProjectRequest {
        planes_apart: true,
        ..request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn planes_apart_are_twice_the_outputs() {
    let fixture = Fixture::new();
    let mut caller = fixture.caller().await;
    for (projection, shape) in fixture.model.manifest.projections.iter().enumerate() {
        let x = expand_rows(&[8; 32], 3, shape.k as usize);
        let expected = fixture.reference_as(Planes::Apart, projection, 3, &x);
        assert_eq!(expected.len(), 3 * 2 * 2 * shape.n as usize * 4);
        let seed = Some(Body::Seed(vec![8; 32].into()));
        for (id, body) in [(1, residues(&x)), (2, seed)] {
            let request = apart(request(id, projection as u32, 3, body));
            assert_eq!(caller.project(request).await, expected);
        }
    }
    // The two planes, joined by the caller.
    let (request, x) = valid(3, 1);
    let halves = words(&caller.project(apart(request)).await);
    let joined = words(&fixture.reference(1, 1, &x));
    for (half, p) in PRIMES.into_iter().enumerate() {
        for c in 0..N {
            let [hi, lo] = [0, 1].map(|plane| halves[(2 * half + plane) * N + c]);
            let sum = residue::add(residue::mul(256, hi, p), lo, p);
            assert_eq!(sum, joined[half * N + c]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn int8_weights_have_one_plane_joined_and_apart() {
    let manifest = Manifest {
        weights: WeightFormat::Int8,
        ..tiny_manifest()
    };
    let fixture = Fixture::of(manifest, Limits::default(), |host| host);
    let mut caller = fixture.caller().await;
    let (good, x) = valid(1, 2);
    let expected = fixture.reference(1, 2, &x);
    assert_eq!(caller.project(good.clone()).await, expected);
    assert_eq!(caller.project(apart(good)).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn planes_apart_have_the_same_limits() {
    let rows = 2;
    let one = 2 * (K + 2 * N) as u64 * 4;
    let limits = Limits {
        max_rows: rows,
        // One row with planes apart, and one joined but not apart.
        max_queue_bytes: one + 2 * (K + N) as u64 * 4,
        ..Limits::default()
    };
    let fixture = Fixture::with(limits, |host| host);
    let mut caller = fixture.caller().await;
    caller.send(apart(valid(0, rows + 1).0)).await;
    let refusal = caller.refusal().await;
    assert_eq!(refusal.code(), Code::Invalid);
    assert!(refusal.message.contains("3 rows"), "{}", refusal.message);

    fixture.control.hold();
    caller.send(apart(valid(1, 1).0)).await;
    fixture.control.wait_for_dispatches(1);
    caller.send(apart(valid(2, 1).0)).await;
    assert_eq!(caller.refusal().await.code(), Code::Overloaded);
    caller.send(valid(3, 1).0).await;
    fixture.control.release();
    for id in [1, 3] {
        let (found, outcome) = caller.answer().await;
        assert!(found == id && matches!(outcome, Outcome::Residues(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_requests_are_read_off_the_async_threads_and_are_as_right() {
    let fixture = Fixture::with(limits(8, 4096), |host| host);
    let mut caller = fixture.caller().await;
    let rows = 3000;
    let x = expand_rows(&[4; 32], rows, K);
    let expected = fixture.reference(1, rows, &x);
    let seed = Some(Body::Seed(vec![4; 32].into()));
    for body in [seed, residues(&x)] {
        assert_eq!(
            caller.project(request(7, 1, rows as u32, body)).await,
            expected
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_of_several_callers_are_in_flight_at_once() {
    let fixture = Fixture::new();
    let (mut one, mut other) = (fixture.caller().await, fixture.caller().await);
    let mut expected = HashMap::new();
    for id in 0..300 {
        let (request, x) = valid(id, 1 + id as usize % 3);
        expected.insert(id, fixture.reference(1, x.len() / (2 * K), &x));
        one.send(request.clone()).await;
        other.send(request).await;
    }
    for caller in [&mut one, &mut other] {
        let mut missing = expected.clone();
        while !missing.is_empty() {
            let (id, outcome) = caller.answer().await;
            assert_eq!(Some(outcome), missing.remove(&id).map(Outcome::Residues));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_share_a_dispatch() {
    let fixture = Fixture::new();
    let (mut one, mut other) = (fixture.caller().await, fixture.caller().await);
    fixture.control.hold();
    one.send(valid(0, 1).0).await;
    fixture.control.wait_for_dispatches(1);
    // Six requests for one matrix, of two callers; all are queued when the ninth is refused.
    for id in 1..4 {
        one.send(valid(id, 1).0).await;
        other.send(valid(id, 2).0).await;
    }
    for caller in [&mut one, &mut other] {
        caller.send(request(9, 99, 1, None)).await;
        assert_eq!(caller.refusal().await.code(), Code::Invalid);
    }
    fixture.control.release();
    for (caller, count) in [(&mut one, 4), (&mut other, 3)] {
        for _ in 0..count {
            assert!(matches!(caller.answer().await.1, Outcome::Residues(_)));
        }
    }
    assert_eq!(fixture.control.wait_for_dispatches(2), [(1, 1), (1, 9)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused_and_the_stream_goes_on() {
    let fixture = Fixture::new();
    let mut caller = fixture.caller().await;
    let (good, x) = valid(5, 2);
    let mut too_large = x.clone();
    too_large[17] = u32::MAX;
    let bad = [
        (request(1, 6, 1, good.body.clone()), "projection 6"),
        (request(2, 1, 0, good.body.clone()), "0 rows"),
        (request(3, 1, 5000, good.body.clone()), "5000 rows"),
        (request(4, 1, 3, good.body.clone()), "128 bytes of residues"),
        (request(5, 1, 2, None), "neither residues nor a seed"),
        (
            request(6, 1, 2, Some(Body::Seed(Bytes::new()))),
            "seed of 0 bytes",
        ),
        (
            request(7, 1, 2, residues(&too_large)),
            "row 1: residue 4294967295",
        ),
    ];
    for (request, expected) in bad {
        caller.send(request).await;
        let refusal = caller.refusal().await;
        assert_eq!(refusal.code(), Code::Invalid);
        assert!(refusal.message.contains(expected), "{}", refusal.message);
    }
    assert_eq!(caller.project(good).await, fixture.reference(1, 2, &x));
}

fn limits(max_queue: usize, max_rows: usize) -> Limits {
    Limits {
        max_queue,
        max_rows,
        ..Limits::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_any_request_ends_its_stream_only() {
    let fixture = Fixture::with(limits(8, 2), |host| host);
    let channel = channel(&fixture.server.url()).await;
    let mut caller = Caller::over(channel.clone()).await;
    let body = Some(Body::Residues(vec![0; 1 << 20].into()));
    caller.send(request(1, 1, 1, body)).await;
    assert!(!matches!(caller.next().await, Ok(Some(_))));
    let (good, x) = valid(1, 1);
    let mut caller = Caller::over(channel).await;
    assert_eq!(caller.project(good).await, fixture.reference(1, 1, &x));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_host_says_so() {
    let fixture = Fixture::with(limits(2, 4), |host| host);
    let mut caller = fixture.caller().await;
    fixture.control.hold();
    for id in 0..3 {
        caller.send(valid(id, 1).0).await;
    }
    assert_eq!(caller.refusal().await.code(), Code::Overloaded);
    fixture.control.release();
    for _ in 0..2 {
        assert!(matches!(caller.answer().await.1, Outcome::Residues(_)));
    }
    let (good, x) = valid(4, 1);
    assert_eq!(caller.project(good).await, fixture.reference(1, 1, &x));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_deadline_passes_in_the_queue_expires() {
    let fixture = Fixture::new();
    let mut caller = fixture.caller().await;
    fixture.control.hold();
    caller.send(valid(0, 1).0).await;
    fixture.control.wait_for_dispatches(1);
    let (mut late, _) = valid(1, 1);
    late.deadline_ms = 1;
    caller.send(late).await;
    // Once this is refused, the late request is queued.
    caller.send(request(2, 99, 1, None)).await;
    assert_eq!(caller.refusal().await.code(), Code::Invalid);
    tokio::time::sleep(Duration::from_millis(5)).await;
    fixture.control.release();
    assert!(matches!(caller.answer().await, (0, Outcome::Residues(_))));
    assert_eq!(caller.refusal().await.code(), Code::Expired);
    assert_eq!(fixture.control.wait_for_dispatches(1), [(1, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_device_is_reported() {
    let fixture = Fixture::new();
    let mut caller = fixture.caller().await;
    fixture.control.broken.store(true, Ordering::Relaxed);
    caller.send(valid(0, 1).0).await;
    let refusal = caller.refusal().await;
    assert_eq!(refusal.code(), Code::Device);
    assert!(refusal.message.contains("unplugged"), "{}", refusal.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_of_a_caller_that_went_away_is_dropped() {
    let fixture = Fixture::new();
    let (mut stays, goes) = (fixture.caller().await, fixture.caller().await);
    fixture.control.hold();
    stays.send(valid(0, 1).0).await;
    fixture.control.wait_for_dispatches(1);
    let mut goes = goes;
    goes.send(valid(1, 3).0).await;
    goes.send(request(2, 99, 1, None)).await;
    assert_eq!(goes.refusal().await.code(), Code::Invalid);
    drop(goes);
    tokio::time::sleep(Duration::from_millis(200)).await;
    fixture.control.release();
    assert!(matches!(stays.answer().await.1, Outcome::Residues(_)));
    let (good, x) = valid(3, 2);
    assert_eq!(stays.project(good).await, fixture.reference(1, 2, &x));
    // The reference made the third.
    assert_eq!(
        fixture.control.wait_for_dispatches(3),
        [(1, 1), (1, 2), (1, 2)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_served() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let fixture = Fixture::new();
    let mut client = HealthClient::new(channel(&fixture.server.url()).await);
    for service in ["", "talaria.v1.WeightedHost"] {
        let service = service.to_owned();
        let health = client.check(HealthCheckRequest { service }).await.unwrap();
        assert_eq!(health.into_inner().status(), ServingStatus::Serving);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_was_accepted_and_ends_the_streams() {
    let fixture = Fixture::new();
    let mut caller = fixture.caller().await;
    fixture.control.hold();
    let (good, x) = valid(1, 1);
    caller.send(good).await;
    fixture.control.wait_for_dispatches(1);
    let Fixture {
        server,
        control,
        model,
    } = fixture;
    let stopping = tokio::task::spawn_blocking(move || server.stop());
    tokio::time::sleep(Duration::from_millis(50)).await;
    control.release();
    let expected = to_little_endian(model.backend.project(1, 1, &x, Planes::Joined).unwrap());
    assert_eq!(caller.answer().await, (1, Outcome::Residues(expected)));
    assert!(caller.next().await.unwrap().is_none());
    drop(caller);
    let stopped = tokio::time::timeout(GRACE / 2, stopping).await;
    stopped.expect("before the grace ends").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_breaks_the_stream_at_once() {
    let fixture = Fixture::new();
    let mut caller = fixture.caller().await;
    fixture.control.hold();
    caller.send(valid(1, 1).0).await;
    fixture.control.wait_for_dispatches(1);
    fixture.server.kill();
    assert!(caller.next().await.is_err());
    fixture.control.release();
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn unix_sockets_serve_and_leave_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gpu");
    let (model, _control) = model(tiny_manifest());
    let host = Arc::new(GpuHost::new(Arc::clone(&model), Limits::default()).unwrap());
    // Left over by a host that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address: Address = format!("unix:{}", path.display()).parse().unwrap();
    let server = RunningServer::start(Arc::clone(&host), &address).unwrap();
    let taken = RunningServer::start(host, &address).err().unwrap();
    assert!(matches!(taken, ServeError::Bind { .. }), "{taken}");
    let mut caller = Caller::connect(&server.url()).await;
    let (good, x) = valid(1, 1);
    let expected = to_little_endian(model.backend.project(1, 1, &x, Planes::Joined).unwrap());
    assert_eq!(caller.project(good).await, expected);
    drop(caller);
    tokio::task::spawn_blocking(move || server.stop())
        .await
        .unwrap()
        .unwrap();
    assert!(!path.exists());
}

/// Keeps what a host sees.
#[derive(Default)]
struct Kept(Mutex<Vec<Seen>>);

impl Observer for Kept {
    fn saw(&self, request: &Seen) {
        self.0.lock().unwrap().push(request.clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_no_further_than_its_bound() {
    let kept = Arc::new(Kept::default());
    let observer = Arc::clone(&kept);
    let fixture = Fixture::with(Limits::default(), |host| host.with_observer(observer));
    let mut caller = fixture.caller().await;
    fixture.control.hold();
    for id in 0..400 {
        caller.send(valid(id, 1).0).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(kept.0.lock().unwrap().len(), MAX_IN_FLIGHT);
    fixture.control.release();
    for _ in 0..400 {
        assert!(matches!(caller.answer().await.1, Outcome::Residues(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_see_what_came_and_nothing_else() {
    let kept = Arc::new(Kept::default());
    let observer = Arc::clone(&kept);
    let fixture = Fixture::with(Limits::default(), |host| host.with_observer(observer));
    let mut caller = fixture.caller().await;
    let (good, x) = valid(1, 2);
    caller.project(good).await;
    caller.send(request(2, 99, 1, None)).await;
    caller.refusal().await;
    let seed = Some(Body::Seed(vec![3; 32].into()));
    caller.project(apart(request(3, 0, 1, seed))).await;
    let seen = kept.0.lock().unwrap();
    let bodies: Vec<_> = seen
        .iter()
        .map(|s| (s.projection, s.rows, s.planes, &s.body))
        .collect();
    let residues = ClaimBody::Residues(to_little_endian(x));
    assert_eq!(
        bodies,
        [
            (1, 2, Planes::Joined, &residues),
            (0, 1, Planes::Apart, &ClaimBody::Seed([3; 32]))
        ]
    );
}

/// A host whose second answer meets a fault.
fn faulty(fault: FaultInjection) -> Fixture {
    Fixture::with(Limits::default(), |host| {
        host.with_fault_injection(Arc::new(move |answer| {
            (answer.nth == 1).then(|| fault.clone())
        }))
    })
}

/// Right and faulty answer to the same request.
async fn right_and_wrong(fault: FaultInjection) -> (Vec<u32>, Bytes) {
    let fixture = faulty(fault);
    let mut caller = fixture.caller().await;
    let (good, _) = valid(1, 2);
    let right = caller.project(good.clone()).await;
    let wrong = caller.project(good.clone()).await;
    assert_eq!(caller.project(good).await, right);
    (words(&right), wrong)
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytemuck::pod_collect_to_vec(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn injected_lies() {
    let flip = FaultInjection::FlipResidue {
        residue: 3 * N + 2 + 4 * N,
        delta: P2 - 1,
    };
    let (mut right, wrong) = right_and_wrong(flip).await;
    right[3 * N + 2] = residue::sub(right[3 * N + 2], 1, P2);
    assert_eq!(words(&wrong), right);

    // The second residue of the lower plane, modulo P2.
    let fixture = faulty(FaultInjection::FlipResidue {
        residue: 3 * N + 1,
        delta: 5,
    });
    let mut caller = fixture.caller().await;
    let [mut right, wrong] = [
        words(&caller.project(apart(valid(1, 1).0)).await),
        words(&caller.project(apart(valid(1, 1).0)).await),
    ];
    right[3 * N + 1] = residue::add(right[3 * N + 1], 5, P2);
    assert_eq!(wrong, right);

    let (_, wrong) = right_and_wrong(FaultInjection::WrongLength { bytes: 13 }).await;
    assert_eq!(wrong.len(), 13);
    let (right, wrong) = right_and_wrong(FaultInjection::Garbage).await;
    assert_eq!(words(&wrong), vec![u32::MAX; right.len()]);
    let begun = std::time::Instant::now();
    let (right, late) = right_and_wrong(FaultInjection::Late { milliseconds: 50 }).await;
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(words(&late), right);
}

#[tokio::test(flavor = "multi_thread")]
async fn injected_disconnects_and_silence() {
    let fixture = faulty(FaultInjection::Disconnect);
    let mut caller = fixture.caller().await;
    caller.project(valid(1, 1).0).await;
    caller.send(valid(2, 1).0).await;
    assert!(caller.next().await.is_err());
    fixture.caller().await.project(valid(3, 1).0).await;

    let fixture = faulty(FaultInjection::Silence);
    let mut caller = fixture.caller().await;
    caller.project(valid(1, 1).0).await;
    caller.send(valid(2, 1).0).await;
    assert_eq!(caller.project(valid(3, 1).0).await.len(), 2 * N * 4);
}
