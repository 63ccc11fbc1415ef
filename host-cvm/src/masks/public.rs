//! The public matrices of module-LWE masks, outside the payload: A, expanded from the deployment's seed, and
//! R_pub = A W of every projection, from the GPU host or a cache, each row checked by the payload.
//!
//! Public, but not to be trusted: a wrong row would make wrong masks. The payload's check vectors, secret and
//! drawn anew at every start, decide about rows of a host and of the cache alike; so a cache needs no key
//! and no signature.

mod cache;

use std::path::Path;
use std::sync::Arc;

use talaria_arithmetic::keystream;
use talaria_arithmetic::module_lwe::{Parameters, PublicPolynomials};
use talaria_arithmetic::residue::RESIDUE_BYTES;
use talaria_wire::shape::MatrixShape;

use super::pool::corrections;
use crate::cvm::{CvmError, SetupPhase, SetupProgress};
use crate::engine::EngineHandle;
use cache::{CacheKey, Reader, Writer};

/// Residues of a call for public rows, up or down.
const CALL_RESIDUES: usize = 4 << 20;
/// Rows of a call for public rows.
const CALL_ROWS: usize = 256;

/// A and R_pub.
pub(crate) struct PublicMatrices {
    parameters: &'static Parameters,
    a: PublicPolynomials,
    r_pub: Vec<PublicPolynomials>,
}

/// What public matrices are made of.
#[derive(Clone)]
pub(crate) struct Source {
    pub parameters: &'static Parameters,
    pub seed: [u8; 32],
    pub shapes: Arc<[MatrixShape]>,
    pub model_digest: [u8; 32],
}

/// Where R_pub came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicRowsFrom {
    /// The GPU host computed them.
    Host,
    /// They were computed by a GPU host at an earlier start.
    Cache,
}

impl PublicMatrices {
    pub(crate) fn parameters(&self) -> &'static Parameters {
        self.parameters
    }

    /// Of at least as many features as any projection has.
    pub(crate) fn a(&self) -> &PublicPolynomials {
        &self.a
    }

    pub(crate) fn r_pub(&self, projection: usize) -> &PublicPolynomials {
        &self.r_pub[projection]
    }

    /// Expands A and obtains R_pub: from the cache in `dir` if all of it is there and right, else from the host
    /// that `engine` is linked to, and then into the cache.
    pub(crate) async fn obtain(
        engine: &EngineHandle,
        source: Source,
        dir: Option<&Path>,
        progress: &mut (impl FnMut(SetupProgress) + Send),
    ) -> Result<(Self, PublicRowsFrom), CvmError> {
        let expanding = source.clone();
        let expanded = tokio::task::spawn_blocking(move || expand_a(&expanding)).await;
        let a = expanded.map_err(|_| CvmError::Stopped)??;
        let key = CacheKey::of(&source);
        let matrices = |r_pub| Self {
            parameters: source.parameters,
            a,
            r_pub,
        };
        if let Some(reader) = dir.and_then(|dir| Reader::open(dir, &key)) {
            match from_cache(engine, &source, reader, progress).await? {
                Some(r_pub) => return Ok((matrices(r_pub), PublicRowsFrom::Cache)),
                None => tracing::warn!(
                    "kept rows of R_pub are not those of this model, seed and parameter set, \
                     or were tampered with: refused, and computed anew by the GPU host"
                ),
            }
        }
        let writer = dir.and_then(|dir| Writer::create(dir, &key));
        let r_pub = from_host(engine, &source, writer, progress).await?;
        Ok((matrices(r_pub), PublicRowsFrom::Host))
    }
}

impl Source {
    fn empty_r_pub(&self) -> Vec<PublicPolynomials> {
        let empty =
            |shape: &MatrixShape| PublicPolynomials::new(self.parameters, corrections(*shape));
        self.shapes.iter().map(empty).collect()
    }

    /// Residues of all rows of R_pub.
    fn residues(&self) -> u64 {
        let outputs: usize = self.shapes.iter().copied().map(corrections).sum();
        (2 * outputs * self.parameters.public_rows()) as u64
    }

