//! Values and texts as Python has them, where the template engine differs.

use super::json;
use super::objects::{Generator, Range, View};
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// Deepest nesting of a value that is printed.
const MAX_DEPTH: usize = 64;

/// `str(value)`.
///
/// # Errors
/// Something that Python prints by its address.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(String::new()),
        ValueKind::String | ValueKind::Plain => Ok(value.to_string()),
        _ => {
            let mut out = String::new();
            write_repr(value, 0, &mut out)?;
            Ok(out)
        }
    }
}

/// `repr(value)`.
///
/// # Errors
/// As [`text`].
pub(super) fn repr(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write_repr(value, 0, &mut out)?;
    Ok(out)
}

fn write_repr(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(invalid("a value is nested too deep to be printed"));
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Map
            if ["Namespace", "Macro", "Loop"]
                .iter()
                .any(|name| json::is_a(value, name)) =>
        {
            return Err(invalid("cannot print a namespace, a macro or a loop"));
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in value.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_repr(&key, depth + 1, out)?;
                out.push_str(": ");
                write_repr(&value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => return write_items(value, depth, out),
        _ => return Err(invalid(&format!("cannot print a {}", value.kind()))),
    }
    Ok(())
}

fn write_items(value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    if value.downcast_object_ref::<Generator>().is_some() {
        return Err(invalid("cannot print a generator: make a list of it"));
    }
    if let Some(range) = value.downcast_object_ref::<Range>() {
        out.push_str(&range.to_string());
        return Ok(());
    }
    let is_tuple =
        value.downcast_object_ref::<Tuple>().is_some() || json::is_a(value, "GroupTuple");
    let (open, close) = match value.downcast_object_ref::<View>() {
        Some(view) => (view.open(), "])"),
        None if is_tuple => ("(", ")"),
        None => ("[", "]"),
    };
    out.push_str(open);
    for (i, item) in value.try_iter()?.enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        write_repr(&item, depth + 1, out)?;
    }
    if is_tuple && value.len() == Some(1) {
        out.push(',');
    }
    out.push_str(close);
    Ok(())
}

/// `repr` of an int or a float.
pub(super) fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => self::float(float),
        _ => value.to_string(),
    }
}

/// The fewest digits that give the same float, with an exponent from 16 digits on.
pub(super) fn float(float: f64) -> String {
    if !float.is_finite() {
        let sign = if float < 0.0 { "-" } else { "" };
        return if float.is_nan() {
            "nan".into()
        } else {
            format!("{sign}inf")
        };
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..16 => format!("{float:?}"),
        exponent => format!(
            "{digits}e{}{:02}",
            if exponent < 0 { '-' } else { '+' },
            exponent.abs()
        ),
    }
}

