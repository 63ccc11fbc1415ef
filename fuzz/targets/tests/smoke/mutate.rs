//! Inputs near those of a corpus: what breaks parsers of lengths, of nesting and of numbers.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;

use crate::corpus::Input;

/// Most mutations of one input.
const MOST: usize = 4;

/// Numbers at which something changes, as text.
const NUMBERS: [&str; 10] = [
    "0",
    "-1",
    "1",
    "255",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "1e999",
    "1e-999",
    "0.5",
];

/// Pieces of the formats in text.
const TOKENS: [&str; 16] = [
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "[[[[",
    "{{",
    "}}",
    "{%",
    "%}",
    "\\u0000",
    "\\ud800",
    "\u{1f989}",
    "\u{0}",
    "\"a\":",
    "\n",
];

/// A few mutations of one of the inputs.
pub(crate) fn mutant(corpus: &[Input], rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut bytes = corpus[below(rng, corpus.len())].bytes.clone();
    for _ in 0..1 + below(rng, MOST) {
        mutate(&mut bytes, corpus, rng);
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[Input], rng: &mut ChaCha20Rng) {
    match below(rng, 10) {
        0 => flip(bytes, rng),
        1 => bytes.truncate(below(rng, bytes.len() + 1)),
        2 => drop(bytes.drain(range(bytes.len(), rng))),
        3 => duplicate(bytes, rng),
        4 => splice(bytes, corpus, rng),
        5 => edit_length(bytes, rng),
        6 => edit_number(bytes, rng),
        7 => insert(bytes, TOKENS[below(rng, TOKENS.len())].as_bytes(), rng),
        8 => set_byte(bytes, rng),
        _ => repeat(bytes, rng),
    }
}

/// Below `most`, which is not 0.
fn below(rng: &mut ChaCha20Rng, most: usize) -> usize {
    (rng.next_u64() % most as u64) as usize
}

/// A short range, more often than a long one.
fn range(length: usize, rng: &mut ChaCha20Rng) -> std::ops::Range<usize> {
    let start = below(rng, length + 1);
    let most = (length - start).min(1 << below(rng, 12));
    start..start + below(rng, most + 1)
}

fn flip(bytes: &mut [u8], rng: &mut ChaCha20Rng) {
    if !bytes.is_empty() {
        let at = below(rng, bytes.len());
        bytes[at] ^= 1 << below(rng, 8);
    }
}

fn set_byte(bytes: &mut [u8], rng: &mut ChaCha20Rng) {
    if !bytes.is_empty() {
        let at = below(rng, bytes.len());
        bytes[at] = [0, 1, 0x7f, 0x80, 0xff, rng.next_u32() as u8][below(rng, 6)];
    }
}

fn insert(bytes: &mut Vec<u8>, piece: &[u8], rng: &mut ChaCha20Rng) {
    let at = below(rng, bytes.len() + 1);
    bytes.splice(at..at, piece.iter().copied());
}

fn duplicate(bytes: &mut Vec<u8>, rng: &mut ChaCha20Rng) {
    let piece = bytes[range(bytes.len(), rng)].to_vec();
    insert(bytes, &piece, rng);
}

/// A short piece, many times over: nesting, and lists that are too long.
fn repeat(bytes: &mut Vec<u8>, rng: &mut ChaCha20Rng) {
    let piece = range(bytes.len(), rng);
    let piece = piece.start..piece.end.min(piece.start + 16);
    let many = bytes[piece.clone()].repeat(1 << below(rng, 9));
    bytes.splice(piece.end..piece.end, many);
}

/// The begin of this input and the end of another.
fn splice(bytes: &mut Vec<u8>, corpus: &[Input], rng: &mut ChaCha20Rng) {
    let other = &corpus[below(rng, corpus.len())].bytes;
    bytes.truncate(below(rng, bytes.len() + 1));
    bytes.extend(&other[below(rng, other.len() + 1)..]);
}

/// A number of 1 to 8 bytes, in either order: a little off, or at an end of its range.
fn edit_length(bytes: &mut [u8], rng: &mut ChaCha20Rng) {
    let width = 1 << below(rng, 4);
    if bytes.len() < width {
        return;
    }
    let at = below(rng, bytes.len() - width + 1);
    let field = &mut bytes[at..at + width];
    let big_endian = below(rng, 2) == 1;
    if big_endian {
        field.reverse();
    }
    let mut number = [0; 8];
    number[..width].copy_from_slice(field);
    let number = u64::from_le_bytes(number);
    let edited = match below(rng, 7) {
        0 => number.wrapping_add(1),
        1 => number.wrapping_sub(1),
        2 => number.wrapping_mul(2),
        3 => number.wrapping_add(1 << below(rng, 32)),
        4 => 0,
        5 => u64::MAX >> 1 >> (64 - 8 * width),
        _ => u64::MAX,
    };
    field.copy_from_slice(&edited.to_le_bytes()[..width]);
    if big_endian {
        field.reverse();
    }
}

/// A number in text.
fn edit_number(bytes: &mut Vec<u8>, rng: &mut ChaCha20Rng) {
    let from = below(rng, bytes.len() + 1);
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = bytes[from..].iter().position(is_digit) else {
        return;
    };
    let start = from + start;
    let digits = bytes[start..]
        .iter()
        .take_while(|byte| is_digit(byte))
        .count();
    let number = NUMBERS[below(rng, NUMBERS.len())].bytes();
    bytes.splice(start..start + digits, number);
}
