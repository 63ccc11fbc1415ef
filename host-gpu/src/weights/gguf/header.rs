//! The header of a GGUF file: metadata and where each tensor is.
//!
//! ```text
//! "GGUF", u32 version, u64 tensors, u64 pairs
//! pairs:   string key, u32 type, value
//! tensors: string name, u32 dimensions, u64 each (fastest first), u32 type, u64 offset
//! padding to general.alignment, then data; offsets count from here
//! string: u64 length, bytes; array: u32 type, u64 count, elements
//! ```

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::super::LoadError;
use super::super::rows::DataFile;
use super::tensors::GgmlType;

/// Longest header read, in bytes: vocabularies of 260 thousand tokens with their merges take some 20 MiB.
const MAX_HEADER_BYTES: u64 = 96 << 20;
/// Bytes read at a time.
const CHUNK_BYTES: u64 = 1 << 20;
/// Alignment where the file does not say.
const DEFAULT_ALIGNMENT: u64 = 32;
/// Largest alignment accepted.
const MAX_ALIGNMENT: u64 = 1 << 20;
/// Dimensions of a tensor at most, by ggml.
const MAX_DIMENSIONS: u32 = 4;

/// A file whose header agrees with its length.
pub struct Header {
    /// The file, for reading tensors.
    pub file: Arc<DataFile>,
    /// Its metadata.
    pub metadata: HashMap<String, Value>,
    /// By name.
    pub tensors: HashMap<String, TensorInfo>,
}

/// Where a tensor is; it lies inside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Slowest dimension first, as Hugging Face has it; none is 0.
    pub shape: Vec<usize>,
    /// How elements are stored.
    pub kind: GgmlType,
    /// Of the first byte, in the file.
    pub start: u64,
    /// Bytes of a row, that is of the last dimension.
    pub row_bytes: usize,
}

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any integer type.
    Integer(i128),
    /// f32 or f64.
    Float(f64),
    /// One byte.
    Bool(bool),
    /// Should be UTF-8.
    Text(Vec<u8>),
    /// Should be UTF-8, each.
    Texts(Vec<Vec<u8>>),
    /// Elements of one scalar type, as stored.
    Array(Scalar, Vec<u8>),
}

/// Scalar types of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names say all")]
pub enum Scalar {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;

impl Scalar {
    fn of(kind: u32) -> Option<Self> {
        Some(match kind {
            0 => Scalar::U8,
            1 => Scalar::I8,
            2 => Scalar::U16,
            3 => Scalar::I16,
            4 => Scalar::U32,
            5 => Scalar::I32,
            6 => Scalar::F32,
            7 => Scalar::Bool,
            10 => Scalar::U64,
            11 => Scalar::I64,
            12 => Scalar::F64,
            _ => return None,
        })
    }

    const fn bytes(self) -> usize {
        match self {
            Scalar::U8 | Scalar::I8 | Scalar::Bool => 1,
            Scalar::U16 | Scalar::I16 => 2,
            Scalar::U32 | Scalar::I32 | Scalar::F32 => 4,
            Scalar::U64 | Scalar::I64 | Scalar::F64 => 8,
        }
    }

    /// The value of exactly [`Scalar::bytes`] little-endian bytes.
    fn value(self, bytes: &[u8]) -> Value {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(eight);
        match self {
            Scalar::U8 | Scalar::U16 | Scalar::U32 | Scalar::U64 => Value::Integer(unsigned.into()),
            Scalar::I8 => Value::Integer((unsigned as i8).into()),
            Scalar::I16 => Value::Integer((unsigned as i16).into()),
            Scalar::I32 => Value::Integer((unsigned as i32).into()),
            Scalar::I64 => Value::Integer((unsigned as i64).into()),
            Scalar::F32 => Value::Float(f32::from_bits(unsigned as u32).into()),
            Scalar::F64 => Value::Float(f64::from_bits(unsigned)),
            Scalar::Bool => Value::Bool(unsigned != 0),
        }
    }
}

impl Value {
    /// Elements of an array of scalars, or the scalar itself.
    pub fn scalars(&self) -> impl Iterator<Item = Value> {
        let (kind, bytes) = match self {
            Value::Array(kind, bytes) => (*kind, bytes.as_slice()),
            _ => (Scalar::U8, [].as_slice()),
        };
        let single = match self {
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) => Some(self.clone()),
            _ => None,
        };
        let elements = bytes.chunks_exact(kind.bytes()).map(move |b| kind.value(b));
        single.into_iter().chain(elements)
    }
}

