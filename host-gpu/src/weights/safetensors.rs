//! One safetensors file: a bounded, validated header, then positioned reads of parts of tensors.
//!
//! Nothing is mapped into memory, so a file that shrinks while it is read is an error, not a signal.
//! Format: u64 little-endian header length, JSON header, tensor data without gaps.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};

use super::LoadError;

/// Longest header accepted, in bytes; the limit of the format's reference implementation.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Bytes of the header's length.
const LENGTH_BYTES: u64 = 8;

/// An open file whose header agrees with its length.
pub struct TensorFile {
    name: String,
    path: PathBuf,
    /// Its position is set before every read.
    file: Mutex<File>,
    /// Offset of the first tensor's first byte.
    data_start: u64,
    metadata: Metadata,
}

impl TensorFile {
    /// Opens a file and checks that its tensors cover it exactly, in bounds and without overlap.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let mut file = File::open(path).map_err(LoadError::io(path))?;
        let found = file.metadata().map_err(LoadError::io(path))?.len();
        let header = read_header(&name, path, &mut file, found)?;
        let metadata = parse_header(&name, &header)?;
        let data_start = LENGTH_BYTES + header.len() as u64;
        let expected = data_start.saturating_add(metadata.data_len() as u64);
        check_length(&name, expected, found)?;
        Ok(Self {
            name,
            path: path.into(),
            file: Mutex::new(file),
            data_start,
            metadata,
        })
    }

    /// File name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of all tensors.
    pub fn tensor_names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// What the header says of a tensor.
    pub fn info(&self, tensor: &str) -> Option<&TensorInfo> {
        self.metadata.info(tensor)
    }

    /// Reads bytes `start..start + buffer.len()` of a tensor's data; the caller stays inside the tensor.
    pub fn read(&self, info: &TensorInfo, start: u64, buffer: &mut [u8]) -> Result<(), LoadError> {
        let offset = self.data_start + info.data_offsets.0 as u64 + start;
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(buffer))
            .map_err(LoadError::io(&self.path))
    }
}

fn read_header(name: &str, path: &Path, file: &mut File, found: u64) -> Result<Vec<u8>, LoadError> {
    let mut length = [0; LENGTH_BYTES as usize];
    check_length_at_least(name, LENGTH_BYTES, found)?;
    file.read_exact(&mut length).map_err(LoadError::io(path))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return Err(invalid(
            name,
            format!("it claims to be {length} bytes long, the most allowed is {MAX_HEADER_BYTES}"),
        ));
    }
    check_length_at_least(name, LENGTH_BYTES + length, found)?;
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(LoadError::io(path))?;
    Ok(header)
}

/// Shapes, types and offsets agree with each other when this returns (the crate's own validation).
fn parse_header(name: &str, header: &[u8]) -> Result<Metadata, LoadError> {
    serde_json::from_slice(header).map_err(|e| invalid(name, e.to_string()))
}

fn check_length(name: &str, expected: u64, found: u64) -> Result<(), LoadError> {
    check_length_at_least(name, expected, found)?;
    if found > expected {
        return Err(invalid(
            name,
            format!("it describes {expected} bytes, the file has {found}"),
        ));
    }
    Ok(())
}

fn check_length_at_least(name: &str, expected: u64, found: u64) -> Result<(), LoadError> {
    if found < expected {
        return Err(LoadError::Truncated {
            file: name.into(),
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

    /// Widens little-endian elements, exactly; `bytes` holds as many as `out`.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
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
