//! Encrypted links: whose key a CVM knows, and how connections become streams under it.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use talaria_transport::link::{Secured, respond};
use talaria_wire::channel::KEY_BYTES;
use talaria_wire::channel::noise::{Drawn, StaticKey};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use zeroize::Zeroizing;

/// Time for a caller's handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way; further callers wait.
const HANDSHAKES: usize = 64;
/// Pause after the operating system gave no socket.
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum LinkKeyError {
    /// The file cannot be read or made.
    #[error("the link key {file}: {source}", file = file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else is in it.
    #[error("{file} is no link key: it has to hold 64 hexadecimal digits; name a file that is not there to have one made", file = file.display())]
    Malformed {
        /// Which.
        file: PathBuf,
    },
    /// Others could have read it.
    #[error("others may read the link key {file}: make another, or `chmod 600` it if nobody did", file = file.display())]
    Exposed {
        /// Which.
        file: PathBuf,
    },
}

/// Reads the secret key in a file of 64 hexadecimal digits; makes key and file, readable by its owner only, if it is
/// not there.
///
/// # Errors
/// What is wrong with the file.
pub fn read_or_make(file: &Path) -> Result<StaticKey, LinkKeyError> {
    match std::fs::File::open(file) {
        Ok(open) => read(open, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = drawn().and_then(|secret| {
                make(file, &secret)?;
                Ok(StaticKey::new(secret))
            });
            made.map_err(|source| LinkKeyError::file(file, source))
        }
        Err(source) => Err(LinkKeyError::file(file, source)),
    }
}

impl LinkKeyError {
    fn file(file: &Path, source: io::Error) -> Self {
        Self::File {
            file: file.into(),
            source,
        }
    }
}

fn read(mut open: std::fs::File, file: &Path) -> Result<StaticKey, LinkKeyError> {
    let failed = |source| LinkKeyError::file(file, source);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = open.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(LinkKeyError::Exposed { file: file.into() });
        }
    }
    // A key, a line's end, and one byte more than there should be.
    let mut text = Zeroizing::new([0; 2 * KEY_BYTES + 3]);
    let mut filled = 0;
    loop {
        match open.read(&mut text[filled..]).map_err(failed)? {
            0 => break,
            read => filled += read,
        }
    }
    let mut secret = Drawn::default();
    let decoded = hex::decode_to_slice(text[..filled].trim_ascii(), &mut *secret);
    decoded.map_err(|_| LinkKeyError::Malformed { file: file.into() })?;
    Ok(StaticKey::new(secret))
}

fn make(file: &Path, secret: &Drawn) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut text = Zeroizing::new([b'\n'; 2 * KEY_BYTES + 1]);
    hex::encode_to_slice(**secret, &mut text[..2 * KEY_BYTES]).expect("two digits a byte");
    let mut open = options.open(file)?;
    open.write_all(&*text)?;
    open.sync_all()
}

/// From the operating system.
fn drawn() -> io::Result<Drawn> {
    let mut drawn = Drawn::default();
    getrandom::fill(&mut *drawn).map_err(io::Error::other)?;
    Ok(drawn)
}

/// Connections whose callers know the key, as they come. Nobody waits for another's handshake.
pub fn accept(
    listener: TcpListener,
    key: Arc<StaticKey>,
) -> ReceiverStream<io::Result<Secured<TcpStream>>> {
    let (ready, incoming) = mpsc::channel(1);
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let place = places.clone().acquire_owned().await;
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            let Ok((stream, caller)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (ready, key) = (ready.clone(), key.clone());
            tokio::spawn(async move {
                let secured = timeout(HANDSHAKE, secure(stream, &key)).await;
                drop(place);
                match secured.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                    // Not if the server stops.
                    Ok(secured) => drop(ready.send(Ok(secured)).await),
                    Err(error) => tracing::warn!(%caller, %error, "no encrypted link"),
                }
            });
        }
    });
    ReceiverStream::new(incoming)
}

async fn secure(stream: TcpStream, key: &StaticKey) -> io::Result<Secured<TcpStream>> {
    stream.set_nodelay(true)?;
    respond(stream, key, drawn()?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let made = read_or_make(&file).unwrap();
        assert_eq!(read_or_make(&file).unwrap().public(), made.public());
        let other = read_or_make(&directory.path().join("other")).unwrap();
        assert_ne!(other.public(), made.public());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |mode| {
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap()
            };
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            mode(0o640);
            let exposed = read_or_make(&file).err().unwrap();
            assert!(matches!(exposed, LinkKeyError::Exposed { .. }), "{exposed}");
            mode(0o400);
            read_or_make(&file).unwrap();
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        let digits = "00".repeat(KEY_BYTES);
        let bad = [
            "",
            "12",
            &digits[1..],
            &format!("{digits}00"),
            &"x".repeat(64),
        ];
        for text in bad {
            let _ = std::fs::remove_file(&file);
            make(&file, &Drawn::default()).unwrap();
            std::fs::write(&file, text).unwrap();
            let error = read_or_make(&file).err().unwrap();
            assert!(matches!(error, LinkKeyError::Malformed { .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        let missing = directory.path().join("nowhere/key");
        let error = read_or_make(&missing).err().unwrap().to_string();
        assert!(error.contains("nowhere/key"), "{error}");
    }
}
