//! Appends what a host sees to a file, on a thread of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use talaria_arithmetic::keystream::SEED_BYTES;
use talaria_wire::digest::ModelDigest;

use super::{FORMAT, KIND_RESIDUES, KIND_SEED, MAGIC, Observer, PLANES_APART, PLANES_JOINED, Seen};
use crate::backend::Planes;
use crate::scheduler::rows::ClaimBody;

/// Requests that wait for the disk; callers wait when there are more.
const QUEUE: usize = 64;

/// Writes a record: an [`Observer`] for a host.
pub struct Recorder {
    path: PathBuf,
    start: Instant,
    queue: Option<Mutex<SyncSender<(u64, Seen)>>>,
    writer: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Begins a record in `directory`, made if missing, in a file named after time and process.
    ///
    /// # Errors
    /// The file system's.
    pub fn create(directory: &Path, digest: ModelDigest, manifest: &[u8]) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let (path, file) = new_file(directory)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        write_header(&mut file, digest, manifest)?;
        file.flush()?;
        let (queue, requests) = sync_channel(QUEUE);
        let shown = path.clone();
        let writer = std::thread::Builder::new()
            .name("record".into())
            .spawn(move || {
                if let Err(error) = append(file, &requests) {
                    tracing::error!("record {} ends here: {error}", shown.display());
                }
            })?;
        Ok(Self {
            path,
            start: Instant::now(),
            queue: Some(Mutex::new(queue)),
            writer: Some(writer),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Observer for Recorder {
    fn saw(&self, request: &Seen) {
        let Some(queue) = &self.queue else { return };
        // The lock makes the order of times the order of the file.
        let Ok(queue) = queue.lock() else { return };
        let micros = self.start.elapsed().as_micros() as u64;
        // Fails only when the writer stopped, which it has reported.
        let _ = queue.send((micros, request.clone()));
    }
}

impl Drop for Recorder {
    /// Waits until everything is on its way to the disk.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn new_file(directory: &Path) -> io::Result<(PathBuf, File)> {
    let millis = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let mut nth = 0;
    loop {
        let name = format!("{millis}-{}-{nth}.record", std::process::id());
        let path = directory.join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => nth += 1,
            Err(error) => return Err(error),
        }
    }
}

fn write_header(file: &mut impl Write, digest: ModelDigest, manifest: &[u8]) -> io::Result<()> {
    file.write_all(&MAGIC)?;
    file.write_all(&FORMAT.to_le_bytes())?;
    file.write_all(&digest.0)?;
    file.write_all(&(manifest.len() as u64).to_le_bytes())?;
    file.write_all(manifest)
}

/// Writes requests until the recorder is dropped; flushes whenever the queue runs empty.
fn append(mut file: BufWriter<File>, requests: &Receiver<(u64, Seen)>) -> io::Result<()> {
    let mut index = 0u64;
    while let Ok(first) = requests.recv() {
        let mut next = Some(first);
        while let Some((micros, request)) = next {
            write_entry(&mut file, index, micros, &request)?;
            index += 1;
            next = requests.try_recv().ok();
        }
        file.flush()?;
    }
    Ok(())
}

fn write_entry(file: &mut impl Write, index: u64, micros: u64, seen: &Seen) -> io::Result<()> {
    let (kind, body): (u32, &[u8]) = match &seen.body {
        ClaimBody::Residues(bytes) => (KIND_RESIDUES, bytes),
        ClaimBody::Seed(seed) => (KIND_SEED, seed),
    };
    debug_assert!(kind == KIND_RESIDUES || body.len() == SEED_BYTES);
    for word in [index, seen.stream, micros] {
        file.write_all(&word.to_le_bytes())?;
    }
    let planes = match seen.planes {
        Planes::Joined => PLANES_JOINED,
        Planes::Apart => PLANES_APART,
    };
    for word in [seen.projection, seen.rows, planes, kind] {
        file.write_all(&word.to_le_bytes())?;
    }
    file.write_all(&(body.len() as u64).to_le_bytes())?;
    file.write_all(body)
}
