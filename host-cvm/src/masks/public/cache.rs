//! R_pub kept between starts.
//!
//! One file for each model, seed, parameter set and weight format, named after their hash: another of any is
//! another file. It holds the rows of R_pub in the order in which they are computed, without a signature:
//! whoever reads it has the payload check every row. A cache that cannot be used is no error.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use talaria_arithmetic::residue::RESIDUE_BYTES;

use super::Source;

/// First bytes of a file; the key follows, then the rows as little-endian u32.
const MAGIC: &[u8; 16] = b"talaria-r_pub-1\n";
const KEY_BYTES: usize = 32;

/// What R_pub depends on.
pub(super) struct CacheKey {
    digest: [u8; KEY_BYTES],
    residues: u64,
}

impl CacheKey {
    pub(super) fn of(source: &Source) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(MAGIC);
        // Binds weights and their format.
        hasher.update(source.model_digest);
        hasher.update(source.seed);
        for number in [source.parameters.degree, source.parameters.rank] {
            hasher.update((number as u64).to_le_bytes());
        }
        Self {
            digest: hasher.finalize().into(),
            residues: source.residues(),
        }
    }

    fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("r_pub-{}.bin", hex::encode(&self.digest[..16])))
    }

    fn file_bytes(&self) -> u64 {
        (MAGIC.len() + KEY_BYTES) as u64 + RESIDUE_BYTES as u64 * self.residues
    }
}

/// Rows one after another.
pub(super) struct Reader(BufReader<File>);

impl Reader {
    /// None if there is no such file, or it has another header or length.
    pub(super) fn open(dir: &Path, key: &CacheKey) -> Option<Self> {
        let path = key.path(dir);
        let opened = File::open(&path).and_then(|file| {
            let found = file.metadata()?.len();
            let mut reader = BufReader::with_capacity(1 << 20, file);
            let mut header = [0; MAGIC.len() + KEY_BYTES];
            reader.read_exact(&mut header)?;
            let fits = header[..MAGIC.len()] == *MAGIC
                && header[MAGIC.len()..] == key.digest
                && found == key.file_bytes();
            fits.then_some(reader)
                .ok_or_else(|| io::Error::other("another header or length"))
        });
        match opened {
            Ok(reader) => Some(Self(reader)),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no kept R_pub");
                None
            }
        }
    }

    /// The next residues; none if they cannot be read.
    pub(super) fn next(&mut self, residues: usize) -> Option<Vec<u32>> {
        let mut bytes = vec![0; RESIDUE_BYTES * residues];
        self.0.read_exact(&mut bytes).ok()?;
        let (words, _) = bytes.as_chunks::<RESIDUE_BYTES>();
        Some(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }
}

/// A draft that takes the file's name when it is complete, and is removed otherwise.
pub(super) struct Writer {
    draft: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
    complete: bool,
}

impl Writer {
    pub(super) fn create(dir: &Path, key: &CacheKey) -> Option<Self> {
        let path = key.path(dir);
        let draft = path.with_extension(format!("{}.draft", std::process::id()));
        let created = fs::create_dir_all(dir).and_then(|()| {
            let mut file = BufWriter::with_capacity(1 << 20, File::create(&draft)?);
            file.write_all(MAGIC)?;
            file.write_all(&key.digest)?;
            Ok(file)
        });
        match created {
            Ok(file) => Some(Self {
                draft,
                path,
                file,
                complete: false,
            }),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "R_pub is not kept");
                None
            }
        }
    }

    /// None, and no draft any more, if it cannot be written.
    pub(super) fn write(mut self, residues: &[u32]) -> Option<Self> {
        let bytes: Vec<u8> = residues.iter().flat_map(|r| r.to_le_bytes()).collect();
        match self.file.write_all(&bytes) {
            Ok(()) => Some(self),
            Err(error) => {
                tracing::warn!(path = %self.draft.display(), %error, "R_pub is not kept");
                None
            }
        }
    }

    pub(super) fn finish(mut self) {
        let finished = self
            .file
            .flush()
            .and_then(|()| fs::rename(&self.draft, &self.path));
        match finished {
            Ok(()) => self.complete = true,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "R_pub is not kept");
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.complete {
            let _ = fs::remove_file(&self.draft);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use talaria_arithmetic::module_lwe::Parameters;
    use talaria_wire::manifest::WeightFormat;
    use talaria_wire::shape::MatrixShape;

    fn source() -> Source {
        Source {
            parameters: Parameters::find("256x10").unwrap(),
            seed: [1; 32],
            shapes: [MatrixShape {
                k: 4,
                n: 1,
                format: WeightFormat::Int8,
            }]
            .into(),
            model_digest: [2; 32],
        }
    }

    fn write(dir: &Path, key: &CacheKey) -> Vec<u32> {
        let rows: Vec<u32> = (0..key.residues as u32).collect();
        let writer = Writer::create(dir, key).unwrap();
        writer
            .write(&rows[..7])
            .unwrap()
            .write(&rows[7..])
            .unwrap()
            .finish();
        rows
    }

    #[test]
    fn rows_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let key = CacheKey::of(&source());
        assert!(Reader::open(dir.path(), &key).is_none());
        let rows = write(dir.path(), &key);
        let mut reader = Reader::open(dir.path(), &key).unwrap();
        assert_eq!(reader.next(9).unwrap(), rows[..9]);
        assert_eq!(reader.next(rows.len() - 9).unwrap(), rows[9..]);
        assert!(reader.next(1).is_none());
    }

    #[test]
    fn another_model_seed_or_parameter_set_is_another_file() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &CacheKey::of(&source()));
        let others: [fn(&mut Source); 3] = [
            |s| s.model_digest[0] ^= 1,
            |s| s.seed[31] ^= 1,
            |s| s.parameters = Parameters::find("512x5").unwrap(),
        ];
        for change in others {
            let mut other = source();
            change(&mut other);
            assert!(Reader::open(dir.path(), &CacheKey::of(&other)).is_none());
        }
    }

    #[test]
    fn drafts_and_damaged_files_are_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let key = CacheKey::of(&source());
        drop(Writer::create(dir.path(), &key).unwrap().write(&[1, 2]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        write(dir.path(), &key);
        let path = key.path(dir.path());
        let good = fs::read(&path).unwrap();
        for bad in [&good[1..], &good[..good.len() - 1], &[]] {
            fs::write(&path, bad).unwrap();
            assert!(Reader::open(dir.path(), &key).is_none());
        }
    }
}
