//! Reads a record back, trusting none of its bytes.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use talaria_arithmetic::keystream::SEED_BYTES;
use talaria_wire::digest::ModelDigest;
use talaria_wire::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError};

use super::{
    ENTRY_BYTES, FORMAT, KIND_RESIDUES, KIND_SEED, MAGIC, PLANES_APART, PLANES_JOINED, Seen,
};
use crate::backend::{MatrixShape, Planes};
use crate::scheduler::rows::ClaimBody;

/// Why a file is no record, or where it ends being one.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be read.
    #[error("the record cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Some other file.
    #[error("not a record of a GPU host: it begins with {0:02x?}")]
    Magic([u8; 8]),
    /// Written by another release.
    #[error("record format {0}, expected {FORMAT}: read it with the release that wrote it")]
    Format(u32),
    /// The manifest would be longer than any.
    #[error("manifest of {0} bytes, expected at most {MAX_MANIFEST_BYTES}")]
    ManifestLength(u64),
    /// The manifest is none.
    #[error("the record's manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// The file ends inside a part; what came before is whole.
    #[error("the record ends inside its {part}, at byte {offset}: the run was cut short")]
    Truncated {
        /// Part of the file.
        part: String,
        /// Where that part begins.
        offset: u64,
    },
    /// An entry contradicts the manifest or the entry before it.
    #[error("entry {index} at byte {offset}: {message}")]
    Entry {
        /// Number of the entry, from 0.
        index: u64,
        /// Where it begins.
        offset: u64,
        /// What is wrong.
        message: String,
    },
}

/// One request of a record.
#[derive(Clone, Debug)]
pub struct Entry {
    /// 0, 1, 2, ... in the order in which requests came.
    pub index: u64,
    /// Microseconds since the start of the record.
    pub micros: u64,
    /// The request.
    pub seen: Seen,
}

/// A record, entry by entry: an iterator that ends after the first error.
pub struct Reader<R = BufReader<File>> {
    source: R,
    offset: u64,
    next: u64,
    failed: bool,
    digest: ModelDigest,
    manifest: Manifest,
    shapes: Vec<MatrixShape>,
}

impl Reader {
    /// Opens a record and reads its header.
    ///
    /// # Errors
    /// Where the file cannot be read or begins otherwise.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        Reader::new(BufReader::with_capacity(1 << 20, File::open(path)?))
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header of a record.
    ///
    /// # Errors
    /// Where the source cannot be read or begins otherwise.
    pub fn new(mut source: R) -> Result<Self, RecordError> {
        let mut offset = 0;
        let magic: [u8; 8] = array(&mut source, &mut offset)?;
        if magic != MAGIC {
            return Err(RecordError::Magic(magic));
        }
        let format = u32::from_le_bytes(array(&mut source, &mut offset)?);
        if format != FORMAT {
            return Err(RecordError::Format(format));
        }
        let digest = ModelDigest(array(&mut source, &mut offset)?);
        let length = u64::from_le_bytes(array(&mut source, &mut offset)?);
        if length > MAX_MANIFEST_BYTES as u64 {
            return Err(RecordError::ManifestLength(length));
        }
        let manifest = exactly(&mut source, &mut offset, length, || "manifest".into())?;
        let manifest = Manifest::from_bytes(&manifest)?;
        Ok(Self {
            source,
            offset,
            next: 0,
            failed: false,
            digest,
            shapes: MatrixShape::of_manifest(&manifest),
            manifest,
        })
    }

    /// Digest of the model that the host served.
    pub fn digest(&self) -> ModelDigest {
        self.digest
    }

