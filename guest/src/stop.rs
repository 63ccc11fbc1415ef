//! Stop strings on streamed text.
//!
//! A reply ends before the first stop string that becomes complete in it; where several become complete
//! with the same byte, before the longest. This does not depend on how the text was cut into
//! pieces. Text that may still turn out to begin a stop string is held back, never more than the
//! longest stop string less one byte.
//!
//! Each stop string is followed by a Knuth-Morris-Pratt automaton: a constant number of operations
//! for each byte and stop string, amortised, whatever the strings are.

use talaria_wire::channel::message::MAX_STOP_STRINGS;
use thiserror::Error;
use zeroize::Zeroizing;

/// Most bytes of one stop string.
pub const MAX_STOP_STRING_BYTES: usize = 1024;

/// Why stop strings were refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StopError {
    /// A request with more than [`MAX_STOP_STRINGS`].
    #[error("{found} stop strings, at most {MAX_STOP_STRINGS} are possible: leave some out")]
    TooMany {
        /// How many came.
        found: usize,
    },
    /// A stop string longer than [`MAX_STOP_STRING_BYTES`].
    #[error(
        "stop string {index} has {found} bytes, at most {MAX_STOP_STRING_BYTES} are possible: shorten it"
    )]
    TooLong {
        /// Which one, from 0.
        index: usize,
        /// Its bytes.
        found: usize,
    },
    /// A stop string without a character would end every reply before it begins.
    #[error("stop string {index} is empty: leave it out")]
    Empty {
        /// Which one, from 0.
        index: usize,
    },
}

/// What came of a piece of text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    /// Text that no stop string can be part of any more.
    pub text: String,
    /// A stop string is complete: the reply ends after `text`.
    pub hit: bool,
}

/// Watches the text of one reply for stop strings.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    patterns: Vec<Pattern>,
    /// The end of the text so far, which may begin a stop string.
    held: Zeroizing<String>,
    hit: bool,
}

impl StopStrings {
    /// # Errors
    /// Too many stop strings, an empty one, or one that is too long.
    pub fn new<S: AsRef<str>>(stops: &[S]) -> Result<StopStrings, StopError> {
        if stops.len() > MAX_STOP_STRINGS {
            return Err(StopError::TooMany { found: stops.len() });
        }
        let patterns = stops.iter().enumerate();
        Ok(StopStrings {
            patterns: patterns
                .map(|(index, stop)| Pattern::new(index, stop.as_ref()))
                .collect::<Result<_, _>>()?,
            ..StopStrings::default()
        })
    }

    /// Takes the next piece of the reply. After a hit nothing passes any more.
    pub fn push(&mut self, piece: &str) -> Passed {
        if self.hit {
            return Passed::default();
        }
        let scanned = self.held.len();
        self.held.push_str(piece);
        for (at, byte) in piece.bytes().enumerate() {
            if let Some(length) = self.advance(byte) {
                return self.cut(scanned + at + 1 - length);
            }
        }
        let keep = self.patterns.iter().map(|p| p.matched).max().unwrap_or(0);
        let at = self.held.len() - keep;
        let rest = self.held.split_off(at);
        Passed {
            text: core::mem::replace(&mut *self.held, rest),
            hit: false,
        }
    }

    /// The reply is complete: what was held back was no stop string after all.
    pub fn finish(&mut self) -> String {
        self.patterns.iter_mut().for_each(|p| p.matched = 0);
        core::mem::take(&mut *self.held)
    }

    /// Length of the longest stop string that ends with this byte.
    fn advance(&mut self, byte: u8) -> Option<usize> {
        let complete = self.patterns.iter_mut().filter_map(|p| p.advance(byte));
        complete.max()
    }

    fn cut(&mut self, start: usize) -> Passed {
        self.hit = true;
        let mut text = core::mem::take(&mut *self.held);
        text.truncate(start);
        Passed { text, hit: true }
    }
}

/// One stop string and how much of it the text ends with. A match starts with the first byte of the stop
/// string, so always at a character's first byte.
#[derive(Debug, Clone)]
struct Pattern {
    bytes: Zeroizing<Box<[u8]>>,
    /// `borders[i]`: length of the longest proper prefix of `bytes` that `bytes[..=i]` ends with.
    borders: Box<[usize]>,
    /// Bytes of the longest prefix that the text ends with, less than all.
    matched: usize,
}

impl Pattern {
    fn new(index: usize, stop: &str) -> Result<Pattern, StopError> {
        let found = stop.len();
        if found == 0 {
            return Err(StopError::Empty { index });
        }
        if found > MAX_STOP_STRING_BYTES {
            return Err(StopError::TooLong { index, found });
        }
        let mut pattern = Pattern {
            bytes: Zeroizing::new(stop.as_bytes().into()),
            borders: vec![0; found].into(),
            matched: 0,
        };
        for i in 1..found {
            pattern.matched = pattern.longer(pattern.bytes[i]);
            pattern.borders[i] = pattern.matched;
        }
        pattern.matched = 0;
        Ok(pattern)
    }

