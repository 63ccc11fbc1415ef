//! Bytes of a fixed length, written in hexadecimal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// N bytes; as text 2N hexadecimal digits of either case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HexArray<const N: usize>(pub [u8; N]);

/// Text is not N bytes in hexadecimal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, found {found}")]
pub struct HexError {
    expected: usize,
    found: String,
}

impl<const N: usize> FromStr for HexArray<N> {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        let mut bytes = [0; N];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| HexError {
            expected: 2 * N,
            found: match text.find(|c: char| !c.is_ascii_hexdigit()) {
                Some(at) => format!("another character at position {at}"),
                None => text.len().to_string(),
            },
        })?;
        Ok(Self(bytes))
    }
}

impl<const N: usize> fmt::Display for HexArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<const N: usize> fmt::Debug for HexArray<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<const N: usize> Serialize for HexArray<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for HexArray<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_is_wrong() {
        let error = |text: &str| text.parse::<HexArray<2>>().unwrap_err().to_string();
        assert_eq!(error("abc"), "expected 4 hexadecimal digits, found 3");
        assert_eq!(
            error("abxd"),
            "expected 4 hexadecimal digits, found another character at position 2"
        );
        assert_eq!("aBcD".parse(), Ok(HexArray([0xab, 0xcd])));
    }
}
