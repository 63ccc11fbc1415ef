//! One instance's stream to one host.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use talaria_transport::weighted::project_request::Body;
use talaria_transport::weighted::project_response::Result as Outcome;
use talaria_transport::weighted::weighted_host_client::WeightedHostClient;
use talaria_transport::weighted::{ProjectRequest, ProjectResponse, Refusal, refusal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::error::{LinkError, LinkFailure, printable, reason};
use super::{Deadlines, HostAddress, MESSAGE_OVERHEAD, Roster, deadline_ms};
use crate::payload::InstanceCounters;

/// Between two attempts to open a stream.
const PAUSE: Duration = Duration::from_millis(50);

/// Bytes before each message: compression flag and length.
const GRPC_FRAME_BYTES: u64 = 5;

/// One request for one host.
#[derive(Clone)]
pub(super) struct Job {
    pub projection: u32,
    pub rows: u32,
    pub planes_apart: bool,
    pub body: Body,
    /// Length that the product must have.
    pub product_bytes: usize,
    pub until: Instant,
}

/// One host's product.
pub(super) struct Product {
    pub product: Bytes,
    pub compute_us: u32,
}

/// An instance's way to one host. At most one request is waited for at a time.
pub(super) struct Link {
    host: HostAddress,
    roster: Arc<Roster>,
    deadlines: Deadlines,
    counters: Arc<InstanceCounters>,
    /// None before the first request and after a failure.
    stream: Option<OpenStream>,
    last_id: u64,
}

struct OpenStream {
    /// Holds the connection.
    _client: WeightedHostClient<Channel>,
    outbound: mpsc::UnboundedSender<ProjectRequest>,
    inbound: Streaming<ProjectResponse>,
    /// Largest answer it was opened for.
    product_bytes: usize,
}

/// Why an attempt brought no answer.
enum Setback {
    /// The connection broke: the identical bytes may be sent once more.
    Broken(String),
    /// Another attempt would not help.
    Final(LinkError),
}

impl From<LinkError> for Setback {
    fn from(error: LinkError) -> Self {
        Self::Final(error)
    }
}

impl Link {
    pub(super) fn new(
        host: HostAddress,
        roster: Arc<Roster>,
        deadlines: Deadlines,
        counters: Arc<InstanceCounters>,
    ) -> Self {
        Self {
            host,
            roster,
            deadlines,
            counters,
            stream: None,
            last_id: 0,
        }
    }

    /// Sends, waits, and checks the length of what came. After any failure but a refusal the stream
    /// is made anew by the next call.
    pub(super) async fn call(&mut self, job: Job) -> Result<Product, LinkError> {
        self.last_id += 1;
        let request = ProjectRequest {
            id: self.last_id,
            projection: job.projection,
            rows: job.rows,
            planes_apart: job.planes_apart,
            deadline_ms: deadline_ms(self.deadlines.project),
            body: Some(job.body),
        };
        let exchange = self.exchange(&request, job.product_bytes);
        let exchanged = timeout_at(job.until, exchange).await;
        let response = exchanged
            .unwrap_or_else(|_| Err(self.host.timeout("a projection", self.deadlines.project)));
        let response = response.inspect_err(|_| self.stream = None)?;
        match response.result {
            Some(Outcome::Residues(product)) if product.len() == job.product_bytes => Ok(Product {
                product,
                compute_us: response.compute_us,
            }),
            Some(Outcome::Residues(product)) => {
                Err(self.drop_for_length(&product, &job.product_bytes))
            }
            Some(Outcome::Refusal(refusal)) => Err(self.refusal(&refusal)),
            None => Err(self.drop_malformed("an answer without a result")),
        }
    }

    fn drop_for_length(&mut self, product: &Bytes, expected: &usize) -> LinkError {
        let found = product.len();
        self.drop_malformed(&format!("a product of {found} bytes, expected {expected}"))
    }

    fn drop_malformed(&mut self, reason: &str) -> LinkError {
        self.stream = None;
        self.host.malformed(reason)
    }

    fn refusal(&self, refusal: &Refusal) -> LinkError {
        let message = printable(&refusal.message);
        match refusal.code() {
            refusal::Code::Expired => self.host.timeout("a projection", self.deadlines.project),
            refusal::Code::Overloaded => self
                .host
                .refused(&format!("its queue is full, try again later ({message})")),
            _ => self.host.refused(&message),
        }
    }

    /// Up to two attempts with the same bytes. One is made when the bytes are handed to a stream: a host that goes away
    /// while a stream to it is opened has not had them.
    async fn exchange(
        &mut self,
        request: &ProjectRequest,
        product_bytes: usize,
    ) -> Result<ProjectResponse, LinkError> {
        let mut resent = false;
        loop {
            match self.attempt(request, product_bytes).await {
                Ok(response) => return Ok(response),
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::Broken(reason)) if resent => {
                    return Err(self.host.unreachable(&reason));
                }
                Err(Setback::Broken(reason)) => {
                    tracing::debug!(host = %self.host.url, reason, "connection broke, sending again");
                    self.stream = None;
                    resent = true;
                }
            }
        }
    }

    /// Hands the request to a stream that takes such answers, and waits for its own.
    async fn attempt(
        &mut self,
        request: &ProjectRequest,
        product_bytes: usize,
    ) -> Result<ProjectResponse, Setback> {
        let usable = |stream: &OpenStream| product_bytes <= stream.product_bytes;
        let stream = match self.stream.take().filter(usable) {
            Some(stream) => stream,
            None => self.reopen(product_bytes).await?,
        };
        let stream = self.stream.insert(stream);
        let closed = || Setback::Broken("it closed the stream".into());
        stream
            .outbound
            .send(request.clone())
            .map_err(|_| closed())?;
        let sent = request.encoded_len() as u64 + GRPC_FRAME_BYTES;
        self.counters.count_sent(self.host.index, sent);
        loop {
            let received = stream.inbound.message().await;
            let response = received
                .map_err(|status| setback(&self.host, &status))?
                .ok_or_else(closed)?;
            let bytes = response.encoded_len() as u64 + GRPC_FRAME_BYTES;
            self.counters.count_received(self.host.index, bytes);
            // Smaller: an answer to a call that was given up because the other host failed.
            if response.id == request.id {
                return Ok(response);
            } else if response.id > request.id {
                return Err(self
                    .host
                    .malformed("an answer to a request that was not made")
                    .into());
            }
        }
    }

    /// Opens a stream, and tries again while the host is going away and coming back.
    async fn reopen(&self, product_bytes: usize) -> Result<OpenStream, LinkError> {
        let until = Instant::now() + self.deadlines.connect;
        loop {
            match self.open(product_bytes).await {
                Ok(stream) => return Ok(stream),
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::Broken(reason)) if Instant::now() >= until => {
                    return Err(self.host.unreachable(&reason));
                }
                Err(Setback::Broken(_)) => sleep(PAUSE).await,
            }
        }
    }

    /// Connects and opens a stream.
    async fn open(&self, product_bytes: usize) -> Result<OpenStream, Setback> {
        let connection = self.host.connect(&self.roster, self.deadlines).await?;
        // Room to grow: streams are kept, and the LM head's answers come after the layers'.
        let product_bytes = product_bytes.max(ROOMY_PRODUCT_BYTES);
        let mut client = WeightedHostClient::new(connection.channel)
            .max_decoding_message_size(product_bytes + MESSAGE_OVERHEAD);
        let (outbound, requests) = mpsc::unbounded_channel();
        let opened = client.project(UnboundedReceiverStream::new(requests)).await;
        let opened = opened.map_err(|status| setback(&self.host, &status))?;
        Ok(OpenStream {
            _client: client,
            outbound,
            inbound: opened.into_inner(),
            product_bytes,
        })
    }
}

/// Largest answer a stream is opened for at least.
const ROOMY_PRODUCT_BYTES: usize = 64 << 20;

/// A broken connection, or what else a status means.
fn setback(host: &HostAddress, status: &Status) -> Setback {
    match host.failed(status) {
        error if error.failure == LinkFailure::Unreachable => Setback::Broken(reason(status)),
        error => Setback::Final(error),
    }
}