impl Header {
    /// Opens a file and reads all but its data.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let file = DataFile::open(path)?;
        let mut reader = Reader::new(&file);
        let (tensors, pairs) = reader.counts()?;
        let metadata = reader.metadata(pairs)?;
        let described = reader.tensors(tensors)?;
        let position = reader.position();
        let name = file.name();
        let mut header = Self {
            file: Arc::new(file),
            metadata,
            tensors: HashMap::new(),
        };
        header.refuse_parts()?;
        let alignment = header.alignment()?;
        let data_start = position.next_multiple_of(alignment);
        for (tensor, described) in described {
            let info = described
                .place(data_start, alignment)
                .map_err(|problem| header.invalid(format!("tensor {tensor} {problem}")))?;
            let end = info.end();
            if end > header.file.length() {
                return Err(LoadError::Truncated {
                    file: name,
                    expected: end,
                    found: header.file.length(),
                });
            }
            if header.tensors.contains_key(&tensor) {
                return Err(header.invalid(format!("tensor {tensor} is described twice")));
            }
            header.tensors.insert(tensor, info);
        }
        Ok(header)
    }

    /// The error for a file that contradicts itself or asks for what is not supported.
    pub fn invalid(&self, problem: String) -> LoadError {
        LoadError::Gguf {
            file: self.file.name(),
            problem,
        }
    }

    fn alignment(&self) -> Result<u64, LoadError> {
        let alignment = match self.metadata.get("general.alignment") {
            None => return Ok(DEFAULT_ALIGNMENT),
            Some(Value::Integer(alignment)) => u64::try_from(*alignment).unwrap_or(0),
            Some(_) => 0,
        };
        if alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT {
            return Ok(alignment);
        }
        Err(self.invalid(format!(
            "general.alignment is no power of two up to {MAX_ALIGNMENT}"
        )))
    }

    fn refuse_parts(&self) -> Result<(), LoadError> {
        match self.metadata.get("split.count") {
            Some(Value::Integer(count)) if *count > 1 => Err(self.invalid(format!(
                "it is one of {count} parts: join them into one file with `llama-gguf-split --merge`"
            ))),
            _ => Ok(()),
        }
    }
}

impl TensorInfo {
    /// Offset behind its last byte.
    fn end(&self) -> u64 {
        let rows: usize = self.shape.iter().rev().skip(1).product();
        // Checked when it was placed.
        self.start + rows as u64 * self.row_bytes as u64
    }
}

/// A tensor as the header describes it.
struct DescribedTensor {
    /// Fastest dimension first.
    dimensions: Vec<u64>,
    kind: u32,
    offset: u64,
}

impl DescribedTensor {
    fn place(self, data_start: u64, alignment: u64) -> Result<TensorInfo, String> {
        let kind = GgmlType::of(self.kind)?;
        let too_large = || format!("has impossible dimensions {:?}", self.dimensions);
        if self.dimensions.is_empty() || self.dimensions.contains(&0) {
            return Err(too_large());
        }
        let shape: Option<Vec<usize>> = (self.dimensions.iter().rev())
            .map(|d| usize::try_from(*d).ok())
            .collect();
        let shape = shape.ok_or_else(too_large)?;
        let width = shape[shape.len() - 1];
        let (block, block_bytes) = kind.block();
        if !width.is_multiple_of(block) {
            return Err(format!(
                "has rows of {width} elements, {} is stored in blocks of {block}",
                kind.name()
            ));
        }
        let row_bytes = (width / block).checked_mul(block_bytes);
        let row_bytes = row_bytes.ok_or_else(too_large)?;
        let bytes = (shape[..shape.len() - 1].iter())
            .try_fold(row_bytes, |bytes, rows| bytes.checked_mul(*rows))
            .ok_or_else(too_large)?;
        if !self.offset.is_multiple_of(alignment) {
            return Err(format!(
                "begins at {}, which is no multiple of {alignment}",
                self.offset
            ));
        }
        let start = data_start.checked_add(self.offset);
        let start = start.filter(|start| start.checked_add(bytes as u64).is_some());
        Ok(TensorInfo {
            shape,
            kind,
            start: start.ok_or_else(|| format!("begins at {}", self.offset))?,
            row_bytes,
        })
    }
}

/// Reads the header from front to back, a chunk at a time.
struct Reader<'f> {
    file: &'f DataFile,
    /// Bytes that a header can have.
    limit: u64,
    buffer: Vec<u8>,
    /// Offset of the buffer in the file.
    start: u64,
    /// Bytes of the buffer that were taken.
    taken: usize,
}

impl<'f> Reader<'f> {
    fn new(file: &'f DataFile) -> Self {
        Self {
            file,
            limit: file.length().min(MAX_HEADER_BYTES),
            buffer: Vec::new(),
            start: 0,
            taken: 0,
        }
    }

    fn position(&self) -> u64 {
        self.start + self.taken as u64
    }

