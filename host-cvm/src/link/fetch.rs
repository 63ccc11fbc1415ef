//! What is fetched from hosts at set-up: manifests and, once, the weights.

use std::time::Duration;

use bytes::Bytes;
use talaria_transport::pace::Pace;
use talaria_transport::weighted::weighted_host_client::WeightedHostClient;
use talaria_transport::weighted::{Chunk, ManifestRequest, WeightsRequest};
use talaria_wire::manifest::MAX_MANIFEST_BYTES;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::{Deadlines, HostAddress, LinkError, Roster};

/// Largest chunk of manifest or weights that is accepted.
const MAX_CHUNK_BYTES: usize = 64 << 20;

/// Bytes a second that a host must send at least, over times as long as [`silence`]: a link of 8 Mbit/s, which would
/// need half a minute for a product of 256 rows of an LM head. Whoever is slower could hold a set-up for days.
const LEAST_RATE: u64 = 1 << 20;

/// The manifest of one host, unparsed.
pub(crate) async fn manifest(
    host: &HostAddress,
    roster: &Roster,
    deadlines: Deadlines,
) -> Result<Vec<u8>, LinkError> {
    let mut client = client(host, roster, deadlines).await?;
    let opening = client.manifest(ManifestRequest {});
    let silence = deadlines.silence();
    let mut chunks = Chunks::open(host, silence, silence, opening).await?;
    let mut manifest = Vec::new();
    while let Some(chunk) = chunks.next().await? {
        if manifest.len() + chunk.len() > MAX_MANIFEST_BYTES {
            let reason = format!("a manifest longer than {MAX_MANIFEST_BYTES} bytes");
            return Err(host.malformed(&reason));
        }
        manifest.extend_from_slice(&chunk);
    }
    Ok(manifest)
}

/// The weight planes of a host: exactly the bytes that the manifest promises.
pub(crate) struct Weights {
    chunks: Chunks,
    received: u64,
    total: u64,
}

impl Weights {
    pub(crate) async fn open(
        host: &HostAddress,
        roster: &Roster,
        deadlines: Deadlines,
        total: u64,
    ) -> Result<Self, LinkError> {
        let mut client = client(host, roster, deadlines).await?;
        let opening = client.weights(WeightsRequest {});
        // A host may let it wait while it streams to others.
        let first = deadlines.project;
        let chunks = Chunks::open(host, first, deadlines.silence(), opening).await?;
        Ok(Self {
            chunks,
            received: 0,
            total,
        })
    }

    /// Next bytes; none once all are there.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        let chunk = self.chunks.next().await?;
        self.received += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        let complete = match chunk {
            Some(_) => self.received <= self.total,
            None => self.received == self.total,
        };
        if complete {
            return Ok(chunk);
        }
        let (received, total) = (self.received, self.total);
        let reason = format!("{received} bytes of weights, {total} expected");
        Err(self.chunks.host.malformed(&reason))
    }
}

/// A stream of chunks that is given up when it falls silent or is too slow. Only waiting for it counts, not what is
/// done with its chunks.
struct Chunks {
    host: HostAddress,
    silence: Duration,
    pace: Pace,
    inbound: Streaming<Chunk>,
}

impl Chunks {
    async fn open(
        host: &HostAddress,
        first: Duration,
        silence: Duration,
        opening: impl Future<Output = Result<tonic::Response<Streaming<Chunk>>, Status>>,
    ) -> Result<Self, LinkError> {
        let opened = timeout(first, opening).await;
        let opened = opened.map_err(|_| host.timeout("a request of set-up", first))?;
        Ok(Self {
            host: host.clone(),
            silence,
            pace: Pace::new(silence, LEAST_RATE),
            inbound: opened.map_err(|status| host.failed(&status))?.into_inner(),
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        let silent = self.pace.is_unused();
        let received = self.pace.wait(self.inbound.message()).await;
        let received = received.ok_or_else(|| match silent {
            true => self.host.timeout("a request of set-up", self.silence),
            false => self.host.too_slow(LEAST_RATE),
        })?;
        let chunk = received.map_err(|status| self.host.failed(&status))?;
        match chunk.map(|chunk| chunk.data) {
            Some(data) if data.is_empty() => Err(self.host.malformed("an empty chunk")),
            Some(data) => {
                self.pace.moved(data.len());
                Ok(Some(data))
            }
            None => Ok(None),
        }
    }
}

async fn client(
    host: &HostAddress,
    roster: &Roster,
    deadlines: Deadlines,
) -> Result<WeightedHostClient<Channel>, LinkError> {
    let connection = host.connect(roster, deadlines).await?;
    Ok(WeightedHostClient::new(connection.channel).max_decoding_message_size(MAX_CHUNK_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkFailure;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_host_that_accepts_and_stays_silent_is_given_up_soon() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let host = HostAddress::parse(0, &url).unwrap();
        let deadlines = Deadlines {
            connect: Duration::from_millis(100),
            ..Deadlines::default()
        };
        let begun = std::time::Instant::now();
        let error = manifest(&host, &Roster::new(1), deadlines)
            .await
            .unwrap_err();
        assert_eq!(error.failure, LinkFailure::Timeout);
        assert!(
            error.message.contains("who it is within 0.3 s"),
            "{}",
            error.message
        );
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
}
