//! JSON as Python's `json` reads it: Python wrote a checkpoint's files, and Python reads them elsewhere.
//!
//! Beyond RFC 8259 that module takes `NaN`, `Infinity`, `-Infinity`, numbers beyond every float (they are infinite),
//! escapes of half a surrogate pair, and a key twice (the last counts). 50 and 50.0 are equal to it. A byte order mark,
//! which it refuses, is skipped here. Deeper than 128 levels nothing is read.

use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

use super::LoadError;

/// Parses a JSON file of a checkpoint.
///
/// # Errors
/// Names the key whose value is not of its type; a number that is not finite is none.
pub(super) fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, LoadError> {
    from_value(file, value(file, bytes)?)
}

/// The whole document, numbers of integral value as integers.
pub fn value(file: &str, bytes: &[u8]) -> Result<Value, LoadError> {
    let mut value = serde_json::from_slice(&normal(bytes)).map_err(|e| LoadError::Json {
        file: file.into(),
        problem: e.to_string(),
    })?;
    make_integral(&mut value);
    Ok(value)
}

/// A part of a document as what it should be.
pub(super) fn from_value<T: DeserializeOwned>(file: &str, value: Value) -> Result<T, LoadError> {
    serde_path_to_error::deserialize(value).map_err(|e| LoadError::Json {
        file: file.into(),
        problem: e.to_string(),
    })
}

/// 50.0 becomes 50.
fn make_integral(value: &mut Value) {
    // Beyond it an f64 no longer says which integer was meant.
    const LARGEST: f64 = (1u64 << 53) as f64;
    match value {
        Value::Number(number) => {
            let integral = number.as_f64().filter(|_| number.is_f64());
            if let Some(float) = integral.filter(|f| f.fract() == 0.0 && f.abs() <= LARGEST) {
                *number = Number::from(float as i64);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(make_integral),
        Value::Object(fields) => fields.values_mut().for_each(make_integral),
        _ => {}
    }
}

/// The same document in RFC 8259, byte for byte what it was where it was so already: numbers that are not finite become
/// their names as strings, so whoever wants a number there refuses them and who does not passes over; half of a
/// surrogate pair becomes U+FFFD.
pub fn normal(bytes: &[u8]) -> Vec<u8> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let taken = match first {
            b'"' => {
                out.push(b'"');
                1 + string(after, &mut out)
            }
            b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => word(rest, &mut out),
            _ => {
                out.push(*first);
                1
            }
        };
        rest = &rest[taken..];
    }
    out
}

/// Copies a string after its opening quote, the closing one included; returns the bytes read.
fn string(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let length = match byte {
            b'"' => {
                out.push(b'"');
                return at + 1;
            }
            b'\\' => {
                at += escape(&bytes[at..], out);
                continue;
            }
            _ => 1,
        };
        out.extend_from_slice(&bytes[at..at + length]);
        at += length;
    }
    at
}

/// Copies one escape, or both of a surrogate pair; returns the bytes read.
fn escape(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    const HIGH: std::ops::Range<u16> = 0xd800..0xdc00;
    const LOW: std::ops::Range<u16> = 0xdc00..0xe000;
    let length = match (unit(bytes), bytes.get(6..).and_then(unit)) {
        (Some(high), Some(low)) if HIGH.contains(&high) && LOW.contains(&low) => 12,
        (Some(half), _) if HIGH.contains(&half) || LOW.contains(&half) => {
            out.extend_from_slice(br"\ufffd");
            return 6;
        }
        (Some(_), _) => 6,
        // Some other escape, or none: who parses the result decides.
        (None, _) => bytes.len().min(2),
    };
    out.extend_from_slice(&bytes[..length]);
    length
}

/// The UTF-16 unit of `\uXXXX`.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(br"\u")?.get(..4)?;
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    digits
        .iter()
        .try_fold(0, |unit, byte| Some(unit * 16 + digit(byte)? as u16))
}

/// Copies a number or a name; returns the bytes read.
fn word(bytes: &[u8], out: &mut Vec<u8>) -> usize {
    let of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
    let length = bytes
        .iter()
        .position(|b| !of_word(b))
        .unwrap_or(bytes.len());
    let word = &bytes[..length];
    match name_of_infinity(word) {
        Some(name) => out.extend_from_slice(name),
        None => out.extend_from_slice(word),
    }
    length
}

/// What stands for a number that is not finite.
fn name_of_infinity(word: &[u8]) -> Option<&'static [u8]> {
    match word {
        b"NaN" => return Some(br#""NaN""#),
        b"Infinity" => return Some(br#""Infinity""#),
        b"-Infinity" => return Some(br#""-Infinity""#),
        _ => {}
    }
    // Shorter ones without an exponent are finite.
    if word.len() < 309 && !word.iter().any(|b| matches!(b, b'e' | b'E')) {
        return None;
    }
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let number = std::str::from_utf8(word).ok()?.parse::<f64>().ok()?;
    match digits.first()?.is_ascii_digit() && number.is_infinite() {
        true if number > 0.0 => Some(br#""Infinity""#),
        true => Some(br#""-Infinity""#),
        false => None,
    }
}

#[cfg(test)]
mod tests;
