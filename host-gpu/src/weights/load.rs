//! A checkpoint onto a device, or into a digest.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use talaria_wire::digest::{ModelDigest, ModelHasher};
use talaria_wire::manifest::{
    self, Generation, LayerExtras, Manifest, Place, Projection, WeightFormat,
};

use super::checkpoint::{Checkpoint, MAX_JSON_BYTES, read_optional};
use super::config::{self, Described};
use super::gguf::Gguf;
use super::layout::{Layout, Matrix};
use super::planes::Budget;
use super::{LoadError, generation, text_files};
use crate::backend::{Backend, BackendError, MatrixShape};

/// A checkpoint on a device.
pub struct Model {
    /// All but the weight matrices.
    pub manifest: Manifest,
    /// Its canonical bytes.
    pub manifest_bytes: Vec<u8>,
    /// The weight matrices; matrix i is projection i of the manifest.
    pub backend: Box<dyn Backend>,
}

/// How far loading is, for a progress bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadProgress {
    /// The matrix in work.
    pub what: String,
    /// Bytes of planes done.
    pub done_bytes: u64,
    /// Bytes of planes in all.
    pub total_bytes: u64,
}

/// Told after every block.
pub type Progress<'p> = dyn FnMut(LoadProgress) + 'p;

/// Bytes of planes read back from the device at a time for [`Model::digest`].
const DIGEST_CHUNK_BYTES: usize = 8 << 20;

impl Model {
    /// Quantises the checkpoint in `path`, a directory or a GGUF file, onto a backend that holds no matrices yet.
    ///
    /// Holds the backend's planes, one block of a tensor and one sixteenth of the planes at most
    /// ([`Budget`]).
    ///
    /// # Errors
    /// [`LoadError`] names the defect and what to do.
    pub fn load(
        path: &Path,
        format: WeightFormat,
        mut backend: Box<dyn Backend>,
        progress: &mut Progress,
    ) -> Result<Self, LoadError> {
        let source = Source::open(path)?;
        let layout = Layout::of(&source.checkpoint, &source.described)?;
        // Room for all of them first: a device that is too small says so at once.
        for (i, matrix) in layout.matrices.iter().enumerate() {
            add_matrix(backend.as_mut(), i, matrix, format)?;
        }
        let mut bar = Bar::new(&layout, format, 1, progress);
        let mut projections = Vec::with_capacity(layout.matrices.len());
        for (i, matrix) in layout.matrices.iter().enumerate() {
            let mut scales = Vec::with_capacity(matrix.n);
            matrix.quantise(format, bar.budget(), &mut |block| {
                for (plane, weights) in block.planes().enumerate() {
                    backend.store(i, plane, block.first, weights)?;
                }
                scales.extend(block.scales.iter().map(|s| s.unit));
                bar.advance(matrix, block.bytes());
                Ok(())
            })?;
            projections.push(projection(matrix, scales));
        }
        let manifest = source.manifest(layout.layers, format, projections)?;
        Ok(Self {
            manifest_bytes: manifest.to_bytes(),
            manifest,
            backend,
        })
    }

    /// The digest over manifest and planes, the latter as the device holds them.
    pub fn digest(&self) -> Result<ModelDigest, BackendError> {
        let mut hasher = ModelHasher::new(&self.manifest_bytes);
        let _never_breaks = self.stream_planes(DIGEST_CHUNK_BYTES, &mut |bytes| {
            hasher.planes(bytes);
            ControlFlow::Continue(())
        })?;
        Ok(hasher.finish())
    }

