//! Set-up: which model the hosts serve, and the pass of its weights through the payload.

use std::sync::Arc;

use futures_util::future::try_join_all;
use talaria_arithmetic::module_lwe::Parameters;
use talaria_wire::manifest::{Generation, Manifest, WeightFormat};

use super::{CvmConfig, CvmError};
use crate::engine::EngineHandle;
use crate::link::fetch::{self, Weights};
use crate::link::{Deadlines, HostAddress, Roster};
use crate::masks::{MaskMemory, Masking, PublicRowsFrom};
use crate::payload::Payload;
use crate::payload::bindings::exports::talaria::payload::setup;

/// What set-up is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupPhase {
    /// Weights stream through the payload.
    Weights,
    /// Rows of R_pub come from a GPU host or the cache (module-lwe only).
    PublicRows,
}

/// How far a phase of set-up is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetupProgress {
    /// Which phase.
    pub phase: SetupPhase,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Masks that are minted ahead.
#[derive(Clone, Copy, Debug)]
pub struct MaskFacts {
    /// Ring and rank.
    pub parameters: &'static Parameters,
    /// Memory outside the payload.
    pub memory: MaskMemory,
    /// Where R_pub came from.
    pub public_rows: PublicRowsFrom,
}

/// What set-up found.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Of manifest and weights, as the payload computed it from what host 1 sent.
    pub model_digest: [u8; 32],
    /// Bits of a row, by projection.
    pub row_bits: Vec<u32>,
    /// Hosts that every call goes to.
    pub hosts: u32,
    /// The masking with its parameters, as evidence and receipts name it.
    pub masking: String,
    /// What masking and links do not hide, for people; empty if nothing but lengths and timing.
    pub leaks: String,
    /// Most tokens of a prompt and its reply: the model's context, or as many as there is memory for.
    pub context: u32,
    /// SHA-256 of the payload's `.wasm`.
    pub payload_sha256: [u8; 32],
    /// How weights are stored.
    pub weights: WeightFormat,
    /// Family, as in config.json.
    pub model_type: String,
    /// The checkpoint's own defaults for generation.
    pub generation: Generation,
    /// Masks minted ahead, if the masking has any.
    pub masks: Option<MaskFacts>,
}

/// Parses the addresses of the configuration.
pub(crate) fn addresses(config: &CvmConfig) -> Result<Vec<HostAddress>, CvmError> {
    let parse = |(index, url): (usize, &String)| {
        let address = HostAddress::parse(index, url)?;
        Ok(address.shown(config.caller_key.clone()))
    };
    let parsed: Result<_, _> = config.hosts.iter().enumerate().map(parse).collect();
    parsed.map_err(CvmError::Config)
}

/// What the links add to what the masking does not hide, for people; empty: nothing.
pub(crate) fn exposed(masking: Masking, hosts: &[HostAddress]) -> String {
    let plain = hosts.iter().all(HostAddress::is_exposed);
    match masking.plain_links() {
        lost if plain && !lost.is_empty() => format!(
            "links to the GPU hosts are not encrypted: {lost}. Start talaria-gpu with --link-key and give the \
             noise:// addresses that it prints"
        ),
        _ => String::new(),
    }
}

/// The model that all hosts serve, by their manifests.
pub(crate) struct Served {
    first: HostAddress,
    roster: Arc<Roster>,
    deadlines: Deadlines,
    bytes: Vec<u8>,
    pub manifest: Manifest,
}

impl Served {
    /// Asks every host; their manifests must be the same, byte for byte.
    pub(super) async fn fetch(
        hosts: &[HostAddress],
        roster: Arc<Roster>,
        deadlines: Deadlines,
    ) -> Result<Self, CvmError> {
        let fetches = hosts
            .iter()
            .map(|host| fetch::manifest(host, &roster, deadlines));
        let manifests = try_join_all(fetches).await?;
        let mut pairs = hosts.iter().zip(manifests);
        let (first, bytes) = pairs
            .next()
            .ok_or_else(|| CvmError::Config("no hosts".into()))?;
        if let Some((other, _)) = pairs.find(|(_, other)| *other != bytes) {
            return Err(CvmError::HostsDiffer {
                first_url: first.url.to_string(),
                other: other.index + 1,
                other_url: other.url.to_string(),
            });
        }
        let manifest = Manifest::from_bytes(&bytes).map_err(|error| CvmError::Manifest {
            url: first.url.to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            first: first.clone(),
            roster,
            deadlines,
            bytes,
            manifest,
        })
    }
}