    /// The length of the stop string if it ends with this byte.
    fn advance(&mut self, byte: u8) -> Option<usize> {
        self.matched = self.longer(byte);
        let length = self.bytes.len();
        if self.matched < length {
            return None;
        }
        self.matched = self.borders[length - 1];
        Some(length)
    }

    /// Length of the longest prefix that the text ends with once `byte` follows.
    fn longer(&self, byte: u8) -> usize {
        let mut length = self.matched;
        while length > 0 && self.bytes[length] != byte {
            length = self.borders[length - 1];
        }
        length + usize::from(self.bytes[length] == byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where the reply ends, by search over the whole text.
    fn naive(text: &str, stops: &[String]) -> Option<usize> {
        let found = stops
            .iter()
            .filter_map(|stop| text.find(stop.as_str()).map(|at| (at + stop.len(), at)));
        found.min().map(|(_, start)| start)
    }

    fn stream(pieces: &[&str], stops: &[String]) -> (String, bool) {
        let mut matcher = StopStrings::new(stops).unwrap();
        let mut out = String::new();
        let mut hit = false;
        for piece in pieces {
            let passed = matcher.push(piece);
            assert!(!hit || passed == Passed::default(), "text after a hit");
            out.push_str(&passed.text);
            hit |= passed.hit;
        }
        out.push_str(&matcher.finish());
        (out, hit)
    }

    fn split<'a>(text: &'a str, cuts: &[prop::sample::Index]) -> Vec<&'a str> {
        let boundaries: Vec<usize> = (0..=text.len())
            .filter(|&i| text.is_char_boundary(i))
            .collect();
        let mut at: Vec<usize> = cuts
            .iter()
            .map(|c| boundaries[c.index(boundaries.len())])
            .collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        at.windows(2).map(|w| &text[w[0]..w[1]]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        /// Few different characters, so that prefixes, overlaps and near misses abound; two of them
        /// share a first byte.
        #[test]
        fn agrees_with_search_over_the_whole_text(
            text in "[abéè]{0,40}",
            stops in prop::collection::vec("[abéè]{1,6}", 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let pieces = split(&text, &cuts);
            let expected = naive(&text, &stops);
            let (out, hit) = stream(&pieces, &stops);
            prop_assert_eq!(hit, expected.is_some());
            prop_assert_eq!(out.as_str(), &text[..expected.unwrap_or(text.len())]);
        }

        #[test]
        fn nothing_is_held_that_cannot_begin_a_stop_string(
            text in "[ab ]{0,40}",
            stops in prop::collection::vec("[ab]{1,6}", 1..4),
        ) {
            if naive(&text, &stops).is_some() {
                return Ok(());
            }
            let mut matcher = StopStrings::new(&stops).unwrap();
            let passed = matcher.push(&text).text;
            let begins = |held: &str| stops.iter().any(|stop| stop.starts_with(held));
            let longest = (0..=text.len()).rev().find(|&n| begins(&text[text.len() - n..]));
            prop_assert_eq!(text.len() - passed.len(), longest.unwrap());
        }
    }

    #[test]
    fn the_first_complete_one_ends_the_reply_the_longest_if_there_are_two() {
        let stops = |s: &[&str]| s.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            stream(&["xabcd"], &stops(&["abcd", "bc"])),
            ("xa".into(), true)
        );
        assert_eq!(
            stream(&["xab", "cd"], &stops(&["bcd", "abcd"])),
            ("x".into(), true)
        );
        assert_eq!(
            stream(&["\n", "\nUs", "er"], &stops(&["\nUser:"])),
            ("\n\nUser".into(), false)
        );
        assert_eq!(
            stream(&["aaa", "ab"], &stops(&["aab"])),
            ("aa".into(), true)
        );
    }

    #[test]
    fn limits_are_refused_with_what_to_do() {
        let long = "x".repeat(MAX_STOP_STRING_BYTES + 1);
        assert!(StopStrings::new(&[&long[1..]]).is_ok());
        let refused = |stops: &[&str]| StopStrings::new(stops).unwrap_err();
        assert_eq!(refused(&["a", ""]), StopError::Empty { index: 1 });
        assert_eq!(
            refused(&[&long]),
            StopError::TooLong {
                index: 0,
                found: 1025
            }
        );
        assert_eq!(refused(&["a"; 17]), StopError::TooMany { found: 17 });
    }
}
