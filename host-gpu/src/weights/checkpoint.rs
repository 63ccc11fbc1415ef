//! All tensors of a checkpoint directory, wherever they are: one file or several shards.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use ::safetensors::tensor::TensorInfo;
use serde::Deserialize;

use super::LoadError;
use super::config::parse;
use super::safetensors::{Float, TensorFile};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Longest JSON file of a checkpoint (tokenizers aside), in bytes.
pub(super) const MAX_JSON_BYTES: u64 = 64 << 20;

/// The tensors of a checkpoint.
pub struct Checkpoint {
    files: Vec<TensorFile>,
    /// Index into `files`.
    tensors: HashMap<String, usize>,
    /// For messages.
    model_type: String,
}

/// A tensor with the shape it should have.
#[derive(Clone)]
pub struct Tensor<'a> {
    file: &'a TensorFile,
    info: &'a TensorInfo,
    name: String,
    float: Float,
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Checkpoint {
    /// Opens all files and checks their headers; reads no tensor yet.
    pub fn open(dir: &Path, model_type: &str) -> Result<Self, LoadError> {
        let single = dir.join(SINGLE);
        let (files, tensors) = if single.is_file() {
            open_single(&single)?
        } else if let Some(index) = read_optional(&dir.join(INDEX), MAX_JSON_BYTES)? {
            open_shards(dir, parse(INDEX, &index)?)?
        } else {
            return Err(no_weights(dir));
        };
        Ok(Self {
            files,
            tensors,
            model_type: model_type.into(),
        })
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor, which must have this shape and be stored as a plain float.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'_>, LoadError> {
        let file = self.tensors.get(name).and_then(|i| self.files.get(*i));
        let (file, info) = file
            .and_then(|file| Some((file, file.info(name)?)))
            .ok_or_else(|| LoadError::MissingTensor {
                tensor: name.into(),
                model_type: self.model_type.clone(),
            })?;
        if info.shape != shape {
            return Err(LoadError::Shape {
                tensor: name.into(),
                expected: shape.into(),
                found: info.shape.clone(),
            });
        }
        let float = Float::of(info.dtype).ok_or_else(|| LoadError::Dtype {
            tensor: name.into(),
            found: info.dtype.to_string(),
        })?;
        Ok(Tensor {
            file,
            info,
            name: name.into(),
            float,
        })
    }
}

type Opened = (Vec<TensorFile>, HashMap<String, usize>);

fn open_single(path: &Path) -> Result<Opened, LoadError> {
    let file = TensorFile::open(path)?;
    let tensors = file.tensor_names().into_iter().map(|name| (name, 0));
    let tensors = tensors.collect();
    Ok((vec![file], tensors))
}

fn open_shards(dir: &Path, index: Index) -> Result<Opened, LoadError> {
    let mut files: Vec<TensorFile> = Vec::new();
    let mut by_name = HashMap::new();
    let mut tensors = HashMap::new();
    for (tensor, shard) in index.weight_map {
        let file = match by_name.get(&shard) {
            Some(file) => *file,
            None => {
                files.push(open_shard(dir, &shard)?);
                by_name.insert(shard, files.len() - 1);
                files.len() - 1
            }
        };
        if files[file].info(&tensor).is_none() {
            return Err(LoadError::Header {
                file: files[file].name().into(),
                problem: format!("{INDEX} places tensor {tensor} in it, it is not there"),
            });
        }
        tensors.insert(tensor, file);
    }
    Ok((files, tensors))
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

    /// Type of its elements.
    pub fn float(&self) -> Float {
        self.float
    }

    /// Length of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.info.shape
    }

    /// Elements `first..first + count`, row-major, as stored.
    pub fn read_raw(
        &self,
        first: usize,
        count: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<(), LoadError> {
        let bytes = self.float.bytes();
        buffer.resize(count * bytes, 0);
        self.file.read(self.info, (first * bytes) as u64, buffer)
    }

    /// All elements, which must be finite; for gains and biases.
    pub fn read_all(&self) -> Result<Vec<f32>, LoadError> {
        let count = self.info.shape.iter().product();
        let (mut raw, mut values) = (Vec::new(), vec![0.0; count]);
        self.read_raw(0, count, &mut raw)?;
        self.float.decode(&raw, &mut values);
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