/// `repr` of a str.
fn quote(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c => out.push_str(&match u32::from(c) {
                code @ ..0x100 => format!("\\x{code:02x}"),
                code @ ..0x10000 => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    out.push(quote);
}

/// Not a control character, a separator (but the space), or one that stands for no character.
fn is_printable(c: char) -> bool {
    static HIDDEN: std::sync::LazyLock<fancy_regex::Regex> =
        std::sync::LazyLock::new(|| fancy_regex::Regex::new(r"^[\p{C}\p{Z}]").expect("a pattern"));
    c == ' ' || c.is_ascii_graphic() || !HIDDEN.is_match(c.encode_utf8(&mut [0; 4])).unwrap_or(true)
}

/// `str.isspace` of one character.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// `str.isdigit` of one character: decimal digits, and superscripts and the like.
pub(super) fn is_digit(c: char) -> bool {
    const OTHERS: [(u32, u32); 20] = [
        (0xb2, 0xb3),
        (0xb9, 0xb9),
        (0x1369, 0x1371),
        (0x19da, 0x19da),
        (0x2070, 0x2070),
        (0x2074, 0x2079),
        (0x2080, 0x2089),
        (0x2460, 0x2468),
        (0x2474, 0x247c),
        (0x2488, 0x2490),
        (0x24ea, 0x24ea),
        (0x24f5, 0x24fd),
        (0x24ff, 0x24ff),
        (0x2776, 0x277e),
        (0x2780, 0x2788),
        (0x278a, 0x2792),
        (0x10a40, 0x10a43),
        (0x10e60, 0x10e68),
        (0x11052, 0x1105a),
        (0x1f100, 0x1f10a),
    ];
    let code = u32::from(c);
    is_category(c, "Nd")
        || OTHERS
            .iter()
            .any(|&(first, last)| (first..=last).contains(&code))
}

/// Of a category of Unicode, `L`, `N` or `Nd`.
pub(super) fn is_category(c: char, name: &str) -> bool {
    use fancy_regex::Regex;
    static CATEGORIES: std::sync::LazyLock<[Regex; 3]> = std::sync::LazyLock::new(|| {
        [r"^\p{L}", r"^\p{N}", r"^\p{Nd}"].map(|pattern| Regex::new(pattern).expect("a pattern"))
    });
    if c.is_ascii() {
        return if name == "L" {
            c.is_ascii_alphabetic()
        } else {
            c.is_ascii_digit()
        };
    }
    let at = ["L", "N", "Nd"]
        .iter()
        .position(|known| *known == name)
        .unwrap_or(0);
    CATEGORIES[at]
        .is_match(c.encode_utf8(&mut [0; 4]))
        .unwrap_or(false)
}

/// Of a word: `\w`.
pub(super) fn is_word(c: char) -> bool {
    c == '_' || is_category(c, "L") || is_category(c, "N")
}

/// `str.splitlines`.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    let ends = |c| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    while !rest.is_empty() {
        let end = rest.find(ends).unwrap_or(rest.len());
        let after = &rest[end..];
        let length = match after.chars().next() {
            Some('\r') if after.starts_with("\r\n") => 2,
            Some(c) => c.len_utf8(),
            None => 0,
        };
        lines.push(&rest[..end + if keep_ends { length } else { 0 }]);
        rest = &rest[end + length..];
    }
    lines
}

/// `str.title`: the first of each run of letters in title case, the others in lower case.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within = false;
    for c in text.chars() {
        match within {
            true => out.extend(c.to_lowercase()),
            false => push_title(c, &mut out),
        }
        within = c.is_lowercase() || c.is_uppercase() || is_digraph(c);
    }
    out
}

/// `str.capitalize`.
pub(super) fn capitalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    if let Some(first) = chars.next() {
        push_title(first, &mut out);
    }
    out + &chars.as_str().to_lowercase()
}

fn push_title(c: char, out: &mut String) {
    match u32::from(c) {
        // The digraphs that have a title case of their own are between its other two.
        code @ (0x1c4..=0x1cc | 0x1f1..=0x1f3) => {
            let middle = if code >= 0x1f1 {
                0x1f2
            } else {
                (code - 0x1c4) / 3 * 3 + 0x1c5
            };
            out.extend(char::from_u32(middle));
        }
        _ => {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            out.extend(upper.flat_map(char::to_lowercase));
        }
    }
}

fn is_digraph(c: char) -> bool {
    matches!(c, '\u{1c4}'..='\u{1cc}' | '\u{1f1}'..='\u{1f3}')
}

/// A text in the middle (`None`: the left or right) of so many characters. As CPython, an odd rest goes to the left of
/// an odd width.
pub(super) fn centered(text: &str, width: usize, fill: char) -> String {
    let rest = width.saturating_sub(text.chars().count());
    let left = rest / 2 + (rest & width & 1);
    let fill = |n: usize| String::from_iter(std::iter::repeat_n(fill, n));
    format!("{}{text}{}", fill(left), fill(rest - left))
}

pub(super) fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.to_owned())
}
