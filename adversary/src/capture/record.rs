//! A capture, read back. Its files may be cut, mixed up or of another model; all of that is found here, before an
//! attack draws conclusions from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use talaria_arithmetic::PRIMES;
use talaria_arithmetic::keystream::{SEED_BYTES, expand_rows};
use talaria_arithmetic::module_lwe::Parameters;
use talaria_arithmetic::residue::RESIDUE_BYTES;
use talaria_host_cvm::Masking;
use talaria_host_gpu::backend::Planes;
use talaria_host_gpu::record::{Entry, Reader};
use talaria_host_gpu::scheduler::rows::ClaimBody;
use talaria_wire::digest::ModelDigest;
use talaria_wire::manifest::Manifest;

use super::files::{Facts, Label, Labels};
use crate::error::AdversaryError;

/// A capture whose parts belong together.
pub struct Capture {
    /// The scheme.
    pub masking: Masking,
    /// What anyone knows.
    pub facts: Facts,
    /// One for each host.
    pub hosts: Vec<HostRecord>,
    /// The truth, to score with.
    pub labels: Labels,
}

/// What one host saw.
pub struct HostRecord {
    /// Rows of set-up that came as residues, by projection: public rows.
    pub public_rows: BTreeMap<usize, Vec<Vec<u32>>>,
    /// Rows since set-up by projection, in order of arrival; each k residues modulo P1, then k modulo P2.
    pub rows: BTreeMap<usize, Arc<Vec<Vec<u32>>>>,
    /// Requests since set-up.
    pub sends: Vec<Send>,
}

/// A request of the CVM without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// When it came, in microseconds since the record began.
    pub micros: u64,
    /// Index in the manifest.
    pub projection: usize,
    /// Rows.
    pub rows: usize,
}

/// The projection that is the embedding: the first of every structure.
pub const EMBEDDING: usize = 0;

/// Which projections' rows are kept in memory.
pub(super) type Wanted<'w> = &'w dyn Fn(usize) -> bool;

impl Capture {
    /// Reads a capture of the model with this digest.
    ///
    /// # Errors
    /// What is missing, cut short, of another model, or contradicts itself, and what to do.
    pub fn read(
        dir: &Path,
        digest: ModelDigest,
        wanted: Wanted<'_>,
    ) -> Result<Self, AdversaryError> {
        let facts = Facts::read(dir)?;
        let masking: Masking = facts.masking.parse().map_err(|error| {
            AdversaryError::malformed(&dir.join("capture.json"), format!("{error}; capture again"))
        })?;
        if facts.model_digest != hex::encode(digest.0) {
            return Err(other_model(dir, &facts.model_digest, digest));
        }
        if facts.setup_sends.len() != masking.hosts() {
            return Err(AdversaryError::Mismatch(format!(
                "{}: {masking} has {} hosts, capture.json counts {}: captures were mixed, capture again",
                dir.display(),
                masking.hosts(),
                facts.setup_sends.len()
            )));
        }
        let labels = Labels::read(dir)?;
        let mut hosts = Vec::new();
        for (host, setup) in facts.setup_sends.iter().enumerate() {
            let path = the_record(&dir.join(format!("host{}", host + 1)))?;
            let scene = Expected {
                masking,
                host,
                setup: *setup,
                digest,
            };
            hosts.push(HostRecord::read(&path, &scene, wanted)?);
        }
        let capture = Self {
            masking,
            facts,
            hosts,
            labels,
        };
        capture.check(dir)?;
        Ok(capture)
    }

    /// Rows of each request, from where its prompt was handed over to the next.
    pub fn rows_of_requests(&self) -> Vec<usize> {
        let sends = &self.hosts[0].sends;
        let ends = self
            .facts
            .begins
            .iter()
            .skip(1)
            .map(|b| *b as usize)
            .chain([sends.len()]);
        let ranges = self.facts.begins.iter().map(|b| *b as usize).zip(ends);
        ranges
            .map(|(begin, end)| {
                let embedded = sends[begin..end]
                    .iter()
                    .filter(|send| send.projection == EMBEDDING);
                embedded.map(|send| send.rows).sum()
            })
            .collect()
    }

