//! Set-up: the weights stream once through the payload, which hashes them, measures them, folds them
//! into secret check vectors, and forgets them.
//!
//! [`Ingest`] is open while bytes come; only its `finish` makes a [`Ready`], and only a `Ready` can
//! decode.

use crate::{
    check::Fold,
    mask::{Chosen, Masking, MaskingError},
    projection::{Measured, Projection},
    world::{World, fresh_seed},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use talaria_arithmetic::exactness::{self, MIN_ROW_BITS};
use talaria_wire::{
    digest::{ModelDigest, ModelHasher},
    manifest::{self, Manifest, ManifestError, Place},
    shape::Planes,
};
use zeroize::{Zeroize, Zeroizing};

pub use crate::mask::Scheme;

/// What the CVM host asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Masking.
    pub scheme: Scheme,
    /// m / k of ReMO.
    pub remo_rank: f32,
    /// Name of module-LWE's parameter set.
    pub parameters: String,
    /// Key of module-LWE's public polynomials.
    pub public_seed: [u8; 32],
    /// Refuse any other model.
    pub expected_digest: Option<[u8; 32]>,
    /// Most rows of one forward pass.
    pub max_batch_rows: u32,
    /// Most bytes of keys and values of all sessions.
    pub kv_memory: u64,
    /// Keep what was computed for replies that are over.
    pub prefix_cache: bool,
}

/// Most bytes of keys and values that an instance accepts: it has 4 GiB for everything.
pub const MAX_KV_MEMORY: u64 = 7 << 29;

/// Most rows of a forward pass that an instance accepts.
pub const MAX_BATCH_ROWS: u32 = 1024;

/// Why set-up refuses.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The host's manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// An option.
    #[error("{0}")]
    Option(String),
    /// More bytes than the manifest announces.
    #[error("the host sent more weights than its manifest announces ({0} bytes)")]
    TooMany(u64),
    /// Fewer bytes.
    #[error("the host sent {found} of {expected} bytes of weights: is it still running?")]
    TooFew {
        /// Bytes announced.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// Not the model that was asked for.
    #[error(
        "the host serves the model {found}, expected {expected}: check --model and --weights, or pin the new digest"
    )]
    Digest {
        /// Digest asked for.
        expected: ModelDigest,
        /// Digest streamed.
        found: ModelDigest,
    },
    /// Rows would have too few bits.
    #[error(
        "{name} is too wide for exact products (largest sum of weight magnitudes in a column is {l1}): rows would have fewer than {MIN_ROW_BITS} bits. Try --weights int8"
    )]
    TooWide {
        /// The matrix.
        name: String,
        /// Largest l1 of a column of a plane.
        l1: u64,
    },
    /// Another instance's set-up does not parse.
    #[error("set-up of another instance does not fit: {0}")]
    Snapshot(String),
    /// The masking cannot be set up: a host failed or has other weights, or it does not fit.
    #[error(transparent)]
    Masking(#[from] MaskingError),
}

/// A pass that is under way.
pub struct Ingest {
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    options: Options,
    masking: Chosen,
    hasher: ModelHasher,
    received: u64,
    /// Position in canonical order.
    at: Position,
    /// The column that is coming, (k,), partly filled.
    column: Vec<u8>,
    fold: Fold,
    done: Vec<Measured>,
    /// A fresh key for the check vectors of each matrix.
    keys: Vec<Zeroizing<[u8; 32]>>,
}

#[derive(Clone, Copy, Default)]
struct Position {
    projection: usize,
    plane: usize,
    column: usize,
}

impl Ingest {
    /// Parses the manifest and begins the first matrix.
    pub fn begin(
        manifest_bytes: Vec<u8>,
        options: Options,
        world: &mut dyn World,
    ) -> Result<Self, SetupError> {
        let masking = options.masking()?;
        let manifest = Manifest::from_bytes(&manifest_bytes)?;
        let keys: Vec<_> = manifest
            .projections
            .iter()
            .map(|_| fresh_seed(world))
            .collect();
        let fold = fold(&masking, &manifest, 0, &keys);
        let first = &manifest.projections[0];
        Ok(Self {
            hasher: ModelHasher::new(&manifest_bytes),
            column: Vec::with_capacity(first.k as usize),
            manifest,
            manifest_bytes,
            options,
            masking,
            received: 0,
            at: Position::default(),
            fold,
            done: Vec::new(),
            keys,
        })
    }

