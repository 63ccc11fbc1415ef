//! The gRPC service of `wire/proto/weighted.proto` over a [`GpuHost`].

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use talaria_transport::pace::Pace;
use talaria_transport::weighted::weighted_host_server::WeightedHost;
use talaria_transport::weighted::{
    Chunk, IdentityRequest, IdentityResponse, ManifestRequest, ProjectRequest, ProjectResponse,
    Refusal as WireRefusal, WeightsRequest, project_response, refusal,
};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::bounds::{LEAST_TAKEN, WEIGHT_PASSES, WEIGHT_PASSES_OF_ONE};
use super::connection::Connection;
use super::fault::{Faulty, Injector};
use super::host::GpuHost;
use super::places::Places;
use crate::scheduler::rows::Claim;
use crate::scheduler::{Job, Product, Refusal, Reply};

/// Requests of one stream accepted and not yet taken by the network. The host reads no further until
/// there are fewer; HTTP/2 flow control then holds the caller back.
pub(super) const MAX_IN_FLIGHT: usize = 256;
/// Bytes of a message of the manifest or the weights.
const CHUNK_BYTES: usize = 1 << 20;
/// Weight chunks read ahead of the network.
const CHUNKS_AHEAD: usize = 4;

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// An answer, and its place among those in flight, free once the network takes the answer.
type Outgoing = (Result<ProjectResponse, Status>, OwnedSemaphorePermit);

/// Serves one host. Streams end when `stop` becomes true and their answers are sent.
#[derive(Clone)]
pub(super) struct Service {
    host: Arc<GpuHost>,
    stop: watch::Receiver<bool>,
    /// Public key of the link that connections come over; empty if they are not encrypted.
    link_key: Bytes,
    weight_passes: Arc<Places>,
}

impl Service {
    pub(super) fn new(host: Arc<GpuHost>, stop: watch::Receiver<bool>, link_key: Bytes) -> Self {
        Self {
            host,
            stop,
            link_key,
            weight_passes: Places::new(WEIGHT_PASSES, WEIGHT_PASSES_OF_ONE),
        }
    }
}

#[tonic::async_trait]
impl WeightedHost for Service {
    type ManifestStream = Boxed<Chunk>;
    type WeightsStream = Boxed<Chunk>;
    type ProjectStream = Boxed<ProjectResponse>;

    async fn identity(
        &self,
        _: Request<IdentityRequest>,
    ) -> Result<Response<IdentityResponse>, Status> {
        Ok(Response::new(IdentityResponse {
            process: Bytes::copy_from_slice(&self.host.identity()),
            link_key: self.link_key.clone(),
        }))
    }

