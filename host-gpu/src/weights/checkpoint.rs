//! All tensors of a checkpoint directory, wherever they are: one file or several shards.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::LoadError;
use super::config::parse;
use super::rows::Rows;
use super::safetensors::TensorFile;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Longest JSON file of a checkpoint (tokenizers aside), in bytes.
pub(super) const MAX_JSON_BYTES: u64 = 64 << 20;

/// The tensors of a checkpoint, by the names that Hugging Face gives them.
pub struct Checkpoint {
    tensors: HashMap<String, Entry>,
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

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Checkpoint {
    /// Opens all files of a directory and checks their headers; reads no tensor yet.
    pub fn open(dir: &Path, model_type: &str) -> Result<Self, LoadError> {
        let single = dir.join(SINGLE);
        let tensors = if single.is_file() {
            open_single(&single)?
        } else if let Some(index) = read_optional(&dir.join(INDEX), MAX_JSON_BYTES)? {
            open_shards(dir, parse(INDEX, &index)?)?
        } else {
            return Err(no_weights(dir));
        };
        Ok(Self::of(tensors, model_type))
    }

    /// Tensors found by other means.
    pub fn of(tensors: HashMap<String, Entry>, model_type: &str) -> Self {
        Self {
            tensors,
            model_type: model_type.into(),
        }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor, which must have this shape and be stored in a way that is supported.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'_>, LoadError> {
        let missing = || LoadError::MissingTensor {
            tensor: name.into(),
            model_type: self.model_type.clone(),
        };
        let entry = self.tensors.get(name).ok_or_else(missing)?;
        if entry.shape != shape {
            return Err(LoadError::Shape {
                tensor: name.into(),
                expected: shape.into(),
                found: entry.shape.clone(),
            });
        }
        let rows = entry.rows.as_ref().map_err(|found| LoadError::Dtype {
            tensor: name.into(),
            found: found.clone(),
        })?;
        Ok(Tensor {
            name: name.into(),
            shape: &entry.shape,
            rows: rows.as_ref(),
        })
    }
}

type Entries = HashMap<String, Entry>;

fn entry(file: &TensorFile, tensor: &str) -> Option<Entry> {
    let info = file.info(tensor)?;
    let rows = file.floats(info).ok_or_else(|| info.dtype.to_string());
    Some(Entry {
        shape: info.shape.clone(),
        rows: rows.map(|rows| Box::new(rows) as Box<dyn Rows>),
    })
}

fn open_single(path: &Path) -> Result<Entries, LoadError> {
    let file = TensorFile::open(path)?;
    let names = file.tensor_names().into_iter();
    Ok(names
        .filter_map(|name| entry(&file, &name).map(|entry| (name, entry)))
        .collect())
}

fn open_shards(dir: &Path, index: Index) -> Result<Entries, LoadError> {
    let mut files: HashMap<String, TensorFile> = HashMap::new();
    let mut tensors = HashMap::new();
    for (tensor, shard) in index.weight_map {
        if !files.contains_key(&shard) {
            files.insert(shard.clone(), open_shard(dir, &shard)?);
        }
        let entry = entry(&files[&shard], &tensor).ok_or_else(|| LoadError::Header {
            file: files[&shard].name(),
            problem: format!("{INDEX} places tensor {tensor} in it, it is not there"),
        })?;
        tensors.insert(tensor, entry);
    }
    Ok(tensors)
}

/// Opens a shard, which must lie in the checkpoint's own directory.
fn open_shard(dir: &Path, shard: &str) -> Result<TensorFile, LoadError> {
    if shard.is_empty() || shard == ".." || shard.contains(['/', '\\']) {
        return Err(LoadError::Config {
            file: INDEX,
            problem: format!("shard {shard:?} is not the name of a file in the same directory"),
        });
    }
    let path = dir.join(shard);
    if !path.is_file() {
        return Err(LoadError::MissingShard {
            shard: shard.into(),
        });
    }
    TensorFile::open(&path)
}

fn no_weights(dir: &Path) -> LoadError {
    let hint = if dir.join("pytorch_model.bin").exists()
        || dir.join("pytorch_model.bin.index.json").exists()
    {
        "there is a pytorch_model.bin: convert it with transformers, save_pretrained(safe_serialization=True)"
    } else {
        "download the weights of the checkpoint"
    };
    LoadError::NoWeights {
        dir: dir.into(),
        hint,
    }
}

/// A file's bytes, or none if there is no such file.
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
