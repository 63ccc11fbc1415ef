//! What Python's `json.loads` makes of each text (3.11; `\ufffd` for what no UTF-8 can say), or that it is JSON unchanged.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{normal, parse, value};

#[track_caller]
fn check(text: &str, expected: Value) {
    assert_eq!(
        value("a.json", text.as_bytes()).unwrap(),
        expected,
        "{text}"
    );
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let error = value("a.json", text.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("a.json") && error.contains(expected),
        "{error}"
    );
}

#[test]
fn strict_json_stays_as_it_is() {
    for text in [
        "",
        " { } ",
        r#"{"a": [1, -2.5e-3, true, null, "NaN \" \\", "\u00e4\ud83d\ude00\n"]}"#,
        r#"["-Infinity", "1e999", "\\ud800"]"#,
        "[1e308, 0.000, 1E+5]",
        "{\"unfinished\": \"\\",
        "\"\\u12",
        "nul",
    ] {
        assert_eq!(normal(text.as_bytes()), text.as_bytes(), "{text}");
    }
}

#[test]
fn numbers_that_are_not_finite() {
    check(
        r#"{"a": NaN, "b": [Infinity,-Infinity], "c": 1e999, "d": -1E999}"#,
        json!({"a": "NaN", "b": ["Infinity", "-Infinity"], "c": "Infinity", "d": "-Infinity"}),
    );
    let digits = format!("[{}]", "9".repeat(400));
    check(&digits, json!(["Infinity"]));
    check(
        "[1e-999, 1000000000000000019884624838656]",
        json!([0, 1000000000000000019884624838656f64]),
    );
    check_refused("[nan]", "does not parse");
    check_refused("[+Infinity]", "does not parse");
    check_refused("[infe5]", "does not parse");
}

#[test]
fn half_a_surrogate_pair() {
    check(
        r#"["\ud83d", "\ude00x", "\uD83D\u0041", "\ud83d\ud83d\ude00"]"#,
        json!(["\u{fffd}", "\u{fffd}x", "\u{fffd}A", "\u{fffd}\u{1f600}"]),
    );
}

#[test]
fn of_a_key_twice_the_last_counts() {
    check(
        r#"{"a": 1, "b": 2, "a": {"c": 3, "c": 4}}"#,
        json!({"a": {"c": 4}, "b": 2}),
    );
}

#[test]
fn byte_order_mark() {
    check("\u{feff}{\"a\": 1}", json!({"a": 1}));
    check_refused("\u{feff}\u{feff}{}", "does not parse");
}

#[test]
fn floats_of_integral_value() {
    check("[50.0, -1.0, 1e3, 2.5, 0.0]", json!([50, -1, 1000, 2.5, 0]));
    check("[1e30]", json!([1e30]));
}

#[test]
fn what_python_refuses_too() {
    for text in [
        "{'a': 1}",
        "[1,]",
        "{\"a\": 1",
        "[01]",
        "[1.]",
        "\"\n\"",
        "{} {}",
        "// a\n{}",
    ] {
        check_refused(text, "does not parse");
    }
    check_refused(&"[".repeat(100_000), "recursion limit");
}

#[test]
fn errors_name_the_key() {
    #[derive(Debug, Deserialize)]
    struct Keys {
        #[allow(dead_code, reason = "only parsed")]
        inner: Vec<f32>,
    }
    let error = parse::<Keys>("a.json", br#"{"inner": [1, NaN]}"#)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("inner[1]") && error.contains("\"NaN\""),
        "{error}"
    );
}
