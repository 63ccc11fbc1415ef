//! One safetensors file: a bounded, validated header, then positioned reads of rows of tensors.
//!
//! Format: u64 little-endian header length, JSON header, tensor data without gaps.

use std::path::Path;
use std::sync::Arc;

use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};

use super::LoadError;
use super::checkpoint::Entry;
use super::rows::{DataFile, Encoding, Rows, Stored};

/// Longest header accepted, in bytes; the limit of the format's reference implementation.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Bytes of the header's length.
const LENGTH_BYTES: u64 = 8;

/// An open file whose header agrees with its length.
pub struct TensorFile {
    file: Arc<DataFile>,
    /// Offset of the first tensor's first byte.
    data_start: u64,
    metadata: Metadata,
}

impl TensorFile {
    /// Opens a file and checks that its tensors cover it exactly, in bounds and without overlap.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let file = DataFile::open(path)?;
        let header = read_header(&file)?;
        let metadata = parse_header(&file.name(), &header)?;
        let data_start = LENGTH_BYTES + header.len() as u64;
        let expected = data_start.saturating_add(metadata.data_len() as u64);
        check_length(&file, expected)?;
        Ok(Self {
            file: Arc::new(file),
            data_start,
            metadata,
        })
    }

    /// File name, for messages.
    pub fn name(&self) -> String {
        self.file.name()
    }

    /// All tensors by name.
    pub fn parts(&self) -> impl Iterator<Item = (String, Part)> {
        let names = self.metadata.offset_keys().into_iter();
        names.filter_map(|name| self.part(&name).map(|part| (name, part)))
    }

    /// A tensor by name.
    pub fn part(&self, tensor: &str) -> Option<Part> {
        let TensorInfo {
            dtype,
            shape,
            data_offsets: (start, end),
        } = self.metadata.info(tensor)?;
        Some(Part {
            file: Arc::clone(&self.file),
            start: self.data_start + *start as u64,
            bytes: end - start,
            dtype: *dtype,
            shape: shape.clone(),
        })
    }
}

/// A tensor as it lies in a file, whatever its elements mean.
#[derive(Clone)]
pub struct Part {
    file: Arc<DataFile>,
    /// Offset in the file.
    start: u64,
    bytes: usize,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl Part {
    /// The file's name, for messages.
    pub fn file_name(&self) -> String {
        self.file.name()
    }

    /// Type of its elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Length of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reads bytes `start..start + buffer.len()` of its data.
    ///
    /// # Panics
    /// They are not inside the tensor.
    pub fn read(&self, start: usize, buffer: &mut [u8]) -> Result<(), LoadError> {
        assert!(start + buffer.len() <= self.bytes, "outside the tensor");
        self.file.read(self.start + start as u64, buffer)
    }

    /// Rows of plain floats, or the name of the type that is none.
    pub fn into_entry(self) -> Entry {
        let width = self.shape.last().copied().unwrap_or(1);
        let rows = match Float::of(self.dtype) {
            None => Err(self.dtype.to_string()),
            Some(encoding) => Ok(Box::new(Stored {
                file: self.file,
                start: self.start,
                row_bytes: width * encoding.bytes(),
                encoding,
            }) as Box<dyn Rows>),
        };
        Entry {
            shape: self.shape,
            rows,
        }
    }
}

fn read_header(file: &DataFile) -> Result<Vec<u8>, LoadError> {
    let mut length = [0; LENGTH_BYTES as usize];
    check_length_at_least(file, LENGTH_BYTES)?;
    file.read(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(invalid(
            &file.name(),
            format!("it claims to be {length} bytes long, the most allowed is {MAX_HEADER_BYTES}"),
        ));
    }
    check_length_at_least(file, LENGTH_BYTES + length)?;
    let mut header = vec![0; length as usize];
    file.read(LENGTH_BYTES, &mut header)?;
    Ok(header)
}

/// Shapes, types and offsets agree with each other when this returns (the crate's own validation).
fn parse_header(name: &str, header: &[u8]) -> Result<Metadata, LoadError> {
    serde_json::from_slice(header).map_err(|e| invalid(name, e.to_string()))
}

fn check_length(file: &DataFile, expected: u64) -> Result<(), LoadError> {
    check_length_at_least(file, expected)?;
    let found = file.length();
    if found > expected {
        return Err(invalid(
            &file.name(),
            format!("it describes {expected} bytes, the file has {found}"),
        ));
    }
    Ok(())
}

fn check_length_at_least(file: &DataFile, expected: u64) -> Result<(), LoadError> {
    let found = file.length();
    if found < expected {
        return Err(LoadError::Truncated {
            file: file.name(),
            expected,
            found,
        });
    }
    Ok(())
}

fn invalid(name: &str, problem: String) -> LoadError {
    LoadError::Header {
        file: name.into(),
        problem,
    }
}

/// Element types of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
}

impl Float {
    /// The type of a header, if it is a plain float.
    pub fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::BF16 => Some(Float::Bf16),
            Dtype::F16 => Some(Float::F16),
            Dtype::F32 => Some(Float::F32),
            _ => None,
        }
    }

    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            Float::Bf16 | Float::F16 => 2,
            Float::F32 => 4,
        }
    }
}

impl Encoding for Float {
    /// Widens little-endian elements, exactly.
    fn decode(&self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Float::Bf16 => widen::<2>(bytes, out, |b| {
                f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)
            }),
            Float::F16 => widen::<2>(bytes, out, |b| half::f16::from_le_bytes(b).to_f32()),
            Float::F32 => widen::<4>(bytes, out, f32::from_le_bytes),
        }
    }
}

fn widen<const BYTES: usize>(bytes: &[u8], out: &mut [f32], element: impl Fn([u8; BYTES]) -> f32) {
    let (elements, rest) = bytes.as_chunks::<BYTES>();
    debug_assert!(rest.is_empty() && elements.len() == out.len());
    for (out, bytes) in out.iter_mut().zip(elements) {
        *out = element(*bytes);
    }
}