    /// Tensors and pairs.
    fn counts(&mut self) -> Result<(u64, u64), LoadError> {
        if self.file.length() < 4 || self.take(4)? != b"GGUF" {
            return Err(self.invalid("it is no GGUF file: it does not begin with GGUF".into()));
        }
        let version = self.u32()?;
        if version.swap_bytes() < 16 && version != 0 {
            return Err(self.invalid(
                "it is big-endian: convert it with gguf-py's gguf_convert_endian.py, or take the little-endian file"
                    .into(),
            ));
        }
        if !(2..=3).contains(&version) {
            return Err(self.invalid(format!("it is GGUF version {version}; supported: 2, 3")));
        }
        Ok((self.u64()?, self.u64()?))
    }

    fn metadata(&mut self, pairs: u64) -> Result<HashMap<String, Value>, LoadError> {
        let mut metadata = HashMap::new();
        for _ in 0..pairs {
            let key = self.name("a key of the metadata")?;
            let kind = self.u32()?;
            let value = self.value(&key, kind)?;
            if metadata.contains_key(&key) {
                return Err(self.invalid(format!("the metadata has {key} twice")));
            }
            metadata.insert(key, value);
        }
        Ok(metadata)
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<Value, LoadError> {
        match kind {
            STRING => Ok(Value::Text(self.string()?)),
            ARRAY => self.array(key),
            kind => {
                let scalar = self.scalar(key, kind)?;
                Ok(scalar.value(self.take(scalar.bytes() as u64)?))
            }
        }
    }

    fn array(&mut self, key: &str) -> Result<Value, LoadError> {
        let kind = self.u32()?;
        let count = self.u64()?;
        if kind == STRING {
            // Not by count: every string takes bytes of the file.
            let mut texts = Vec::new();
            for _ in 0..count {
                texts.push(self.string()?);
            }
            return Ok(Value::Texts(texts));
        }
        let scalar = self.scalar(key, kind)?;
        let bytes = count.saturating_mul(scalar.bytes() as u64);
        Ok(Value::Array(scalar, self.take(bytes)?.to_vec()))
    }

    fn scalar(&self, key: &str, kind: u32) -> Result<Scalar, LoadError> {
        Scalar::of(kind)
            .ok_or_else(|| self.invalid(format!("{key} has a value of unknown type {kind}")))
    }

    fn tensors(&mut self, count: u64) -> Result<Vec<(String, DescribedTensor)>, LoadError> {
        let mut tensors = Vec::new();
        for _ in 0..count {
            let name = self.name("the name of a tensor")?;
            let dimensions = self.u32()?;
            if dimensions > MAX_DIMENSIONS {
                return Err(self.invalid(format!("tensor {name} has {dimensions} dimensions")));
            }
            let dimensions = (0..dimensions).map(|_| self.u64());
            let tensor = DescribedTensor {
                dimensions: dimensions.collect::<Result<_, _>>()?,
                kind: self.u32()?,
                offset: self.u64()?,
            };
            tensors.push((name, tensor));
        }
        Ok(tensors)
    }

    fn name(&mut self, what: &str) -> Result<String, LoadError> {
        String::from_utf8(self.string()?).map_err(|_| self.invalid(format!("{what} is no text")))
    }

    fn string(&mut self) -> Result<Vec<u8>, LoadError> {
        let length = self.u64()?;
        Ok(self.take(length)?.to_vec())
    }

    fn u32(&mut self) -> Result<u32, LoadError> {
        let bytes = self.take(4)?.try_into();
        Ok(u32::from_le_bytes(bytes.unwrap_or_default()))
    }

    fn u64(&mut self) -> Result<u64, LoadError> {
        let bytes = self.take(8)?.try_into();
        Ok(u64::from_le_bytes(bytes.unwrap_or_default()))
    }

    /// The next bytes of the file; nothing is allocated for more than it has.
    fn take(&mut self, count: u64) -> Result<&[u8], LoadError> {
        let position = self.position();
        let end = position.saturating_add(count);
        if end > self.limit {
            return Err(self.beyond(end));
        }
        if end > self.start + self.buffer.len() as u64 {
            let size = count.max(CHUNK_BYTES).min(self.limit - position);
            self.buffer.resize(size as usize, 0);
            self.file.read(position, &mut self.buffer)?;
            self.start = position;
            self.taken = 0;
        }
        let first = self.taken;
        self.taken += count as usize;
        Ok(&self.buffer[first..self.taken])
    }

    fn beyond(&self, end: u64) -> LoadError {
        let found = self.file.length();
        if end > found {
            return LoadError::Truncated {
                file: self.file.name(),
                expected: end,
                found,
            };
        }
        self.invalid(format!(
            "its header is longer than {MAX_HEADER_BYTES} bytes"
        ))
    }

    fn invalid(&self, problem: String) -> LoadError {
        LoadError::Gguf {
            file: self.file.name(),
            problem,
        }
    }
}