    /// Parameter set and seed of A, under module-lwe.
    pub fn module_lwe(&self) -> Option<(&'static Parameters, [u8; SEED_BYTES])> {
        let (parameters, hex_seed) = self.facts.module_lwe.as_ref()?;
        let mut seed = [0; SEED_BYTES];
        hex::decode_to_slice(hex_seed, &mut seed).ok()?;
        Some((Parameters::find(parameters)?, seed))
    }

    /// Parts against each other.
    fn check(&self, dir: &Path) -> Result<(), AdversaryError> {
        let wrong = |what: String| {
            let message = format!(
                "{}: {what}: parts of captures were mixed, capture again",
                dir.display()
            );
            Err(AdversaryError::Mismatch(message))
        };
        let shape = |record: &HostRecord| -> Vec<(usize, usize)> {
            record
                .sends
                .iter()
                .map(|s| (s.projection, s.rows))
                .collect()
        };
        let first = shape(&self.hosts[0]);
        for (i, host) in self.hosts.iter().enumerate().skip(1) {
            if shape(host) != first {
                return wrong(format!(
                    "hosts 1 and {} were asked for different products",
                    i + 1
                ));
            }
        }
        if (self.masking == Masking::ModuleLwe) != self.module_lwe().is_some() {
            return wrong("capture.json and its parameters of module-lwe disagree".into());
        }
        let begins = &self.facts.begins;
        let ascending = begins.is_sorted() && begins.iter().all(|b| *b <= first.len() as u64);
        if !ascending || begins.first() != Some(&0) {
            return wrong("requests do not begin where capture.json says".into());
        }
        let requests = &self.labels.requests;
        if requests.len() != begins.len() {
            return wrong(format!(
                "{} requests, {} labels",
                begins.len(),
                requests.len()
            ));
        }
        for (i, (rows, label)) in self
            .rows_of_requests()
            .into_iter()
            .zip(requests)
            .enumerate()
        {
            if rows != label.rows() || rows == 0 {
                return wrong(format!(
                    "request {i} has {rows} rows, its label {}",
                    label.rows()
                ));
            }
        }
        Ok(())
    }
}

impl Label {
    /// Tokens that went through the embedding: all but the last of the reply.
    pub fn rows(&self) -> usize {
        (self.prompt_ids.len() + self.token_ids.len()).saturating_sub(1)
    }
}

/// What a record should be.
struct Expected {
    masking: Masking,
    host: usize,
    setup: u64,
    digest: ModelDigest,
}

impl Expected {
    /// Whether an entry after set-up is what this host gets under this masking.
    fn allows(&self, entry: &Entry) -> bool {
        let planes = Planes::apart_if(self.masking == Masking::ModuleLwe);
        let seeds = self.masking == Masking::Shares && self.host == 1;
        entry.seen.planes == planes && matches!(entry.seen.body, ClaimBody::Seed(_)) == seeds
    }
}

