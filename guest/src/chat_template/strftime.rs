//! `strftime_now(format)` of transformers, `datetime.now().strftime(format)`, at the date and time that the request
//! says: the payload has no clock.
//!
//! As CPython and glibc write it in the C locale. A date and time without a zone has an empty `%z` and `%Z`; it is to
//! the second, so `%f` is zeros. What depends on more than that (`%s`), widths, and what is no directive are errors:
//! nothing is printed that another machine would print differently.

use minijinja::{Error, ErrorKind, Value};
use talaria_wire::channel::message::DateTime;

/// Most bytes of a format: those in use have about 20. So a result has at most a few kilobytes.
pub const MAX_FORMAT_BYTES: usize = 256;

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Why a format cannot be written. Quotes the template at most.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Longer than [`MAX_FORMAT_BYTES`].
    #[error("the format of strftime_now has {0} bytes, at most {MAX_FORMAT_BYTES} are possible")]
    TooLong(usize),
    /// What stands after a `%`.
    #[error(
        "the format of strftime_now has %{0}, which is not supported: use the directives of Python's datetime"
    )]
    Directive(String),
}

/// The function that a template calls.
pub(super) fn function(now: DateTime) -> Value {
    Value::from_function(move |format: &str| {
        strftime(now, format).map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))
    })
}