    /// Every call for rows of R_pub: projection, first row, rows.
    fn calls(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let most = self.parameters.public_rows();
        self.shapes.iter().enumerate().flat_map(move |(i, shape)| {
            let fit = CALL_RESIDUES / (2 * shape.k.max(corrections(*shape)));
            let rows = fit.clamp(1, CALL_ROWS);
            (0..most)
                .step_by(rows)
                .map(move |first| (i, first, rows.min(most - first)))
        })
    }
}

/// A of all features: row i is keystream row i, as in the payload.
fn expand_a(source: &Source) -> Result<PublicPolynomials, CvmError> {
    let widest = source.shapes.iter().map(|shape| shape.k).max();
    let widest = widest.unwrap_or(0);
    let mut a = PublicPolynomials::new(source.parameters, widest);
    let mut residues = vec![0; 2 * widest];
    for row in 0..source.parameters.public_rows() {
        keystream::expand_row(&source.seed, row as u32, &mut residues);
        a.set_row(row, &residues).map_err(wrong_shape)?;
    }
    Ok(a)
}

/// None if any row is refused.
async fn from_cache(
    engine: &EngineHandle,
    source: &Source,
    mut reader: Reader,
    progress: &mut (impl FnMut(SetupProgress) + Send),
) -> Result<Option<Vec<PublicPolynomials>>, CvmError> {
    let mut r_pub = source.empty_r_pub();
    let mut done = Done::of(source);
    for (projection, first, rows) in source.calls() {
        let residues = rows * 2 * corrections(source.shapes[projection]);
        let Some(kept) = reader.next(residues) else {
            return Ok(None);
        };
        let checked = kept.clone();
        let right = engine
            .run(move |instance| instance.check_public_rows(projection, first, &checked))
            .await?;
        if !right {
            return Ok(None);
        }
        put(&mut r_pub[projection], first, &kept)?;
        progress(done.and(residues));
    }
    Ok(Some(r_pub))
}

/// One call is on its way while the rows of the one before are put in place.
async fn from_host(
    engine: &EngineHandle,
    source: &Source,
    mut writer: Option<Writer>,
    progress: &mut (impl FnMut(SetupProgress) + Send),
) -> Result<Vec<PublicPolynomials>, CvmError> {
    let mut r_pub = source.empty_r_pub();
    let mut done = Done::of(source);
    let ask = |(projection, first, rows)| {
        engine.submit(move |instance| instance.fetch_public_rows(projection, first, rows))
    };
    let mut calls = source.calls().peekable();
    let mut asked = calls.peek().map(|call| ask(*call));
    while let (Some((projection, first, _)), Some(answer)) = (calls.next(), asked.take()) {
        let rows = answer.await.unwrap_or(Err(CvmError::Stopped))?;
        asked = calls.peek().map(|call| ask(*call));
        put(&mut r_pub[projection], first, &rows)?;
        writer = writer.and_then(|writer| writer.write(&rows));
        progress(done.and(rows.len()));
    }
    if let Some(writer) = writer {
        writer.finish();
    }
    Ok(r_pub)
}

fn put(r_pub: &mut PublicPolynomials, first: usize, rows: &[u32]) -> Result<(), CvmError> {
    let width = 2 * r_pub.columns();
    for (row, residues) in (first..).zip(rows.chunks_exact(width)) {
        r_pub.set_row(row, residues).map_err(wrong_shape)?;
    }
    Ok(())
}

fn wrong_shape(error: talaria_arithmetic::module_lwe::ShapeError) -> CvmError {
    CvmError::Internal(format!("public rows: {error}"))
}

struct Done {
    residues: u64,
    total: u64,
}

impl Done {
    fn of(source: &Source) -> Self {
        Self {
            residues: 0,
            total: source.residues(),
        }
    }

    fn and(&mut self, residues: usize) -> SetupProgress {
        self.residues += residues as u64;
        SetupProgress {
            phase: SetupPhase::PublicRows,
            done_bytes: self.residues * RESIDUE_BYTES as u64,
            total_bytes: self.total * RESIDUE_BYTES as u64,
        }
    }
}
