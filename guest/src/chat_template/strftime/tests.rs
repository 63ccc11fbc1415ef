use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Dates, each with formats and what CPython 3.11 on glibc 2.36 makes of them.
const PYTHON: &str = include_str!("python.json");

#[test]
fn as_python_writes_it() {
    let golden: Vec<(String, BTreeMap<String, String>)> = serde_json::from_str(PYTHON).unwrap();
    let mut compared = 0;
    for (date, formats) in &golden {
        for (format, expected) in formats {
            let now = date.parse().unwrap();
            assert_eq!(
                strftime(now, format).as_ref(),
                Ok(expected),
                "{date}, {format:?}"
            );
            compared += 1;
        }
    }
    assert!(compared > 800, "{compared}");
}

fn fails(format: &str) -> String {
    let now = "2026-07-26T14:30:05".parse().unwrap();
    strftime(now, format).unwrap_err().to_string()
}

#[test]
fn what_is_not_supported_is_named() {
    for (format, named) in [
        ("%Q", "%Q"),
        ("a%-", "%-"),
        ("%", "%,"),
        ("%s", "%s"),
        ("%5d", "%5"),
        ("%_f", "%_f"),
        ("%-z", "%-z"),
        ("%é", "%é"),
        ("%Ey", "%E"),
    ] {
        let error = fails(format);
        assert!(error.contains(named), "{error}");
    }
    assert!(fails(&"x".repeat(MAX_FORMAT_BYTES + 1)).contains("257 bytes"));
}

fn dates() -> impl Strategy<Value = DateTime> {
    let date = (1000..=9999_u16, 1..=12_u8, 1..=31_u8);
    let time = (0..24_u8, 0..60_u8, 0..60_u8);
    (date, time).prop_filter_map("a real one", |(date, time)| DateTime::new(date, time).ok())
}

proptest! {
    #[test]
    fn no_format_panics_or_grows_much(now in dates(), format in "(%[-_0^#]{0,2}[ -~é]|[a-z%]){0,80}") {
        if let Ok(text) = strftime(now, &format) {
            prop_assert!(text.len() <= 24 * MAX_FORMAT_BYTES);
        }
    }

    /// A date's parts can be read back.
    #[test]
    fn a_date_is_written_as_it_is(now in dates()) {
        let text = strftime(now, "%Y-%m-%dT%H:%M:%S").unwrap();
        prop_assert_eq!(text, now.to_string());
    }
}
