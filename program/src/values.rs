//! Values of flags: what is wrong says what was expected.

use std::ops::{Bound, RangeBounds, RangeInclusive};

use clap::builder::{RangedU64ValueParser, TypedValueParser};

/// A finite number in a range.
pub fn number(
    range: impl RangeBounds<f32> + Clone + Send + Sync + 'static,
) -> impl Fn(&str) -> Result<f32, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse::<f32>() {
        Ok(number) if number.is_finite() && range.contains(&number) => Ok(number),
        _ => Err(format!("expected {}", in_words(&range))),
    }
}

/// A range of numbers, as it stands in an error.
pub fn in_words(range: &impl RangeBounds<f32>) -> String {
    let from = match range.start_bound() {
        Bound::Included(least) => format!(" from {least}"),
        Bound::Excluded(least) => format!(" above {least}"),
        Bound::Unbounded => String::new(),
    };
    let to = match range.end_bound() {
        Bound::Included(most) => format!(" to {most}"),
        Bound::Excluded(most) => format!(" below {most}"),
        Bound::Unbounded => String::new(),
    };
    format!("a number{from}{to}")
}

/// Above 0, at most 1.
pub const FRACTION: (Bound<f32>, Bound<f32>) = (Bound::Excluded(0.0), Bound::Included(1.0));

/// Above 0.
pub const POSITIVE: (Bound<f32>, Bound<f32>) = (Bound::Excluded(0.0), Bound::Unbounded);

/// How many of something.
pub fn count(range: RangeInclusive<u64>) -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<usize>::new().range(range)
}

/// A text with something in it.
///
/// # Errors
/// It is empty.
pub fn not_empty(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("it is empty: give some text".into()),
        false => Ok(text.to_owned()),
    }
}

/// 32 bytes: a digest or a seed.
///
/// # Errors
/// Anything but 64 hexadecimal digits.
pub fn bytes(text: &str) -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    let found = text.chars().count();
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| format!("expected 64 hexadecimal digits, found {found} characters"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_their_range_or_refused_in_words() {
        let parsed = |text| number(FRACTION)(text);
        assert_eq!(parsed("0.5"), Ok(0.5));
        for text in ["0", "1.1", "nan", "x"] {
            assert_eq!(parsed(text), Err("expected a number above 0 to 1".into()));
        }
        assert_eq!(
            number(0.0..)("1e99"),
            Err("expected a number from 0".into())
        );
        assert_eq!(number(-2.0..=2.0)("-2"), Ok(-2.0));
    }

    #[test]
    fn bytes_have_64_digits() {
        assert_eq!(bytes(&"ab".repeat(32)), Ok([0xab; 32]));
        assert!(bytes("abcd").unwrap_err().contains("found 4"));
        assert!(bytes(&"xy".repeat(32)).is_err());
    }
}
