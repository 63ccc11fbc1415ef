//! Round trips over loopback without any product: what transport and scheduling cost.
//!
//! ```text
//! cargo run --release -p talaria-host-gpu --example round_trip
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use talaria_host_gpu::backend::{Backend, BackendError, MatrixShape, Planes};
use talaria_host_gpu::scheduler::Limits;
use talaria_host_gpu::server::{GpuHost, RunningServer};
use talaria_host_gpu::weights::Model;
use talaria_transport::weighted::project_request::Body;
use talaria_transport::weighted::weighted_host_client::WeightedHostClient;
use talaria_transport::weighted::{ProjectRequest, ProjectResponse, project_response};
use talaria_wire::manifest::{
    self, Decoder, Generation, Manifest, Projection, Role, Rope, RopeFrequencies, Structure,
    WeightFormat,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

const ROUND_TRIPS: usize = 2000;
/// Bytes of a row, both ways.
const ROWS: [usize; 4] = [64, 8 << 10, 64 << 10, 1 << 20];

/// Every matrix is the identity.
struct Echo;

impl Backend for Echo {
    fn describe(&self) -> String {
        "echo".into()
    }

    fn name(&self) -> &'static str {
        "echo"
    }

    fn add_matrix(&mut self, _: MatrixShape) -> Result<usize, BackendError> {
        Ok(0)
    }

    fn store(&mut self, _: usize, _: usize, _: usize, _: &[i8]) -> Result<(), BackendError> {
        Ok(())
    }

    fn read(&self, _: usize, _: usize, _: usize, _: usize) -> Result<Vec<i8>, BackendError> {
        Ok(Vec::new())
    }

    fn project(&self, _: usize, _: usize, x: &[u32], _: Planes) -> Result<Vec<u32>, BackendError> {
        Ok(x.to_vec())
    }

    fn weight_bytes(&self) -> u64 {
        0
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = manifest();
    let model = Model {
        manifest_bytes: manifest.to_bytes(),
        manifest,
        backend: Box::new(Echo),
    };
    let host = Arc::new(GpuHost::new(Arc::new(model), Limits::default())?);
    let server = RunningServer::on_loopback(Arc::clone(&host))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut caller = Caller::connect(server.url()).await?;
        for (projection, bytes) in ROWS.into_iter().enumerate() {
            let times = caller.measure(projection as u32, bytes).await?;
            let at = |percent: usize| times[times.len() * percent / 100];
            println!(
                "{bytes:>8} B  median {:>8.1?}  90 % {:>8.1?}",
                at(50),
                at(90)
            );
        }
        Ok(())
    })
}

struct Caller {
    requests: mpsc::Sender<ProjectRequest>,
    answers: Streaming<ProjectResponse>,
}

impl Caller {
    async fn connect(url: String) -> Result<Self, Box<dyn std::error::Error>> {
        let channel = Endpoint::try_from(url)?
            .tcp_nodelay(true)
            .initial_stream_window_size(16 << 20)
            .initial_connection_window_size(64 << 20)
            .connect()
            .await?;
        let (requests, outgoing) = mpsc::channel(4);
        let answers = WeightedHostClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .project(ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        Ok(Self { requests, answers })
    }

    /// Sorted times of one row there and back.
    async fn measure(
        &mut self,
        projection: u32,
        bytes: usize,
    ) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
        let row = vec![0u8; bytes];
        let mut times = Vec::with_capacity(ROUND_TRIPS);
        for id in 0..ROUND_TRIPS as u64 {
            let begun = Instant::now();
            let request = ProjectRequest {
                id,
                projection,
                rows: 1,
                deadline_ms: 0,
                body: Some(Body::Residues(row.clone().into())),
                planes_apart: false,
            };
            self.requests.send(request).await?;
            let answer = self.answers.message().await?.ok_or("the stream ended")?;
            times.push(begun.elapsed());
            match answer.result {
                Some(project_response::Result::Residues(back)) if back == row => {}
                other => return Err(format!("{other:?}").into()),
            }
        }
        times.sort();
        Ok(times)
    }
}

/// One square matrix for each of [`ROWS`].
fn manifest() -> Manifest {
    let projection = |bytes: usize| Projection {
        place: Role::O.of(0),
        k: (bytes / 8) as u32,
        n: (bytes / 8) as u32,
        scales: vec![],
        bias: vec![],
    };
    let rope = Rope {
        frequencies: RopeFrequencies::Fixed(vec![1.0; 4]),
        attention_factor: 1.0,
    };
    Manifest {
        format: manifest::FORMAT,
        structure: Structure::PreNorm,
        decoder: Decoder {
            model_type: "echo".into(),
            hidden_size: 8,
            intermediate_size: 8,
            num_attention_heads: 1,
            num_key_value_heads: 1,
            head_dim: 8,
            vocab_size: 8,
            max_position_embeddings: 8,
            rms_norm_eps: 0.0,
            rope,
        },
        weights: WeightFormat::Int8,
        projections: ROWS.map(projection).into(),
        layers: vec![],
        generation: Generation::default(),
        text_files: BTreeMap::new(),
    }
}
