//! Filters and tests of Jinja2 (3.1), where the engine's are others or not there.

use super::arguments::Arguments;
use super::json::{self, Style};
use super::objects::{Cycler, Generator, Joiner, Range, View};
use super::python::{self, invalid};
use super::{methods, order, printf};
use minijinja::filters;
use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};
use std::borrow::Cow;

/// By position or by name.
type Args = Rest<ValueOrKwargs>;

/// Most characters of `tojson(indent=...)` for each level.
const MAX_INDENT: usize = 16;

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("string", string);
    environment.add_filter("join", join);
    environment.add_filter("trim", trim);
    environment.add_filter("capitalize", |value: &Value| {
        Ok::<_, Error>(python::capitalize(&python::text(value)?))
    });
    environment.add_filter("center", center);
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("indent", indent);
    environment.add_filter("escape", escape);
    environment.add_filter("e", escape);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("format", format);
    environment.add_filter(PERCENT, |text: &str, values: &Value| {
        printf::format(text, values)
    });
    environment.add_filter("tojson", tojson);
    environment.add_filter("attr", attr);
    environment.add_filter("replace", replace);
    environment.remove_filter("pprint");
    add_generators(environment);
    order::add(environment);
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_iterable);
    environment.add_test("mapping", |value: &Value| {
        value.kind() == ValueKind::Map && !json::is_namespace(value)
    });
    environment.add_test("callable", |value: &Value| {
        matches!(value.kind(), ValueKind::Plain | ValueKind::Undefined)
            || json::is_a(value, "Macro")
    });
    environment.add_function("range", range);
    environment.add_function("joiner", |separator: Option<Value>| {
        Value::from_object(Joiner::new(separator.unwrap_or_else(|| Value::from(", "))))
    });
    environment.add_function("cycler", |items: Rest<Value>| {
        Cycler::new(items.to_vec()).map(Value::from_object)
    });
}

/// Of a dict it is no item.
fn attr(value: &Value, name: &str) -> Result<Value, Error> {
    match ["Namespace", "Loop"]
        .iter()
        .any(|object| json::is_a(value, object))
    {
        true => value.get_attr(name),
        false => Ok(Value::UNDEFINED),
    }
}

/// What `'...' % values` is turned into.
pub(super) const PERCENT: &str = "percent";

/// Filters that give a generator.
fn add_generators(environment: &mut Environment<'static>) {
    fn generator(items: Vec<Value>) -> Value {
        Value::from_object(Generator(items))
    }
    environment.add_filter(
        "select",
        |state: &mut State, value: Value, test: Option<Cow<'_, str>>, args: Rest<_>| {
            filters::select(state, value, test, args).map(generator)
        },
    );
    environment.add_filter(
        "reject",
        |state: &mut State, value: Value, test: Option<Cow<'_, str>>, args: Rest<_>| {
            filters::reject(state, value, test, args).map(generator)
        },
    );
    environment.add_filter(
        "selectattr",
        |state: &mut State,
         value: Value,
         attr: Cow<'_, str>,
         test: Option<Cow<'_, str>>,
         args: Rest<_>| {
            filters::selectattr(state, value, attr, test, args).map(generator)
        },
    );
    environment.add_filter(
        "rejectattr",
        |state: &mut State,
         value: Value,
         attr: Cow<'_, str>,
         test: Option<Cow<'_, str>>,
         args: Rest<_>| {
            filters::rejectattr(state, value, attr, test, args).map(generator)
        },
    );
    environment.add_filter("map", |state: &mut State, value: Value, args: Rest<_>| {
        filters::map(state, value, args).map(generator)
    });
}

fn default(value: &Value, args: Args) -> Result<Value, Error> {
    let args = Arguments::bind(&args.into_values(), ["default_value", "boolean"])?;
    match value.is_undefined() || args.flag(1) && !value.is_true() {
        true => Ok(args.get(0).cloned().unwrap_or_else(|| Value::from(""))),
        false => Ok(value.clone()),
    }
}