    /// Takes the next bytes in canonical order, in any split.
    pub fn ingest(&mut self, mut bytes: &[u8]) -> Result<(), SetupError> {
        let total = self.manifest.weight_bytes();
        if bytes.len() as u64 > total - self.received {
            return Err(SetupError::TooMany(total));
        }
        self.received += bytes.len() as u64;
        self.hasher.planes(bytes);
        while !bytes.is_empty() {
            let k = self.manifest.projections[self.at.projection].k as usize;
            if self.column.is_empty() && bytes.len() >= k {
                let (column, rest) = bytes.split_at(k);
                self.column_done(column)?;
                bytes = rest;
            } else {
                let (part, rest) = bytes.split_at(bytes.len().min(k - self.column.len()));
                self.column.extend_from_slice(part);
                bytes = rest;
                if self.column.len() == k {
                    let column = core::mem::take(&mut self.column);
                    self.column_done(&column)?;
                }
            }
        }
        Ok(())
    }

    fn column_done(&mut self, column: &[u8]) -> Result<(), SetupError> {
        let planes = self.manifest.weights.planes();
        let n = self.manifest.projections[self.at.projection].n as usize;
        match self.masking.planes() {
            Planes::Apart => {
                let output = self.at.plane * n + self.at.column;
                self.fold.column(output, 1, column);
            }
            Planes::Joined => {
                // W = 256 * hi + lo, or the single plane.
                let factor = if self.at.plane + 1 < planes { 256 } else { 1 };
                self.fold.column(self.at.column, factor, column);
            }
        }
        self.at.column += 1;
        if self.at.column == n {
            (self.at.column, self.at.plane) = (0, self.at.plane + 1);
        }
        if self.at.plane == planes {
            self.matrix_done()?;
        }
        Ok(())
    }

    fn matrix_done(&mut self) -> Result<(), SetupError> {
        let entry = &self.manifest.projections[self.at.projection];
        self.at = Position {
            projection: self.at.projection + 1,
            ..Position::default()
        };
        let next = fold(
            &self.masking,
            &self.manifest,
            self.at.projection,
            &self.keys,
        );
        let (check, l1) = core::mem::replace(&mut self.fold, next).finish();
        let bits = match entry.place {
            // One-hot rows: X is 0 or 1.
            Place::EMBEDDING => Some(2).filter(|_| exactness::one_hot_fits(l1)),
            _ => exactness::row_bits(l1),
        };
        self.done.push(Measured {
            check,
            row_bits: bits.ok_or_else(|| SetupError::TooWide {
                name: entry.place.to_string(),
                l1,
            })?,
            plane_l1: l1,
        });
        Ok(())
    }

    /// Ends the pass and tries every projection on every host.
    pub fn finish(self, world: &mut dyn World) -> Result<Ready, SetupError> {
        let expected = self.manifest.weight_bytes();
        if self.received != expected {
            return Err(SetupError::TooFew {
                expected,
                found: self.received,
            });
        }
        let digest = self.hasher.finish();
        if let Some(expected) = self.options.expected_digest
            && expected != digest.0
        {
            return Err(SetupError::Digest {
                expected: ModelDigest(expected),
                found: digest,
            });
        }
        Ready::new(
            self.manifest,
            self.manifest_bytes,
            self.options,
            self.masking,
            digest,
            self.done,
            world,
        )
    }
}

/// The fold of a matrix, an empty one after the last.
fn fold(
    masking: &Chosen,
    manifest: &Manifest,
    projection: usize,
    keys: &[Zeroizing<[u8; 32]>],
) -> Fold {
    match manifest.projections.get(projection) {
        Some(entry) => {
            let outputs = outputs(masking, manifest, entry);
            Fold::new(&keys[projection], entry.k as usize, outputs)
        }
        None => Fold::new(&[0; 32], 0, 0),
    }
}

/// Outputs of a product of a matrix as it is asked for.
fn outputs(masking: &Chosen, manifest: &Manifest, entry: &manifest::Projection) -> usize {
    entry.shape(manifest.weights).outputs(masking.planes())
}