/// Streams the weights of the first host through the first engine.
pub(crate) async fn run(
    engine: &EngineHandle,
    served: Served,
    config: &CvmConfig,
    payload: &Payload,
    progress: impl FnMut(SetupProgress),
) -> Result<Summary, CvmError> {
    let options = options(config);
    let bytes = served.bytes;
    engine
        .run(move |instance| instance.begin(&bytes, &options))
        .await?;
    let total = served.manifest.weight_bytes();
    let weights = Weights::open(&served.first, &served.roster, served.deadlines, total).await?;
    ingest(engine, weights, total, progress).await?;
    let found = engine.run(|instance| instance.finish()).await?;
    summary(found, served.manifest, payload)
}

/// One chunk is on its way while the one before is in the payload.
async fn ingest(
    engine: &EngineHandle,
    mut weights: Weights,
    total_bytes: u64,
    mut progress: impl FnMut(SetupProgress),
) -> Result<(), CvmError> {
    let mut done_bytes = 0;
    let mut in_payload = None;
    loop {
        let chunk = weights.next().await?;
        if let Some((bytes, ingested)) = in_payload.take() {
            let ingested: tokio::sync::oneshot::Receiver<_> = ingested;
            ingested.await.unwrap_or(Err(CvmError::Stopped))?;
            done_bytes += bytes;
            progress(SetupProgress {
                phase: SetupPhase::Weights,
                done_bytes,
                total_bytes,
            });
        }
        let Some(chunk) = chunk else { return Ok(()) };
        let bytes = chunk.len() as u64;
        in_payload = Some((
            bytes,
            engine.submit(move |instance| instance.ingest(&chunk)),
        ));
    }
}

fn options(config: &CvmConfig) -> setup::Options {
    setup::Options {
        masking: config.masking.into(),
        remo_rank: config.remo_rank,
        parameters: config.parameters.name.into(),
        public_seed: config.public_seed.to_vec(),
        expected_digest: config.expected_digest.map(Into::into),
        max_batch_rows: config.max_batch_rows,
        kv_memory: config.kv_memory,
        prefix_cache: config.prefix_cache,
    }
}

fn summary(
    found: setup::Summary,
    manifest: Manifest,
    payload: &Payload,
) -> Result<Summary, CvmError> {
    let digest = found.model_digest.try_into();
    Ok(Summary {
        model_digest: digest.map_err(|_| CvmError::Internal("no digest of 32 bytes".into()))?,
        row_bits: found.row_bits,
        hosts: found.hosts,
        masking: found.masking,
        leaks: found.leaks,
        context: found.context,
        payload_sha256: payload.sha256(),
        weights: manifest.weights,
        model_type: manifest.decoder.model_type,
        generation: manifest.generation,
        masks: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_links_of_shares_in_plain_are_warned_of() {
        let encrypted = format!("noise://{}@gpu2:1", "11".repeat(32));
        let warned = |masking, urls: &[&str]| {
            let parse = |(index, url): (usize, &&str)| HostAddress::parse(index, url).unwrap();
            let hosts: Vec<_> = urls.iter().enumerate().map(parse).collect();
            exposed(masking, &hosts).contains("--link-key")
        };
        assert!(warned(Masking::Shares, &["http://gpu1:1", "http://gpu2:1"]));
        assert!(!warned(Masking::Shares, &["http://gpu1:1", &encrypted]));
        assert!(!warned(
            Masking::Shares,
            &["http://gpu1:1", "http://127.0.0.1:1"]
        ));
        assert!(!warned(Masking::ModuleLwe, &["http://gpu1:1"]));
    }
}