fn string(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => Ok(value.clone()),
        _ => Ok(Value::from(python::text(value)?)),
    }
}

fn join(state: &State, value: &Value, args: Args) -> Result<Value, Error> {
    let args = Arguments::bind(&args.into_values(), ["d", "attribute"])?;
    let separator = args.get(0).map_or(Ok(String::new()), python::text)?;
    let mut joined = String::new();
    if value.is_none() {
        return Err(invalid("join: none is not iterable"));
    }
    let items = value.try_iter()?;
    for (i, item) in items.enumerate() {
        let item = match args.text(1)? {
            Some(path) => attribute(&item, path)?,
            None => item,
        };
        state.consume_fuel(1 + separator.len() as u64 / 64)?;
        joined.push_str(if i > 0 { &separator } else { "" });
        joined.push_str(&python::text(&item)?);
    }
    Ok(joined.into())
}

/// `a.b.0` of a value.
pub(super) fn attribute(value: &Value, path: &str) -> Result<Value, Error> {
    path.split('.')
        .try_fold(value.clone(), |value, name| match name.parse::<usize>() {
            Ok(at) => value.get_item(&Value::from(at)),
            Err(_) => value.get_attr(name),
        })
}

fn trim(value: &Value, args: Args) -> Result<String, Error> {
    let args = Arguments::bind(&args.into_values(), ["chars"])?;
    let text = python::text(value)?;
    Ok(methods::strip(&text, args.text(0)?, true, true).to_owned())
}

fn center(value: &Value, args: Args) -> Result<String, Error> {
    let args = Arguments::bind(&args.into_values(), ["width"])?;
    let width = methods::width(args.number(0)?.or(Some(80)))?;
    Ok(python::centered(&python::text(value)?, width, ' '))
}

fn truncate(value: &Value, args: Args) -> Result<String, Error> {
    let args = Arguments::bind(
        &args.into_values(),
        ["length", "killwords", "end", "leeway"],
    )?;
    let text = value
        .as_str()
        .ok_or_else(|| invalid("truncate: not a text"))?;
    let end = args.text(2)?.unwrap_or("...");
    let [length, leeway] =
        [(0, 255), (3, 5)].map(|(at, default)| Ok::<_, Error>(args.number(at)?.unwrap_or(default)));
    let (length, leeway) = (length?, leeway?);
    let kept = length - end.chars().count() as i64;
    if kept < 0 || leeway < 0 {
        return Err(invalid(
            "truncate: the length is below that of the end, or the leeway below 0",
        ));
    }
    if text.chars().count() as i64 <= length.saturating_add(leeway) {
        return Ok(text.to_owned());
    }
    let cut = text
        .char_indices()
        .nth(kept as usize)
        .map_or(text.len(), |(at, _)| at);
    let kept = &text[..cut];
    match args.flag(1) {
        true => Ok(format!("{kept}{end}")),
        false => Ok(format!(
            "{}{end}",
            kept.rsplit_once(' ').map_or(kept, |(words, _)| words)
        )),
    }
}

fn wordcount(state: &State, value: &Value) -> Result<usize, Error> {
    let text = python::text(value)?;
    state.consume_fuel(text.len() as u64 / methods::LOOKED_UP_BYTES_PER_FUEL)?;
    Ok(text
        .split(|c| !python::is_word(c))
        .filter(|word| !word.is_empty())
        .count())
}

fn indent(state: &State, value: &Value, args: Args) -> Result<String, Error> {
    let args = Arguments::bind(&args.into_values(), ["width", "first", "blank"])?;
    let text = value
        .as_str()
        .ok_or_else(|| invalid("indent: not a text"))?;
    let indent = match args.get(0) {
        Some(indent) if indent.kind() == ValueKind::String => python::text(indent)?,
        _ => " ".repeat(methods::width(args.number(0)?.or(Some(4)))?),
    };
    let text = format!("{text}\n");
    let mut out = String::new();
    for (i, line) in python::lines(&text, false).into_iter().enumerate() {
        state.consume_fuel(1 + indent.len() as u64 / 64)?;
        out.push_str(if i > 0 { "\n" } else { "" });
        let indented = if i == 0 {
            args.flag(1)
        } else {
            args.flag(2) || !line.is_empty()
        };
        out.push_str(if indented { &indent } else { "" });
        out.push_str(line);
    }
    Ok(out)
}