    /// Manifest of the model that the host served.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn entry(&mut self) -> Result<Option<Entry>, RecordError> {
        let begin = self.offset;
        let Some(head) = self.head()? else {
            return Ok(None);
        };
        let part = || format!("entry {}", self.next);
        let body =
            exactly(&mut self.source, &mut self.offset, head.length, part).map_err(|error| {
                match error {
                    RecordError::Truncated { part, .. } => RecordError::Truncated {
                        part,
                        offset: begin,
                    },
                    other => other,
                }
            })?;
        self.next += 1;
        Ok(Some(head.with(body)))
    }

    /// The fixed part of the next entry, checked; none at the end of the file.
    fn head(&mut self) -> Result<Option<Head>, RecordError> {
        let mut bytes = Vec::with_capacity(ENTRY_BYTES);
        let limit = ENTRY_BYTES as u64;
        self.source.by_ref().take(limit).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let head = Head::parse(&bytes).ok_or_else(|| RecordError::Truncated {
            part: format!("entry {}", self.next),
            offset: self.offset,
        })?;
        head.check(self.next, &self.shapes)
            .map_err(|message| RecordError::Entry {
                index: self.next,
                offset: self.offset,
                message,
            })?;
        self.offset += ENTRY_BYTES as u64;
        Ok(Some(head))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Entry, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = self.entry().transpose();
        self.failed = matches!(entry, None | Some(Err(_)));
        entry
    }
}

/// An entry before its body.
struct Head {
    index: u64,
    stream: u64,
    micros: u64,
    projection: u32,
    rows: u32,
    planes: u32,
    kind: u32,
    length: u64,
}

impl Head {
    fn parse(mut bytes: &[u8]) -> Option<Self> {
        fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
            let (head, rest) = bytes.split_first_chunk::<N>()?;
            *bytes = rest;
            Some(*head)
        }
        Some(Self {
            index: u64::from_le_bytes(take(&mut bytes)?),
            stream: u64::from_le_bytes(take(&mut bytes)?),
            micros: u64::from_le_bytes(take(&mut bytes)?),
            projection: u32::from_le_bytes(take(&mut bytes)?),
            rows: u32::from_le_bytes(take(&mut bytes)?),
            planes: u32::from_le_bytes(take(&mut bytes)?),
            kind: u32::from_le_bytes(take(&mut bytes)?),
            length: u64::from_le_bytes(take(&mut bytes)?),
        })
    }

    fn check(&self, next: u64, shapes: &[MatrixShape]) -> Result<(), String> {
        if self.index != next {
            return Err(format!("index {}, expected {next}", self.index));
        }
        let shape = shapes
            .get(self.projection as usize)
            .ok_or_else(|| format!("projection {} of {}", self.projection, shapes.len()))?;
        if self.rows == 0 {
            return Err("no rows".into());
        }
        if ![PLANES_JOINED, PLANES_APART].contains(&self.planes) {
            return Err(format!("planes {}", self.planes));
        }
        let expected = match self.kind {
            KIND_RESIDUES => u64::from(self.rows) * shape.input_bytes(1) as u64,
            KIND_SEED => SEED_BYTES as u64,
            other => return Err(format!("kind {other}")),
        };
        if self.length == expected {
            Ok(())
        } else {
            Err(format!("{} bytes, expected {expected}", self.length))
        }
    }

    /// The entry with its body, after [`Head::check`].
    fn with(&self, body: Vec<u8>) -> Entry {
        let body = match <[u8; SEED_BYTES]>::try_from(&body[..]) {
            Ok(seed) if self.kind == KIND_SEED => ClaimBody::Seed(seed),
            _ => ClaimBody::Residues(Bytes::from(body)),
        };
        Entry {
            index: self.index,
            micros: self.micros,
            seen: Seen {
                stream: self.stream,
                projection: self.projection,
                rows: self.rows,
                planes: match self.planes {
                    PLANES_APART => Planes::Apart,
                    _ => Planes::Joined,
                },
                body,
            },
        }
    }
}

fn array<const N: usize>(source: &mut impl Read, offset: &mut u64) -> Result<[u8; N], RecordError> {
    let begin = *offset;
    let mut bytes = [0; N];
    source
        .read_exact(&mut bytes)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => RecordError::Truncated {
                part: "header".into(),
                offset: begin,
            },
            _ => RecordError::Io(error),
        })?;
    *offset += N as u64;
    Ok(bytes)
}

/// The next `length` bytes. Memory grows with what is really there, not with what is announced.
fn exactly(
    source: &mut impl Read,
    offset: &mut u64,
    length: u64,
    part: impl Fn() -> String,
) -> Result<Vec<u8>, RecordError> {
    let mut bytes = Vec::new();
    source.by_ref().take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(RecordError::Truncated {
            part: part(),
            offset: *offset,
        });
    }
    *offset += length;
    Ok(bytes)
}