impl Options {
    /// The masking they name. Refuses what is out of range.
    fn masking(&self) -> Result<Chosen, SetupError> {
        if !(1..=MAX_BATCH_ROWS).contains(&self.max_batch_rows) {
            let rows = self.max_batch_rows;
            return Err(SetupError::Option(format!(
                "max-batch-rows = {rows}, expected 1..={MAX_BATCH_ROWS}"
            )));
        }
        if self.kv_memory > MAX_KV_MEMORY {
            return Err(SetupError::Option(format!(
                "kv-memory is {} MB, an instance of the payload has room for {}",
                self.kv_memory >> 20,
                MAX_KV_MEMORY >> 20
            )));
        }
        Chosen::new(self).map_err(SetupError::Option)
    }
}

/// A model that can be used.
pub struct Ready {
    /// Everything but weights.
    pub manifest: Manifest,
    /// In the manifest's order.
    pub projections: Vec<Projection>,
    /// Where each is in `projections`.
    places: BTreeMap<Place, usize>,
    /// The scheme, set up.
    pub masking: Masking,
    /// Digest of what was streamed.
    pub digest: ModelDigest,
    /// As asked for.
    pub options: Options,
    manifest_bytes: Vec<u8>,
}

/// What another instance needs: goes through the memory of the CVM host, inside the CVM.
#[derive(Serialize, Deserialize)]
struct Snapshot {
    manifest: Vec<u8>,
    options: Options,
    digest: [u8; 32],
    measured: Vec<Measured>,
}

impl Ready {
    fn new(
        manifest: Manifest,
        manifest_bytes: Vec<u8>,
        options: Options,
        masking: Chosen,
        digest: ModelDigest,
        measured: Vec<Measured>,
        world: &mut dyn World,
    ) -> Result<Self, SetupError> {
        let projections: Vec<_> = (0..)
            .zip(&manifest.projections)
            .zip(measured)
            .map(|((index, entry), measured)| Projection::new(index, entry, measured))
            .collect();
        let masking = masking.set_up(&projections, world)?;
        let places = manifest.projections.iter().map(|entry| entry.place);
        Ok(Self {
            places: places.zip(0..).collect(),
            manifest,
            projections,
            masking,
            digest,
            options,
            manifest_bytes,
        })
    }

    /// The projection at a place that the manifest's structure has.
    pub fn projection(&self, place: Place) -> &Projection {
        &self.projections[self.places[&place]]
    }

    /// For [`Ready::restore`].
    pub fn snapshot(&self) -> Vec<u8> {
        let measured = |p: &Projection| Measured {
            check: p.check.clone(),
            row_bits: p.row_bits,
            plane_l1: p.plane_l1,
        };
        let snapshot = Snapshot {
            manifest: self.manifest_bytes.clone(),
            options: self.options.clone(),
            digest: self.digest.0,
            measured: self.projections.iter().map(measured).collect(),
        };
        postcard::to_allocvec(&snapshot).expect("plain data always serialises")
    }

    /// Takes over another instance's pass; the hosts are tried again.
    pub fn restore(mut bytes: Vec<u8>, world: &mut dyn World) -> Result<Self, SetupError> {
        let snapshot = postcard::from_bytes::<Snapshot>(&bytes);
        bytes.zeroize();
        let snapshot = snapshot.map_err(|e| SetupError::Snapshot(e.to_string()))?;
        let manifest = Manifest::from_bytes(&snapshot.manifest)?;
        let masking = snapshot.options.masking()?;
        let fits = |(p, measured): (&manifest::Projection, &Measured)| {
            let outputs = outputs(&masking, &manifest, p);
            measured.check.has_shape(p.k as usize, outputs)
                && (2..=exactness::MAX_ROW_BITS).contains(&measured.row_bits)
                && exactness::one_hot_fits(measured.plane_l1)
        };
        let fit = snapshot.measured.len() == manifest.projections.len()
            && manifest
                .projections
                .iter()
                .zip(&snapshot.measured)
                .all(fits);
        if !fit {
            return Err(SetupError::Snapshot(
                "its check vectors belong to another model".into(),
            ));
        }
        let digest = ModelDigest(snapshot.digest);
        Self::new(
            manifest,
            snapshot.manifest,
            snapshot.options,
            masking,
            digest,
            snapshot.measured,
            world,
        )
    }
}

#[cfg(test)]
mod tests;