    async fn manifest(
        &self,
        _: Request<ManifestRequest>,
    ) -> Result<Response<Self::ManifestStream>, Status> {
        let chunks = chunks(self.host.manifest_bytes());
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks.map(Ok)))))
    }

    async fn weights(
        &self,
        request: Request<WeightsRequest>,
    ) -> Result<Response<Self::WeightsStream>, Status> {
        let connection = request.extensions().get::<Arc<Connection>>();
        let connection = connection.ok_or_else(|| Status::internal("a call of no connection"))?;
        let connection = Arc::clone(connection);
        let passes = Arc::clone(&self.weight_passes);
        let pass = passes.wait(connection.origin(), 1).await;
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let host = Arc::clone(&self.host);
        tokio::task::spawn_blocking(move || {
            read_weights(&host, &sender, &connection);
            drop(pass);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn project(
        &self,
        request: Request<Streaming<ProjectRequest>>,
    ) -> Result<Response<Self::ProjectStream>, Status> {
        let (answers, outgoing) = mpsc::channel::<Outgoing>(MAX_IN_FLIGHT);
        let stream = Caller {
            host: Arc::clone(&self.host),
            number: self.host.next_stream(),
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            answers,
        };
        tokio::spawn(stream.read(request.into_inner(), self.stop.clone()));
        let answers = ReceiverStream::new(outgoing).map(|(answer, _place)| answer);
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Pieces of at most [`CHUNK_BYTES`], sharing the memory.
fn chunks(bytes: Bytes) -> impl Iterator<Item = Chunk> + Send {
    let length = bytes.len();
    (0..length).step_by(CHUNK_BYTES).map(move |at| Chunk {
        data: bytes.slice(at..length.min(at + CHUNK_BYTES)),
    })
}

/// Sends all planes as fast as the network takes them; closes the connection of a reader who falls silent or is too slow,
/// since others wait for the pass. For a thread that may block.
fn read_weights(
    host: &GpuHost,
    sender: &mpsc::Sender<Result<Chunk, Status>>,
    connection: &Connection,
) {
    let runtime = Handle::current();
    let mut pace = Pace::new(connection.bounds().stall, LEAST_TAKEN);
    let mut send = |planes: &[u8]| {
        let data = Bytes::copy_from_slice(planes);
        match runtime.block_on(pace.wait(sender.send(Ok(Chunk { data })))) {
            Some(Ok(())) => {
                pace.moved(planes.len());
                ControlFlow::Continue(())
            }
            Some(Err(_)) => ControlFlow::Break(()),
            None => {
                connection.close("weights are not taken");
                ControlFlow::Break(())
            }
        }
    };
    let result = host.model().stream_planes(CHUNK_BYTES, &mut send);
    if let Err(error) = result {
        tracing::error!("weights cannot be read back: {error}");
        let status = Status::internal(format!("weights cannot be read back: {error}"));
        let _ = sender.blocking_send(Err(status));
    }
}

/// One stream of requests.
struct Caller {
    host: Arc<GpuHost>,
    number: u64,
    in_flight: Arc<Semaphore>,
    answers: mpsc::Sender<Outgoing>,
}

impl Caller {
    /// Reads requests until the caller ends the stream, goes away, or the host stops.
    async fn read(self, mut requests: Streaming<ProjectRequest>, mut stop: watch::Receiver<bool>) {
        tracing::debug!(stream = self.number, "opened");
        loop {
            let next = async {
                let place = Arc::clone(&self.in_flight).acquire_owned().await.ok()?;
                match requests.message().await {
                    Ok(request) => request.map(|request| (request, place)),
                    Err(status) => {
                        tracing::debug!(stream = self.number, "broke: {status}");
                        None
                    }
                }
            };
            let request = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => None,
                () = self.answers.closed() => None,
                request = next => request,
            };
            let Some((request, place)) = request else {
                break;
            };
            self.accept(request, place);
        }
        tracing::debug!(stream = self.number, "no more requests");
    }

    /// Queues a request or refuses it, without waiting.
    fn accept(&self, request: ProjectRequest, place: OwnedSemaphorePermit) {
        let arrived = Instant::now();
        let deadline = (request.deadline_ms > 0)
            .then(|| arrived + Duration::from_millis(request.deadline_ms.into()));
        let (id, limits) = (request.id, self.host.limits());
        let claim = Claim::parse(self.host.shapes(), limits.max_rows, request);
        let mut sink = Sink {
            id,
            claimed: (0, 0, 0),
            faults: self.host.faults(),
            place,
            answers: self.answers.clone(),
        };
        match claim {
            Ok(claim) => {
                sink.claimed = (claim.projection(), claim.rows(), claim.outputs());
                self.host.observe(self.number, &claim);
                if claim.is_long() {
                    let host = Arc::clone(&self.host);
                    tokio::task::spawn_blocking(move || queue(&host, claim, deadline, sink));
                } else {
                    queue(&self.host, claim, deadline, sink);
                }
            }
            Err(invalid) => Box::new(sink).send(Err(invalid.into())),
        }
    }
}

/// Takes a place in the queue first, so that an overloaded host does no work for what it refuses.
fn queue(host: &GpuHost, claim: Claim, deadline: Option<Instant>, sink: Sink) {
    let reply = Box::new(sink);
    let accepted = host.scheduler().admit(claim.bytes());
    let accepted = accepted.and_then(|slot| Ok((slot, claim.into_rows()?)));
    match accepted {
        Ok((slot, rows)) => host.scheduler().submit(Job {
            rows,
            deadline,
            slot,
            reply,
        }),
        Err(refusal) => reply.send(Err(refusal)),
    }
}

/// Where the outcome of one request goes: its stream. Holds no host: the host's queue holds it.
struct Sink {
    id: u64,
    /// Projection, rows and outputs, once known to be valid.
    claimed: (usize, usize, usize),
    faults: Option<Arc<Injector>>,
    place: OwnedSemaphorePermit,
    answers: mpsc::Sender<Outgoing>,
}

impl Reply for Sink {
    fn wanted(&self) -> bool {
        !self.answers.is_closed()
    }

    fn send(self: Box<Self>, outcome: Result<Product, Refusal>) {
        match outcome {
            Ok(product) => self.product(product),
            Err(refusal) => {
                tracing::debug!(id = self.id, "refused: {refusal}");
                let refusal = project_response::Result::Refusal(to_wire(&refusal));
                self.result(refusal, 0);
            }
        }
    }
}

impl Sink {
    fn product(self, product: Product) {
        let Product {
            residues,
            compute_us,
        } = product;
        let faulty = match &self.faults {
            None => Faulty::Bytes(residues, Duration::ZERO),
            Some(injector) => injector.apply(self.claimed, residues),
        };
        match faulty {
            Faulty::Bytes(bytes, delay) if delay.is_zero() => self.residues(bytes, compute_us),
            Faulty::Bytes(bytes, delay) => {
                std::thread::spawn(move || {
                    std::thread::sleep(delay);
                    self.residues(bytes, compute_us);
                });
            }
            Faulty::Disconnect => self.put(Err(Status::unavailable("fault injection"))),
            Faulty::Silence => {}
        }
    }

    fn residues(self, residues: Bytes, compute_us: u32) {
        self.result(project_response::Result::Residues(residues), compute_us);
    }

    fn result(self, result: project_response::Result, compute_us: u32) {
        let response = ProjectResponse {
            id: self.id,
            result: Some(result),
            compute_us,
        };
        self.put(Ok(response));
    }

    fn put(self, answer: Result<ProjectResponse, Status>) {
        // Never full: there are as many places as the channel has room. Closed: nobody waits.
        let _ = self.answers.try_send((answer, self.place));
    }
}

fn to_wire(refused: &Refusal) -> WireRefusal {
    let code = match refused {
        Refusal::Invalid(_) => refusal::Code::Invalid,
        Refusal::Overloaded => refusal::Code::Overloaded,
        Refusal::Expired => refusal::Code::Expired,
        Refusal::Device(_) => refusal::Code::Device,
    };
    WireRefusal {
        code: code.into(),
        message: refused.to_string(),
    }
}