    /// Gives all planes in canonical order ([`talaria_wire::digest`]), read back from the device, in
    /// pieces of at most `chunk_bytes`, until `send` breaks off.
    pub fn stream_planes(
        &self,
        chunk_bytes: usize,
        send: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, BackendError> {
        let chunk_bytes = chunk_bytes.max(1);
        for (i, projection) in self.manifest.projections.iter().enumerate() {
            let (k, n) = (projection.k as usize, projection.n as usize);
            let per_read = (chunk_bytes / k).max(1);
            for plane in 0..self.manifest.weights.planes() {
                for first in (0..n).step_by(per_read) {
                    let outputs = self
                        .backend
                        .read(i, plane, first, per_read.min(n - first))?;
                    let mut chunks = bytemuck::cast_slice(&outputs).chunks(chunk_bytes);
                    if chunks.try_for_each(&mut *send).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn add_matrix(
    backend: &mut dyn Backend,
    i: usize,
    matrix: &Matrix,
    format: WeightFormat,
) -> Result<(), LoadError> {
    let index = backend.add_matrix(matrix.shape(format))?;
    if index != i {
        let message = format!("a model needs a backend of its own, this one held {index} matrices");
        return Err(BackendError::Device(message).into());
    }
    Ok(())
}

/// The digest of the checkpoint in `path` as [`Model::load`] and [`Model::digest`] give it, without a
/// device: the weights are quantised once for the manifest and once more for each plane, and never held.
pub fn digest_dir(
    path: &Path,
    format: WeightFormat,
    progress: &mut Progress,
) -> Result<ModelDigest, LoadError> {
    let source = Source::open(path)?;
    let layout = Layout::of(&source.checkpoint, &source.described)?;
    let mut bar = Bar::new(&layout, format, 1 + format.planes() as u64, progress);
    let mut projections = Vec::with_capacity(layout.matrices.len());
    for matrix in &layout.matrices {
        let mut scales = Vec::with_capacity(matrix.n);
        matrix.quantise(format, bar.budget(), &mut |block| {
            scales.extend(block.scales.iter().map(|s| s.unit));
            bar.advance(matrix, block.bytes());
            Ok(())
        })?;
        projections.push(projection(matrix, scales));
    }
    let manifest = source.manifest(layout.layers, format, projections)?;
    let mut hasher = ModelHasher::new(&manifest.to_bytes());
    for matrix in &layout.matrices {
        for plane in 0..format.planes() {
            matrix.quantise(format, bar.budget(), &mut |block| {
                hasher.planes(bytemuck::cast_slice(
                    block.planes().nth(plane).unwrap_or(&[]),
                ));
                bar.advance(matrix, block.bytes());
                Ok(())
            })?;
        }
    }
    Ok(hasher.finish())
}

/// A weight matrix as it would be on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Which one it is.
    pub place: Place,
    /// Its shape.
    pub shape: MatrixShape,
    /// Largest sum of weight magnitudes in a column of one plane.
    pub plane_l1: u64,
}

/// Every weight matrix of the checkpoint in `path`, quantised and measured, without a device.
///
/// # Errors
/// As [`Model::load`].
pub fn survey_dir(
    path: &Path,
    format: WeightFormat,
    progress: &mut Progress,
) -> Result<Vec<Surveyed>, LoadError> {
    let source = Source::open(path)?;
    let layout = Layout::of(&source.checkpoint, &source.described)?;
    let mut bar = Bar::new(&layout, format, 1, progress);
    let mut surveyed = Vec::with_capacity(layout.matrices.len());
    for matrix in &layout.matrices {
        let mut plane_l1 = 0;
        matrix.quantise(format, bar.budget(), &mut |block| {
            plane_l1 = plane_l1.max(block.plane_l1(matrix.k));
            bar.advance(matrix, block.bytes());
            Ok(())
        })?;
        surveyed.push(Surveyed {
            place: matrix.place,
            shape: matrix.shape(format),
            plane_l1,
        });
    }
    Ok(surveyed)
}

/// A checkpoint directory or GGUF file, opened and understood; no weight is read yet.
struct Source {
    described: Described,
    checkpoint: Checkpoint,
    generation: Generation,
    text_files: BTreeMap<String, Vec<u8>>,
}

impl Source {
    fn open(path: &Path) -> Result<Self, LoadError> {
        match path.is_file() {
            true => Self::open_gguf(path),
            false => Self::open_dir(path),
        }
    }

    fn open_gguf(file: &Path) -> Result<Self, LoadError> {
        let gguf = Gguf::open(file)?;
        Ok(Self {
            generation: generation::describe(None, &gguf.described.config)?,
            text_files: gguf.text_files,
            checkpoint: gguf.checkpoint,
            described: gguf.described,
        })
    }

    fn open_dir(dir: &Path) -> Result<Self, LoadError> {
        let json = |file: &str| read_optional(&dir.join(file), MAX_JSON_BYTES);
        let no_config = || LoadError::NoConfig { dir: dir.into() };
        let config = json("config.json")?.ok_or_else(no_config)?;
        let described = config::describe(&config)?;
        let generation = json("generation_config.json")?;
        Ok(Self {
            generation: generation::describe(generation.as_deref(), &described.config)?,
            text_files: text_files::read(dir)?,
            checkpoint: Checkpoint::open(
                dir,
                &described.decoder.model_type,
                described.quantisation.as_ref(),
            )?,
            described,
        })
    }

    fn manifest(
        &self,
        layers: Vec<LayerExtras>,
        weights: WeightFormat,
        projections: Vec<Projection>,
    ) -> Result<Manifest, LoadError> {
        let manifest = Manifest {
            format: manifest::FORMAT,
            structure: self.described.structure,
            decoder: self.described.decoder.clone(),
            weights,
            projections,
            layers,
            generation: self.generation.clone(),
            text_files: self.text_files.clone(),
        };
        manifest.validate()?;
        Ok(manifest)
    }
}

fn projection(matrix: &Matrix, scales: Vec<f32>) -> Projection {
    Projection {
        place: matrix.place,
        // From u32 in the decoder's own shapes.
        k: matrix.k as u32,
        n: matrix.n as u32,
        scales,
        bias: matrix.bias.clone(),
    }
}

/// Counts bytes of planes and tells the caller.
struct Bar<'p, 'q> {
    plane_bytes: u64,
    total_bytes: u64,
    done_bytes: u64,
    progress: &'p mut Progress<'q>,
}

impl<'p, 'q> Bar<'p, 'q> {
    fn new(
        layout: &Layout,
        format: WeightFormat,
        passes: u64,
        progress: &'p mut Progress<'q>,
    ) -> Self {
        let elements = layout.matrices.iter().map(|m| m.k as u64 * m.n as u64);
        let plane_bytes = elements.sum::<u64>() * format.planes() as u64;
        Self {
            plane_bytes,
            total_bytes: plane_bytes * passes,
            done_bytes: 0,
            progress,
        }
    }

    fn budget(&self) -> Budget {
        Budget::for_planes(self.plane_bytes)
    }

    fn advance(&mut self, matrix: &Matrix, bytes: u64) {
        self.done_bytes += bytes;
        (self.progress)(LoadProgress {
            what: matrix.place.to_string(),
            done_bytes: self.done_bytes,
            total_bytes: self.total_bytes,
        });
    }
}
