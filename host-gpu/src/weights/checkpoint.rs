//! All tensors of a checkpoint directory, wherever they are: one file or several shards.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::names::Spelling;
use super::quantised::{self, Parts, Scheme};
use super::rows::Rows;
use super::safetensors::{Part, TensorFile};
use super::shards::{self, INDEX, Weights};
use super::{LoadError, lfs};

/// Longest JSON file of a checkpoint (tokenizers aside), in bytes: indices of thousands of tensors take some hundred
/// kilobytes.
pub(super) const MAX_JSON_BYTES: u64 = 16 << 20;

/// More elements than any bias has.
const LONGEST_VECTOR: usize = 1 << 24;

/// The tensors of a checkpoint, by their canonical names ([`super::names`]).
pub struct Checkpoint {
    tensors: HashMap<String, Entry>,
    spelling: Spelling,
    /// What the file calls a tensor, in formats with names of their own.
    spell: Option<fn(&str) -> String>,
    /// For messages.
    model_type: String,
}

/// A tensor of a checkpoint, whatever file format it comes from.
pub struct Entry {
    /// Length of each dimension, as the file has it.
    pub shape: Vec<usize>,
    /// Its elements, or the name of an element type that is not supported.
    pub rows: Result<Box<dyn Rows>, String>,
}

/// A tensor with the shape it should have.
#[derive(Clone)]
pub struct Tensor<'a> {
    name: String,
    shape: &'a [usize],
    rows: &'a dyn Rows,
}

impl Checkpoint {
    /// Opens all files of a directory and checks their headers; reads no weight yet.
    pub fn open(dir: &Path, model_type: &str, scheme: Option<&Scheme>) -> Result<Self, LoadError> {
        let parts = match shards::find(dir)? {
            Weights::Indexed(weight_map) => open_indexed(dir, weight_map)?,
            Weights::Files(names) => open_all(dir, &names)?,
        };
        let spelling = Spelling::of(parts.keys().map(String::as_str));
        let canonical = |(name, part): (String, Part)| Some((spelling.canonical(&name)?, part));
        let parts = parts.into_iter().filter_map(canonical).collect();
        Ok(Self {
            tensors: quantised::join(parts, scheme, spelling)?,
            spelling,
            spell: None,
            model_type: model_type.into(),
        })
    }

    /// Tensors found by other means.
    pub fn of(tensors: HashMap<String, Entry>, model_type: &str) -> Self {
        Self {
            tensors,
            spelling: Spelling::CANONICAL,
            spell: None,
            model_type: model_type.into(),
        }
    }

    /// Messages call a tensor what `spell` makes of its canonical name.
    pub fn spelled(self, spell: fn(&str) -> String) -> Self {
        Self {
            spell: Some(spell),
            ..self
        }
    }

    /// What the file calls a tensor.
    pub fn stored_name(&self, name: &str) -> String {
        match self.spell {
            Some(spell) => spell(name),
            None => self.spelling.stored(name),
        }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape that a tensor has.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.tensors.get(name)?.shape)
    }

    /// Whether a tensor is all zeros and no larger than a bias.
    pub fn is_zero(&self, name: &str) -> bool {
        let Some(shape) =
            (self.shape(name)).filter(|s| s.iter().product::<usize>() <= LONGEST_VECTOR)
        else {
            return false;
        };
        let values = self
            .tensor(name, shape)
            .and_then(|tensor| tensor.read_all());
        values.is_ok_and(|values| values.iter().all(|value| *value == 0.0))
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor, which must have this shape and be stored in a way that is supported.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'_>, LoadError> {
        let stored = self.stored_name(name);
        let Some(entry) = self.tensors.get(name) else {
            return Err(LoadError::MissingTensor {
                tensor: stored,
                model_type: self.model_type.clone(),
            });
        };
        if entry.shape != shape {
            return Err(LoadError::Shape {
                tensor: stored,
                expected: shape.into(),
                found: entry.shape.clone(),
            });
        }
        match &entry.rows {
            Ok(rows) => Ok(Tensor {
                name: stored,
                shape: &entry.shape,
                rows: rows.as_ref(),
            }),
            Err(found) => Err(LoadError::Dtype {
                tensor: stored,
                found: found.clone(),
            }),
        }
    }
}

