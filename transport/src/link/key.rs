//! The secret key of one end of a link, and the file that keeps it.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use talaria_wire::channel::KEY_BYTES;
use talaria_wire::channel::noise::{Drawn, StaticKey};
use zeroize::Zeroizing;

/// A static key pair: of a GPU host, whose public half is in its address, or of a CVM, whose public half a host may
/// have on its list. Zeroized when dropped.
pub struct LinkKey {
    pub(super) secret: Drawn,
    pub(super) pair: StaticKey,
}

impl LinkKey {
    /// The key pair of a secret.
    pub fn new(secret: Drawn) -> Self {
        Self {
            pair: StaticKey::new(secret.clone()),
            secret,
        }
    }

    /// What others may know.
    pub fn public(&self) -> &[u8; KEY_BYTES] {
        self.pair.public()
    }
}

impl std::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LinkKey({})", hex::encode(self.public()))
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or made.
    #[error("the key in {file}: {source}", file = file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else is in it.
    #[error("{file} is no key: it has to hold 64 hexadecimal digits; name a file that is not there to have one made", file = file.display())]
    Malformed {
        /// Which.
        file: PathBuf,
    },
    /// Others could have read it.
    #[error("others may read the key in {file}: make another, or `chmod 600` it if nobody did", file = file.display())]
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
pub fn read_or_make(file: &Path) -> Result<LinkKey, KeyFileError> {
    match std::fs::File::open(file) {
        Ok(open) => read(open, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = drawn().and_then(|secret| {
                make(file, &secret)?;
                Ok(LinkKey::new(secret))
            });
            made.map_err(|source| KeyFileError::file(file, source))
        }
        Err(source) => Err(KeyFileError::file(file, source)),
    }
}

impl KeyFileError {
    fn file(file: &Path, source: io::Error) -> Self {
        Self::File {
            file: file.into(),
            source,
        }
    }
}

fn read(mut open: std::fs::File, file: &Path) -> Result<LinkKey, KeyFileError> {
    let failed = |source| KeyFileError::file(file, source);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = open.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { file: file.into() });
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
    decoded.map_err(|_| KeyFileError::Malformed { file: file.into() })?;
    Ok(LinkKey::new(secret))
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

/// A secret from the operating system.
///
/// # Errors
/// It gives none.
pub fn drawn() -> io::Result<Drawn> {
    let mut drawn = Drawn::default();
    getrandom::fill(&mut *drawn).map_err(io::Error::other)?;
    Ok(drawn)
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
            assert!(matches!(exposed, KeyFileError::Exposed { .. }), "{exposed}");
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
            assert!(matches!(error, KeyFileError::Malformed { .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        let missing = directory.path().join("nowhere/key");
        let error = read_or_make(&missing).err().unwrap().to_string();
        assert!(error.contains("nowhere/key"), "{error}");
    }
}