/// Writes `now` as `format` says.
///
/// # Errors
/// The format is too long, or has a directive that is not supported.
pub fn strftime(now: DateTime, format: &str) -> Result<String, FormatError> {
    if format.len() > MAX_FORMAT_BYTES {
        return Err(FormatError::TooLong(format.len()));
    }
    let mut out = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let flags = after.len() - after.trim_start_matches(['-', '_', '0', '^', '#']).len();
        let (flags, after) = after.split_at(flags);
        let end = after.chars().next().map_or(0, char::len_utf8);
        let (directive, after) = after.split_at(end);
        // Python writes these itself, without flags.
        let is_plain = flags.is_empty() || !matches!(directive, "f" | "z" | "Z");
        match field(now, directive) {
            Some(field) if is_plain => field.write(flags, now, &mut out)?,
            _ => return Err(FormatError::Directive(format!("{flags}{directive}"))),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// What a directive stands for.
enum Field {
    /// Padded to so many digits, with zeros or with spaces.
    Number(u32, usize, char),
    /// As it is, whatever the flags.
    Fixed(&'static str),
    Text(&'static str),
    /// A text that the flag `#` makes small and not large.
    Half(&'static str),
    /// Several directives.
    Format(&'static str),
}

fn field(now: DateTime, directive: &str) -> Option<Field> {
    use Field::{Fixed, Format, Half, Number, Text};
    let zeros = |number: u32, digits| Number(number, digits, '0');
    let year = u32::from(now.year());
    let month = usize::from(now.month() - 1);
    let (weekday, day_of_year) = (weekday(now), day_of_year(now));
    // Of the clock with twelve hours.
    let hour = u32::from(now.hour() + 11) % 12 + 1;
    let afternoon = usize::from(now.hour() >= 12);
    Some(match directive {
        "a" => Text(&WEEKDAYS[weekday as usize][..3]),
        "A" => Text(WEEKDAYS[weekday as usize]),
        "b" | "h" => Text(&MONTHS[month][..3]),
        "B" => Text(MONTHS[month]),
        "c" => Format("%a %b %e %H:%M:%S %Y"),
        "C" => zeros(year / 100, 2),
        "d" => zeros(now.day().into(), 2),
        "D" | "x" => Format("%m/%d/%y"),
        "e" => Number(now.day().into(), 2, ' '),
        "f" => Fixed("000000"),
        "F" => Format("%Y-%m-%d"),
        "g" => zeros(iso_week(now).0 % 100, 2),
        "G" => zeros(iso_week(now).0, 4),
        "H" => zeros(now.hour().into(), 2),
        "I" => zeros(hour, 2),
        "j" => zeros(day_of_year + 1, 3),
        "k" => Number(now.hour().into(), 2, ' '),
        "l" => Number(hour, 2, ' '),
        "m" => zeros(now.month().into(), 2),
        "M" => zeros(now.minute().into(), 2),
        "n" => Fixed("\n"),
        "p" => Half(["AM", "PM"][afternoon]),
        "P" => Fixed(["am", "pm"][afternoon]),
        "r" => Format("%I:%M:%S %p"),
        "R" => Format("%H:%M"),
        "S" => zeros(now.second().into(), 2),
        "t" => Fixed("\t"),
        "T" | "X" => Format("%H:%M:%S"),
        "u" => zeros((weekday + 6) % 7 + 1, 1),
        // Weeks that begin on Sunday, and on Monday; days before the first are in week 0.
        "U" => zeros((day_of_year + 7 - weekday) / 7, 2),
        "V" => zeros(iso_week(now).1, 2),
        "w" => zeros(weekday, 1),
        "W" => zeros((day_of_year + 7 - (weekday + 6) % 7) / 7, 2),
        "y" => zeros(year % 100, 2),
        "Y" => zeros(year, 4),
        "z" | "Z" => Fixed(""),
        "%" => Fixed("%"),
        _ => return None,
    })
}

impl Field {
    /// `flags`, of which the last wins: `-` pads nothing, `_` with spaces, `0` with zeros; `^` makes letters large, `#`
    /// does or undoes it.
    fn write(self, flags: &str, now: DateTime, out: &mut String) -> Result<(), FormatError> {
        let large = flags.contains(['^', '#']);
        match self {
            Self::Number(number, digits, pad) => {
                let pad = flags
                    .chars()
                    .rfind(|flag| "-_0".contains(*flag))
                    .unwrap_or(pad);
                let number = number.to_string();
                let missing = digits.saturating_sub(number.len());
                match pad {
                    '-' => {}
                    '0' => out.extend(std::iter::repeat_n('0', missing)),
                    _ => out.extend(std::iter::repeat_n(' ', missing)),
                }
                out.push_str(&number);
            }
            Self::Fixed(text) => out.push_str(text),
            Self::Half(text) if flags.contains('#') => out.push_str(&text.to_ascii_lowercase()),
            Self::Text(text) | Self::Half(text) if large => {
                out.push_str(&text.to_ascii_uppercase())
            }
            Self::Text(text) | Self::Half(text) => out.push_str(text),
            Self::Format(format) if flags.contains('^') => {
                out.push_str(&strftime(now, format)?.to_ascii_uppercase());
            }
            Self::Format(format) => out.push_str(&strftime(now, format)?),
        }
        Ok(())
    }
}

/// Days from the beginning of the year, 0 to 365.
fn day_of_year(now: DateTime) -> u32 {
    const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_day = u32::from(DateTime::is_leap(now.year()) && now.month() > 2);
    BEFORE[usize::from(now.month() - 1)] + leap_day + u32::from(now.day()) - 1
}

/// 0: Sunday.
fn weekday(now: DateTime) -> u32 {
    (first_weekday(now.year().into()) + day_of_year(now)) % 7
}

/// Of 1 January: 1 January of year 1 was a Monday, and a year moves it by a day, a leap year by two.
fn first_weekday(year: u32) -> u32 {
    let before = year - 1;
    (1 + before + before / 4 - before / 100 + before / 400) % 7
}

/// Year and week of ISO 8601: weeks begin on Monday, the first has the year's first Thursday.
fn iso_week(now: DateTime) -> (u32, u32) {
    let days_of = |year| 365 + u32::from(DateTime::is_leap(year));
    let year = now.year();
    // This week's Thursday, in days from the beginning of the year before.
    let before = days_of(year - 1);
    let thursday = before + day_of_year(now) + 3 - (weekday(now) + 6) % 7;
    let (year, day) = match thursday {
        day if day < before => (year - 1, day),
        day if day < before + days_of(year) => (year, day - before),
        _ => (year + 1, 0),
    };
    (year.into(), day / 7 + 1)
}

#[cfg(test)]
mod tests;