/// All tensors of all files.
fn open_all(dir: &Path, names: &[String]) -> Result<Parts, LoadError> {
    let mut parts: Parts = HashMap::new();
    for name in names {
        let file = TensorFile::open(&dir.join(name))?;
        for (tensor, part) in file.parts() {
            if let Some(before) = parts.insert(tensor.clone(), part) {
                return Err(LoadError::Header {
                    file: name.clone(),
                    problem: format!("tensor {tensor} is in {} too", before.file_name()),
                });
            }
        }
    }
    Ok(parts)
}

/// Every tensor from the file that the index says.
fn open_indexed(dir: &Path, weight_map: HashMap<String, String>) -> Result<Parts, LoadError> {
    let mut files: HashMap<String, TensorFile> = HashMap::new();
    let mut parts = HashMap::with_capacity(weight_map.len());
    for (tensor, shard) in weight_map {
        if !files.contains_key(&shard) {
            files.insert(shard.clone(), TensorFile::open(&dir.join(&shard))?);
        }
        let part = files[&shard]
            .part(&tensor)
            .ok_or_else(|| LoadError::Header {
                file: shard,
                problem: format!("{INDEX} places tensor {tensor} in it, it is not there"),
            })?;
        parts.insert(tensor, part);
    }
    Ok(parts)
}

/// A file's bytes, or none if there is no such file.
///
/// # Errors
/// It is longer than `limit`, a Git LFS pointer, or cannot be read.
pub(super) fn read_optional(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, LoadError> {
    let file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(LoadError::io(path))?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(LoadError::io(path))?;
    if bytes.len() as u64 > limit {
        let longer = std::io::Error::other(format!("longer than {limit} bytes"));
        return Err(LoadError::io(path)(longer));
    }
    let name = path.file_name().unwrap_or_default();
    lfs::refuse_pointer(&name.to_string_lossy(), &bytes)?;
    Ok(Some(bytes))
}

impl Tensor<'_> {
    /// Name in the checkpoint.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length of each dimension.
    pub fn shape(&self) -> &[usize] {
        self.shape
    }

    /// Elements of a row: the last dimension.
    pub fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// How it is stored.
    pub fn rows(&self) -> &dyn Rows {
        self.rows
    }

    /// How many rows make a block of `block_bytes` as stored; two bytes an element at least, so that what
    /// they decode to stays bounded where elements take a few bits.
    pub(super) fn rows_per_block(&self, block_bytes: usize) -> usize {
        let row_bytes = self.rows.row_bytes().max(2 * self.width());
        (block_bytes / row_bytes).max(1)
    }

    /// Reads `count` rows as stored, from row `first` on.
    pub(super) fn read(
        &self,
        first: usize,
        count: usize,
        raw: &mut Vec<u8>,
    ) -> Result<(), LoadError> {
        raw.resize(count * self.rows.row_bytes(), 0);
        self.rows.read(first, raw)
    }

    /// All elements, which must be finite; for gains and biases.
    pub fn read_all(&self) -> Result<Vec<f32>, LoadError> {
        let (count, width) = (self.shape.iter().product::<usize>(), self.width());
        let mut values = vec![0.0; count];
        let mut raw = Vec::new();
        self.read(0, count / width.max(1), &mut raw)?;
        let rows = raw.chunks(self.rows.row_bytes().max(1));
        for (row, (raw, values)) in rows.zip(values.chunks_mut(width.max(1))).enumerate() {
            self.rows.decode(row, raw, values);
        }
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(self.not_finite(at, values[at], "")),
            None => Ok(values),
        }
    }

    /// The error for an element that is not finite.
    pub(super) fn not_finite(&self, element: usize, value: f32, folded: &'static str) -> LoadError {
        let mut rest = element;
        let mut index: Vec<usize> = (self.shape().iter().rev())
            .map(|length| {
                let at = rest % length;
                rest /= length;
                at
            })
            .collect();
        index.reverse();
        LoadError::NotFinite {
            tensor: self.name.clone(),
            index,
            value,
            folded,
        }
    }
}
