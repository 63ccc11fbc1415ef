//! Who may have a link: a file of public keys, one a line.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use talaria_wire::channel::KEY_BYTES;

/// Longest file that is read: some 15,000 callers.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Public keys of the CVMs that a GPU host serves; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callers(BTreeSet<[u8; KEY_BYTES]>);

/// Why there is no list of callers.
#[derive(Debug, thiserror::Error)]
pub enum CallersError {
    /// The file cannot be read.
    #[error("the callers in {file}: {source}", file = file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else is in it.
    #[error("the callers in {file}: {found}", file = file.display())]
    Malformed {
        /// Which.
        file: PathBuf,
        /// What.
        found: MalformedCallers,
    },
}

/// What is wrong with a list of callers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedCallers {
    /// More than is read.
    #[error("more than {MAX_FILE_BYTES} bytes")]
    Long,
    /// No text.
    #[error("no UTF-8 text")]
    Bytes,
    /// No key.
    #[error(
        "line {line} is no public key: it has to hold 64 hexadecimal digits, as `talaria-cvm serve --caller-key` \
         prints them, and may end with # and a comment"
    )]
    Line {
        /// From 1.
        line: usize,
    },
    /// No line has a key.
    #[error(
        "no key: nobody could be served; leave --callers out to serve whoever knows the host's address"
    )]
    Empty,
}

impl Callers {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(file: &Path) -> Result<Self, CallersError> {
        let failed = |source| CallersError::File {
            file: file.into(),
            source,
        };
        let mut bytes = Vec::new();
        let open = File::open(file).map_err(failed)?;
        let mut open = open.take(MAX_FILE_BYTES + 1);
        open.read_to_end(&mut bytes).map_err(failed)?;
        Self::parse(&bytes).map_err(|found| CallersError::Malformed {
            file: file.into(),
            found,
        })
    }

    /// Parses a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them, and in which line.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedCallers> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(MalformedCallers::Long);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| MalformedCallers::Bytes)?;
        let mut keys = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            let digits = line.split('#').next().unwrap_or_default().trim();
            if digits.is_empty() {
                continue;
            }
            let mut key = [0; KEY_BYTES];
            let decoded = hex::decode_to_slice(digits, &mut key);
            decoded.map_err(|_| MalformedCallers::Line { line: index + 1 })?;
            keys.insert(key);
        }
        match keys.is_empty() {
            true => Err(MalformedCallers::Empty),
            false => Ok(Self(keys)),
        }
    }

    /// Whether this key is one of them.
    pub fn has(&self, key: &[u8; KEY_BYTES]) -> bool {
        self.0.contains(key)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_one_a_line_with_comments() {
        let [one, two] = [[0x11; KEY_BYTES], [0xab; KEY_BYTES]];
        let text = format!(
            "# callers\n\n  {}  # the first\r\n{}\n{}",
            hex::encode(one),
            hex::encode_upper(two),
            hex::encode(one)
        );
        let callers = Callers::parse(text.as_bytes()).unwrap();
        assert_eq!(callers.count(), 2);
        assert!(callers.has(&one) && callers.has(&two) && !callers.has(&[0; KEY_BYTES]));
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_line() {
        let key = "11".repeat(KEY_BYTES);
        let line = |line| MalformedCallers::Line { line };
        let bad = [
            (String::new(), MalformedCallers::Empty),
            (format!("# {key}"), MalformedCallers::Empty),
            (format!("{key}\n12"), line(2)),
            (format!("\n{key}00"), line(2)),
            (format!("{key} {key}"), line(1)),
            ("x".repeat(64), line(1)),
            (" ".repeat((1 << 20) + 1), MalformedCallers::Long),
        ];
        for (text, expected) in bad {
            assert_eq!(Callers::parse(text.as_bytes()), Err(expected));
        }
        assert_eq!(Callers::parse(&[0xff]), Err(MalformedCallers::Bytes));
        let missing = Callers::read(Path::new("/no/such/callers")).unwrap_err();
        assert!(
            missing.to_string().contains("/no/such/callers"),
            "{missing}"
        );
    }
}
