//! Points in time, UTC, to the second; and what the clock on the wall shows.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{Datelike, Timelike};
use der::DateTime;
use talaria_wire::channel::message;

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The clock of this machine; the start of 1970 if the clock is before that, at which nothing is valid.
    pub fn now() -> Self {
        Self(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
        )
    }
}

/// The clock of this machine in its time zone, for chat templates. None before year 1000 and after 9999.
pub fn local_now() -> Option<message::DateTime> {
    let now = chrono::Local::now().naive_local();
    let date = (
        now.year().try_into().ok()?,
        now.month() as u8,
        now.day() as u8,
    );
    let time = (now.hour() as u8, now.minute() as u8, now.second() as u8);
    message::DateTime::new(date, time).ok()
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(Duration::from_secs(self.0)) {
            Ok(date) => date.fmt(f),
            Err(_) => write!(f, "Unix time {}", self.0),
        }
    }
}

impl FromStr for UnixTime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(seconds) = text.parse() {
            return Ok(Self(seconds));
        }
        // DateTime reads this form only, but does not look at the length.
        const EXAMPLE: &str = "2026-01-31T12:00:00Z";
        DateTime::from_str(text)
            .ok()
            .filter(|_| text.len() == EXAMPLE.len())
            .map(|date| Self(date.unix_duration().as_secs()))
            .ok_or_else(|| format!("expected a time in UTC such as {EXAMPLE}, or Unix seconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let time = UnixTime(1_750_329_147);
        assert_eq!(time.to_string(), "2025-06-19T10:32:27Z");
        assert_eq!("2025-06-19T10:32:27Z".parse(), Ok(time));
        assert_eq!("1750329147".parse(), Ok(time));
        for wrong in ["", "2025-06-19", "2025-06-19T10:32:27+01:00", "-1"] {
            assert!(wrong.parse::<UnixTime>().is_err(), "{wrong}");
        }
    }
}
