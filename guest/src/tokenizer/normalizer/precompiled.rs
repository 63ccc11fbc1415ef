//! The normalization that SentencePiece compiles into a model: for each of its sequences of characters another one.
//!
//! `precompiled_charsmap` is base64 of: the bytes of an automaton (u32), the automaton (u32 units of a Darts double
//! array, <https://github.com/s-yata/darts-clone>), and the texts, each ended by a zero, that its values point into.
//! Everything here is little-endian.

use crate::tokenizer::TokenizerError;
use crate::tokenizer::steps::broken;
use tokenizers::NormalizedString;
use unicode_segmentation::UnicodeSegmentation;

/// The automaton and its texts.
#[derive(Debug)]
pub(super) struct Charsmap {
    units: Vec<u32>,
    texts: String,
}

impl Charsmap {
    /// # Errors
    /// It is no base64, or its lengths contradict each other.
    pub(super) fn new(base64: &str) -> Result<Charsmap, TokenizerError> {
        let wrong = |what: &str| broken(format!("precompiled_charsmap {what}"));
        let bytes = decode_base64(base64).ok_or_else(|| wrong("is no base64"))?;
        Charsmap::of_bytes(&bytes).ok_or_else(|| wrong("is cut off, or its texts are no UTF-8"))
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Charsmap> {
        // None at all.
        if bytes.is_empty() {
            return Some(Charsmap {
                units: Vec::new(),
                texts: String::new(),
            });
        }
        let (length, rest) = bytes.split_first_chunk()?;
        let (units, texts) = rest.split_at_checked(u32::from_le_bytes(*length) as usize / 4 * 4)?;
        let units = units
            .as_chunks()
            .0
            .iter()
            .map(|unit| u32::from_le_bytes(*unit))
            .collect();
        let texts = std::str::from_utf8(texts).ok()?.to_owned();
        Some(Charsmap { units, texts })
    }

    /// As the reference does: a grapheme of at most five bytes as a whole, else each of its characters.
    pub(super) fn normalize(&self, text: &mut NormalizedString) {
        // Characters with how many they are more (or, of the last one, fewer) than what they stand for.
        let mut normalized = Vec::with_capacity(text.get().len());
        let mut changed = false;
        for grapheme in text.get().graphemes(true) {
            if let Some(other) = self.lookup(grapheme).filter(|_| grapheme.len() < 6) {
                changed = true;
                put(&mut normalized, grapheme, other);
                continue;
            }
            for c in grapheme.chars() {
                match self.lookup(c.encode_utf8(&mut [0; 4])) {
                    Some(other) => {
                        changed = true;
                        put(&mut normalized, c.encode_utf8(&mut [0; 4]), other);
                    }
                    None => normalized.push((c, 0)),
                }
            }
        }
        if changed {
            text.transform(normalized, 0);
        }
    }

    /// The text for the first sequence that `key` begins with. (The reference takes the shortest one.)
    fn lookup(&self, key: &str) -> Option<&str> {
        let mut at = 0;
        at ^= offset(*self.units.first()?);
        for &byte in key.as_bytes() {
            if byte == 0 {
                break;
            }
            at ^= u32::from(byte);
            let unit = *self.units.get(at as usize)?;
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                return None;
            }
            at ^= offset(unit);
            let has_value = unit >> 8 & 1 == 1;
            if has_value {
                let value = self.units.get(at as usize)? & !(1 << 31);
                let text = self.texts.get(value as usize..)?;
                return Some(text.split('\0').next().unwrap_or(text));
            }
        }
        None
    }
}

/// From a unit to where its children are.
fn offset(unit: u32) -> u32 {
    (unit >> 10) << ((unit & 1 << 9) >> 6)
}

/// In the form that [`NormalizedString::transform`] takes.
fn put(normalized: &mut Vec<(char, isize)>, old: &str, new: &str) {
    let more = new.chars().count() as isize - old.chars().count() as isize;
    normalized.extend(new.chars().map(|c| (c, 0)));
    let added = usize::try_from(more).unwrap_or(0);
    normalized
        .iter_mut()
        .rev()
        .take(added)
        .for_each(|(_, change)| *change = 1);
    if let (true, Some((_, change))) = (more < 0, normalized.last_mut()) {
        *change += more;
    }
}

/// The standard alphabet, with padding or without.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0;
        for &digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let bits = (bits << (6 * (4 - group.len()))).to_be_bytes();
        match group.len() {
            4 => bytes.extend(&bits[1..4]),
            3 => bytes.extend(&bits[1..3]),
            2 => bytes.extend(&bits[1..2]),
            _ => return None,
        }
    }
    Some(bytes)
}