impl HostRecord {
    fn read(path: &Path, expected: &Expected, wanted: Wanted<'_>) -> Result<Self, AdversaryError> {
        let broken = |source| AdversaryError::Record {
            path: path.to_owned(),
            source,
        };
        let reader = Reader::open(path).map_err(broken)?;
        if reader.digest() != expected.digest {
            let found = hex::encode(reader.digest().0);
            return Err(other_model(path, &found, expected.digest));
        }
        let widths = widths(reader.manifest());
        let mut record = Self {
            public_rows: BTreeMap::new(),
            rows: BTreeMap::new(),
            sends: Vec::new(),
        };
        let mut seen = 0;
        for entry in reader {
            let entry = entry.map_err(broken)?;
            seen += 1;
            if entry.index < expected.setup {
                if expected.masking == Masking::Remo {
                    record.set_up(path, &entry, &widths)?;
                }
                continue;
            }
            if !expected.allows(&entry) {
                return Err(AdversaryError::Mismatch(format!(
                    "{}: request {} is not what host {} gets under {}: the record is of another capture, capture again",
                    path.display(),
                    entry.index,
                    expected.host + 1,
                    expected.masking
                )));
            }
            record.see(path, &entry, &widths, wanted)?;
        }
        if seen < expected.setup {
            let message = format!(
                "{seen} requests, fewer than the {} of set-up: the record is cut short or of another capture, capture again",
                expected.setup
            );
            return Err(AdversaryError::malformed(path, message));
        }
        Ok(record)
    }

    fn set_up(
        &mut self,
        path: &Path,
        entry: &Entry,
        widths: &[usize],
    ) -> Result<(), AdversaryError> {
        if let ClaimBody::Residues(_) = entry.seen.body {
            let projection = entry.seen.projection as usize;
            let rows = rows(path, entry, widths[projection])?;
            self.public_rows.entry(projection).or_default().extend(rows);
        }
        Ok(())
    }

    fn see(
        &mut self,
        path: &Path,
        entry: &Entry,
        widths: &[usize],
        wanted: Wanted<'_>,
    ) -> Result<(), AdversaryError> {
        let projection = entry.seen.projection as usize;
        self.sends.push(Send {
            micros: entry.micros,
            projection,
            rows: entry.seen.rows as usize,
        });
        if wanted(projection) {
            let rows = rows(path, entry, widths[projection])?;
            // Nobody else holds them yet.
            Arc::make_mut(self.rows.entry(projection).or_default()).extend(rows);
        }
        Ok(())
    }
}

fn widths(manifest: &Manifest) -> Vec<usize> {
    manifest.projections.iter().map(|p| p.k as usize).collect()
}

/// Rows of an entry, whose lengths the reader has checked; seeds expanded.
fn rows(path: &Path, entry: &Entry, k: usize) -> Result<Vec<Vec<u32>>, AdversaryError> {
    let words: Vec<u32> = match &entry.seen.body {
        ClaimBody::Seed(seed) => expand_rows(seed, entry.seen.rows as usize, k),
        ClaimBody::Residues(bytes) => {
            let (words, _) = bytes.as_chunks::<RESIDUE_BYTES>();
            words.iter().map(|word| u32::from_le_bytes(*word)).collect()
        }
    };
    let halves = words.chunks_exact(k).zip(PRIMES.into_iter().cycle());
    for (half, p) in halves {
        if half.iter().any(|r| *r >= p) {
            let message = format!("request {} holds no residues: capture again", entry.index);
            return Err(AdversaryError::malformed(path, message));
        }
    }
    Ok(words.chunks_exact(2 * k).map(<[u32]>::to_vec).collect())
}

/// The one record in a directory.
fn the_record(dir: &Path) -> Result<PathBuf, AdversaryError> {
    let entries = std::fs::read_dir(dir).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            AdversaryError::malformed(dir, "is missing: the capture lost a host, capture again")
        }
        _ => AdversaryError::file(dir)(error),
    })?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(AdversaryError::file(dir))?.path();
        if path.extension().is_some_and(|e| e == "record") {
            found.push(path);
        }
    }
    match <[PathBuf; 1]>::try_from(found) {
        Ok([path]) => Ok(path),
        Err(found) => {
            let message = format!("holds {} records, expected one: capture again", found.len());
            Err(AdversaryError::malformed(dir, message))
        }
    }
}

fn other_model(path: &Path, found: &str, expected: ModelDigest) -> AdversaryError {
    AdversaryError::Mismatch(format!(
        "{}: captured with the model {found}, --model has {}: give the checkpoint that was captured",
        path.display(),
        hex::encode(expected.0)
    ))
}