/// markupsafe's.
fn escape(value: &Value) -> Result<Value, Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    let text = python::text(value)?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    Ok(Value::from_safe_string(out))
}

/// Underscores between digits, as Python's literals and `int()` have them.
fn without_underscores(text: &str) -> Option<String> {
    let text = text.trim_matches(python::is_space);
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let mut before = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '_' && !(digit(before) && digit(chars.peek().copied())) {
            return None;
        }
        before = Some(c);
    }
    Some(text.replace('_', ""))
}

fn int(value: &Value, args: Args) -> Result<Value, Error> {
    let args = Arguments::bind(&args.into_values(), ["default", "base"])?;
    let default = || args.get(0).cloned().unwrap_or_else(|| Value::from(0));
    let base = args.number(1)?.unwrap_or(10);
    match value.kind() {
        ValueKind::Bool => Ok(Value::from(i32::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => Ok(value.clone()),
        ValueKind::Number => match f64::try_from(value.clone())?.trunc() {
            float if float.abs() < 1e38 => Ok(Value::from(float as i128)),
            _ => Err(invalid("int: the float is too large")),
        },
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            if !text.is_ascii() {
                return Err(invalid("int: digits beyond ASCII are not supported"));
            }
            let number = without_underscores(text).and_then(|text| parsed_int(&text, base));
            if let Some(number) = number {
                return number
                    .map(Value::from)
                    .ok_or_else(|| invalid("int: the number is too large"));
            }
            match parsed_float(text) {
                Some(float) if float.abs() < 1e38 => Ok(Value::from(float.trunc() as i128)),
                Some(_) => Err(invalid("int: the float is too large")),
                None => Ok(default()),
            }
        }
        ValueKind::Undefined => Err(invalid("int: the value is undefined")),
        _ => Ok(default()),
    }
}

/// `int(text, base)`: none if it is no number, none within if it is too large a one.
fn parsed_int(text: &str, base: i64) -> Option<Option<i128>> {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match (lower.split_at_checked(2), base) {
        (Some(("0x", digits)), 0 | 16) => (digits, 16),
        (Some(("0o", digits)), 0 | 8) => (digits, 8),
        (Some(("0b", digits)), 0 | 2) => (digits, 2),
        // Without a base, a zero may not stand before other digits.
        (_, 0) if lower.starts_with('0') && !lower.trim_matches('0').is_empty() => return None,
        (_, 0) => (&*lower, 10),
        (_, 2..=36) => (&*lower, base as u32),
        _ => return None,
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok();
    Some(number.map(|number| if negative { -number } else { number }))
}

/// `float(text)`.
fn parsed_float(text: &str) -> Option<f64> {
    let text = without_underscores(text)?;
    // Rust's takes what Python's does: inf, infinity and nan in any case as well.
    text.parse().ok()
}

fn float(value: &Value, args: Args) -> Result<Value, Error> {
    let args = Arguments::bind(&args.into_values(), ["default"])?;
    let default = || args.get(0).cloned().unwrap_or_else(|| Value::from(0.0));
    match value.kind() {
        ValueKind::Bool => Ok(Value::from(f64::from(u8::from(value.is_true())))),
        ValueKind::Number => Ok(Value::from(f64::try_from(value.clone())?)),
        ValueKind::String => {
            Ok(parsed_float(value.as_str().unwrap_or_default()).map_or_else(default, Value::from))
        }
        ValueKind::Undefined => Err(invalid("float: the value is undefined")),
        _ => Ok(default()),
    }
}

/// `'%s' | format(...)`
fn format(text: &str, args: Args) -> Result<String, Error> {
    let values = args.into_values();
    let (positional, named): (&[Value], Kwargs) = minijinja::value::from_args(&values)?;
    let names: Vec<&str> = named.args().collect();
    match (names.is_empty(), positional.is_empty()) {
        (true, _) => printf::format(text, &Value::from(Tuple::new(positional.to_vec()))),
        (false, true) => {
            let pairs = names
                .iter()
                .map(|name| Ok((*name, named.get::<Value>(name)?)));
            let pairs: Vec<(&str, Value)> = pairs.collect::<Result<_, Error>>()?;
            printf::format(text, &Value::from_pairs(pairs))
        }
        (false, false) => Err(invalid(
            "can't handle positional and keyword arguments at the same time",
        )),
    }
}

/// transformers' `tojson`: Python's `json.dumps` with `ensure_ascii` off, and nothing escaped for HTML.
fn tojson(value: &Value, args: Args) -> Result<String, Error> {
    let args = Arguments::bind(
        &args.into_values(),
        ["ensure_ascii", "indent", "separators", "sort_keys"],
    )?;
    let indent = match args.some(1) {
        Some(indent) if indent.kind() == ValueKind::String => Some(python::text(indent)?),
        Some(_) => Some(" ".repeat(methods::width(args.number(1)?)?)),
        None => None,
    };
    if indent
        .as_ref()
        .is_some_and(|indent| indent.len() > MAX_INDENT)
    {
        return Err(invalid(&format!("tojson: indent is at most {MAX_INDENT}")));
    }
    let [item_separator, key_separator] = match args.some(2) {
        Some(both) => {
            let texts = both
                .try_iter()?
                .map(|text| text.as_str().map(String::from))
                .collect::<Option<Vec<_>>>();
            let texts = texts.and_then(|texts| <[String; 2]>::try_from(texts).ok());
            texts.ok_or_else(|| invalid("tojson: separators are two texts"))?
        }
        None if indent.is_some() => [",", ": "].map(String::from),
        None => [", ", ": "].map(String::from),
    };
    let style = Style {
        indent,
        item_separator,
        key_separator,
        ensure_ascii: args.flag(0),
        sort_keys: args.flag(3),
    };
    style.write(value)
}

fn replace(value: &Value, args: Args) -> Result<String, Error> {
    let args = Arguments::bind(&args.into_values(), ["old", "new", "count"])?;
    let [old, new] = [0, 1].map(|at| {
        args.get(at)
            .ok_or_else(|| invalid("replace: an argument is missing"))
    });
    let (text, old, new) = (
        python::text(value)?,
        python::text(old?)?,
        python::text(new?)?,
    );
    let count = args
        .number(2)?
        .and_then(|count| usize::try_from(count).ok());
    let times = text.matches(&*old).count().min(count.unwrap_or(usize::MAX));
    if times.saturating_mul(new.len()) > super::MAX_PROMPT_BYTES {
        return Err(invalid("replace: the text would be too long"));
    }
    Ok(text.replacen(&*old, &new, times))
}

/// Everything with a length and an index: Python's strings and mappings, and Jinja2's undefined, too.
fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Iterable, Map, Seq, String, Undefined};
    let slice = value.downcast_object_ref::<Generator>().is_none()
        && value.downcast_object_ref::<View>().is_none();
    match value.kind() {
        Seq | String | Undefined => true,
        Map => !json::is_namespace(value),
        Iterable => slice,
        _ => false,
    }
}

fn is_iterable(value: &Value) -> bool {
    !value.is_none() && !json::is_namespace(value) && value.try_iter().is_ok()
}

fn range(first: i64, stop: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (start, stop) = stop.map_or((0, first), |stop| (first, stop));
    Range::new(start, stop, step.unwrap_or(1)).map(Value::from_object)
}
