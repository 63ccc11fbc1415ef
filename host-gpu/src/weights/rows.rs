//! How a matrix is stored: rows of bytes, each of which decodes to f32.
//!
//! A file format implements [`Rows`] for each way it stores a tensor (plain floats, blocks of small
//! integers with scales, an integer tensor beside a tensor of scales); what quantises sees nothing else.
//! Reading is one call for many rows, decoding is one call a row, in parallel.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{LoadError, lfs};

/// A stored matrix (rows, width); a vector is one row. Its shape is kept beside it and has been checked
/// against the file: callers stay inside it.
pub trait Rows: Send + Sync {
    /// Bytes that [`Rows::read`] gives for a row, above 0.
    fn row_bytes(&self) -> usize;

    /// Fills `raw` with as many rows as it holds, from row `first` on. Files that do not store row by row
    /// gather here.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read(&self, first: usize, raw: &mut [u8]) -> Result<(), LoadError>;

    /// Widens row `row`, exactly or as the format defines it, to `out` (width,). What is not finite is
    /// refused by the caller, who knows the tensor's name.
    fn decode(&self, row: usize, raw: &[u8], out: &mut [f32]);
}

/// How consecutive elements are stored, whatever tensor they belong to.
pub trait Encoding: Send + Sync {
    /// Widens the elements of `raw`, as many as `out` holds.
    fn decode(&self, raw: &[u8], out: &mut [f32]);
}

/// Rows that lie in a file one after the other.
pub struct Stored<E> {
    /// Where.
    pub file: Arc<DataFile>,
    /// Offset of the first row in the file.
    pub start: u64,
    /// Bytes of a row.
    pub row_bytes: usize,
    /// What they mean.
    pub encoding: E,
}

impl<E: Encoding> Rows for Stored<E> {
    fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    fn read(&self, first: usize, raw: &mut [u8]) -> Result<(), LoadError> {
        let offset = first as u64 * self.row_bytes as u64;
        self.file.read(self.start + offset, raw)
    }

    fn decode(&self, _row: usize, raw: &[u8], out: &mut [f32]) {
        self.encoding.decode(raw, out);
    }
}

/// An open file, read in pieces.
///
/// Nothing is mapped into memory, so a file that shrinks while it is read is an error, not a signal.
pub struct DataFile {
    path: PathBuf,
    length: u64,
    /// Its position is set before every read.
    file: Mutex<File>,
}

impl DataFile {
    /// Opens a file.
    ///
    /// # Errors
    /// It is not there, cannot be read, or is a Git LFS pointer.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let file = File::open(path).map_err(LoadError::io(path))?;
        let length = file.metadata().map_err(LoadError::io(path))?.len();
        let opened = Self {
            path: path.into(),
            length,
            file: Mutex::new(file),
        };
        let mut head = vec![0; length.min(lfs::HEAD_BYTES) as usize];
        opened.read(0, &mut head)?;
        lfs::refuse_pointer(&opened.name(), &head)?;
        Ok(opened)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// File name, for messages.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Bytes when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads bytes `offset..offset + buffer.len()`.
    ///
    /// # Errors
    /// It ends before, or cannot be read.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), LoadError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(buffer))
            .map_err(LoadError::io(&self.path))
    }
}
