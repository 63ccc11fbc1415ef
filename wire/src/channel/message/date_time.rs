//! Date and time as the client's clock shows them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A civil date and time (Gregorian, no zone): what Python's `datetime.now()` is, to the second. Only real ones can be
/// made, also from bytes: year 1000 to 9999, so that a year has four digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct DateTime(Parts);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

/// There is no such date or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no date and time: expected one such as 2026-07-26 or 2026-07-26T14:30:05, from year 1000 to 9999"
)]
pub struct NoDateTime;

impl DateTime {
    /// From year, month and day, and hour, minute and second.
    ///
    /// # Errors
    /// If no calendar or clock shows it.
    pub fn new(
        (year, month, day): (u16, u8, u8),
        (hour, minute, second): (u8, u8, u8),
    ) -> Result<Self, NoDateTime> {
        Self::try_from(Parts {
            year,
            month,
            day,
            hour,
            minute,
            second,
        })
    }

    /// Whether February of a year has 29 days.
    pub fn is_leap(year: u16) -> bool {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    }

    /// 1000 to 9999.
    pub fn year(self) -> u16 {
        self.0.year
    }

    /// 1 to 12.
    pub fn month(self) -> u8 {
        self.0.month
    }

    /// 1 to 31.
    pub fn day(self) -> u8 {
        self.0.day
    }

    /// 0 to 23.
    pub fn hour(self) -> u8 {
        self.0.hour
    }

    /// 0 to 59.
    pub fn minute(self) -> u8 {
        self.0.minute
    }

    /// 0 to 59.
    pub fn second(self) -> u8 {
        self.0.second
    }
}

impl TryFrom<Parts> for DateTime {
    type Error = NoDateTime;

    fn try_from(parts: Parts) -> Result<Self, NoDateTime> {
        let date = (1000..=9999).contains(&parts.year)
            && (1..=12).contains(&parts.month)
            && (1..=days_of(parts.year, parts.month)).contains(&parts.day);
        let time = parts.hour < 24 && parts.minute < 60 && parts.second < 60;
        (date && time).then_some(Self(parts)).ok_or(NoDateTime)
    }
}

impl From<DateTime> for Parts {
    fn from(date_time: DateTime) -> Self {
        date_time.0
    }
}

/// Days of a month, 1 to 12.
fn days_of(year: u16, month: u8) -> u8 {
    match month {
        2 if DateTime::is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `2026-07-26`, which begins at midnight, `2026-07-26T14:30` or `2026-07-26T14:30:05`.
impl FromStr for DateTime {
    type Err = NoDateTime;

    fn from_str(text: &str) -> Result<Self, NoDateTime> {
        let (date, time) = text.split_once('T').unwrap_or((text, "00:00"));
        let [year, month, day] = numbers(date, '-', [4, 2, 2]).ok_or(NoDateTime)?;
        let to_the_minute = || numbers(time, ':', [2, 2]).map(|[hour, minute]| [hour, minute, 0]);
        let time = numbers(time, ':', [2, 2, 2]).or_else(to_the_minute);
        // Two digits each.
        let [hour, minute, second] = time.ok_or(NoDateTime)?.map(|number| number as u8);
        Self::new((year, month as u8, day as u8), (hour, minute, second))
    }
}

/// Numbers of exactly so many digits.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[u16; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| plain)?;
    }
    parts.next().is_none().then_some(numbers)
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self.0;
        write!(
            f,
            "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_a_calendar_and_a_clock_show() {
        for (text, shown) in [
            ("2026-07-26", "2026-07-26T00:00:00"),
            ("2026-07-26T14:30", "2026-07-26T14:30:00"),
            ("2024-02-29T23:59:59", "2024-02-29T23:59:59"),
            ("2000-02-29", "2000-02-29T00:00:00"),
            ("1000-01-01", "1000-01-01T00:00:00"),
            ("9999-12-31", "9999-12-31T00:00:00"),
        ] {
            assert_eq!(text.parse::<DateTime>().unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "T",
            "2026",
            "2026-7-26",
            "2026-07-26T",
            "2026-07-26T14",
            "2026-07-26T14:30:05:00",
            "2026-07-26T14:30:5",
            "2026-07-26 14:30",
            "2026-07-26T14:30Z",
            "0999-12-31",
            "+999-12-31",
            "10000-01-01",
            "2026-00-01",
            "2026-13-01",
            "2026-01-00",
            "2026-04-31",
            "2026-02-29",
            "1900-02-29",
            "2026-07-26T24:00",
            "2026-07-26T00:60",
            "2026-07-26T23:59:60",
            "\u{0662}026-07-26",
        ] {
            assert_eq!(wrong.parse::<DateTime>(), Err(NoDateTime), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn bytes_make_only_real_ones(bytes in prop::collection::vec(any::<u8>(), 0..9)) {
            if let Ok((date_time, _)) = postcard::take_from_bytes::<DateTime>(&bytes) {
                prop_assert_eq!(date_time.to_string().parse(), Ok(date_time));
            }
        }
    }

    #[test]
    fn json_is_checked_too() {
        let date_time: DateTime = "2026-07-26T14:30:05".parse().unwrap();
        let json = serde_json::to_string(&date_time).unwrap();
        assert_eq!(serde_json::from_str::<DateTime>(&json).unwrap(), date_time);
        for (from, to) in [
            ("\"day\":26", "\"day\":32"),
            ("\"hour\":14", "\"hour\":24"),
            ("}", ",\"zone\":1}"),
        ] {
            let changed = json.replacen(from, to, 1);
            assert_ne!(changed, json);
            assert!(
                serde_json::from_str::<DateTime>(&changed).is_err(),
                "{changed}"
            );
        }
    }
}
