//! Methods of Python's str, dict and list.

use super::arguments::Arguments;
use super::objects::View;
use super::python::{self, invalid};
use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// Most characters that a text is filled up to.
const MAX_WIDTH: i64 = 64 << 10;
/// Bytes of a text that cost as much as an instruction, and fewer where each character is looked up in tables.
const BYTES_PER_FUEL: u64 = 64;
pub(super) const LOOKED_UP_BYTES_PER_FUEL: u64 = 8;

/// A method that the engine does not know by itself.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            let rate = if method.starts_with("is") {
                LOOKED_UP_BYTES_PER_FUEL
            } else {
                BYTES_PER_FUEL
            };
            state.consume_fuel(text.len() as u64 / rate)?;
            match of_str(text, method, args)? {
                Some(value) => Ok(value),
                None => pycompat::unknown_method_callback(state, value, method, args),
            }
        }
        ValueKind::Map if method == "get" => of_dict(value, method, args),
        ValueKind::Map | ValueKind::Seq => {
            state.consume_fuel(value.len().unwrap_or(0) as u64)?;
            match value.kind() {
                ValueKind::Map => of_dict(value, method, args),
                _ => of_list(value, method, args),
            }
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// None for a method that is left to others.
fn of_str(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let all = |test: fn(char) -> bool| -> Result<Value, Error> {
        let () = from_args(args)?;
        Ok(Value::from(!text.is_empty() && text.chars().all(test)))
    };
    let found = match method {
        "split" => split(text, args, false)?,
        "rsplit" => split(text, args, true)?,
        "splitlines" => {
            let args = Arguments::bind(args, ["keepends"])?;
            list(python::lines(text, args.flag(0)))
        }
        "partition" | "rpartition" => partition(text, method == "rpartition", args)?,
        "strip" | "lstrip" | "rstrip" => {
            let args = Arguments::bind(args, ["chars"])?;
            Value::from(strip(
                text,
                args.text(0)?,
                method != "rstrip",
                method != "lstrip",
            ))
        }
        "startswith" | "endswith" => starts_or_ends(text, method == "startswith", args)?,
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "find" | "rfind" | "index" | "rindex" | "count" => find(text, method, args)?,
        "title" => {
            let () = from_args(args)?;
            python::title(text).into()
        }
        "capitalize" => {
            let () = from_args(args)?;
            python::capitalize(text).into()
        }
        "isspace" => all(python::is_space)?,
        "isdecimal" => all(|c| python::is_category(c, "Nd"))?,
        "isdigit" => all(python::is_digit)?,
        "isalpha" => all(|c| python::is_category(c, "L"))?,
        "isalnum" => all(|c| python::is_category(c, "L") || python::is_category(c, "N"))?,
        "isnumeric"
            if text
                .chars()
                .any(|c| !c.is_ascii() && python::is_category(c, "L")) =>
        {
            return Err(invalid(
                "isnumeric of letters beyond ASCII, which may be numbers, is not supported",
            ));
        }
        "isnumeric" => all(|c| python::is_category(c, "N"))?,
        "join" => join(text, args)?,
        "center" | "ljust" | "rjust" => justify(text, method, args)?,
        "zfill" => {
            let args = Arguments::bind(args, ["width"])?;
            zfill(text, width(args.number(0)?)?).into()
        }
        _ => return Ok(None),
    };
    Ok(Some(found))
}

fn list(parts: Vec<&str>) -> Value {
    parts.into_iter().map(Value::from).collect()
}

/// `str.split` and, from the end, `str.rsplit`.
fn split(text: &str, args: &[Value], from_end: bool) -> Result<Value, Error> {
    let args = Arguments::bind(args, ["sep", "maxsplit"])?;
    let most = usize::try_from(args.number(1)?.unwrap_or(-1)).unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = match (args.text(0)?, from_end) {
        (Some(""), _) => return Err(invalid("split: an empty separator")),
        (Some(separator), false) => text.splitn(most.saturating_add(1), separator).collect(),
        (Some(separator), true) => text.rsplitn(most.saturating_add(1), separator).collect(),
        (None, _) => split_at_spaces(text, most, from_end),
    };
    if from_end {
        parts.reverse();
    }
    Ok(list(parts))
}

/// At runs of white space, in the order of the search.
fn split_at_spaces(text: &str, most: usize, from_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        rest = match from_end {
            true => rest.trim_end_matches(python::is_space),
            false => rest.trim_start_matches(python::is_space),
        };
        if rest.is_empty() {
            return parts;
        }
        let cut = match from_end {
            _ if parts.len() == most => None,
            true => rest.rfind(python::is_space).map(|at| {
                let (before, word) = rest.split_at(at);
                (word.trim_start_matches(python::is_space), before)
            }),
            false => rest.find(python::is_space).map(|at| rest.split_at(at)),
        };
        let (word, more) = cut.unwrap_or((rest, ""));
        parts.push(word);
        rest = more;
    }
}

fn partition(text: &str, last: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator,): (&str,) = from_args(args)?;
    if separator.is_empty() {
        return Err(invalid("partition: an empty separator"));
    }
    let cut = if last {
        text.rsplit_once(separator)
    } else {
        text.split_once(separator)
    };
    let parts = match cut {
        Some((before, after)) => [before, separator, after],
        None if last => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::new(parts.map(Value::from).into())))
}

/// White space, or any of `chars`, off both ends or one.
pub(super) fn strip<'a>(text: &'a str, chars: Option<&str>, start: bool, end: bool) -> &'a str {
    let off = |c: char| match chars {
        Some(chars) => chars.contains(c),
        None => python::is_space(c),
    };
    let text = if start {
        text.trim_start_matches(off)
    } else {
        text
    };
    if end {
        text.trim_end_matches(off)
    } else {
        text
    }
}

/// Bytes of the characters from `start` to `end`, counted from the end where they are negative.
fn part(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(usize, &str)> {
    if start.is_none() && end.is_none() {
        return Some((0, text));
    }
    let length = text.chars().count() as i64;
    let at = |at: i64| if at < 0 { (at + length).max(0) } else { at };
    let (start, end) = (
        at(start.unwrap_or(0)),
        at(end.unwrap_or(length)).min(length),
    );
    if start > end {
        return None;
    }
    let byte = |at: i64| {
        text.char_indices()
            .nth(at as usize)
            .map_or(text.len(), |(byte, _)| byte)
    };
    Some((start as usize, &text[byte(start)..byte(end)]))
}

fn starts_or_ends(text: &str, starts: bool, args: &[Value]) -> Result<Value, Error> {
    let args = Arguments::bind(args, ["prefix", "start", "end"])?;
    let text = part(text, args.number(1)?, args.number(2)?);
    let one = |affix: &str| {
        text.is_some_and(|(_, text)| {
            if starts {
                text.starts_with(affix)
            } else {
                text.ends_with(affix)
            }
        })
    };
    let affix = args
        .get(0)
        .ok_or_else(|| invalid("what the text starts or ends with is missing"))?;
    if affix.downcast_object_ref::<Tuple>().is_none() {
        return Ok(Value::from(one(args.needed_text(0)?)));
    }
    for affix in affix.try_iter()? {
        let affix = affix
            .as_str()
            .ok_or_else(|| invalid("a tuple of texts is needed"))?;
        if one(affix) {
            return Ok(Value::from(true));
        }
    }
    Ok(Value::from(false))
}

/// In characters.
fn find(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let args = Arguments::bind(args, ["sub", "start", "end"])?;
    let sub = args.needed_text(0)?;
    let part = part(text, args.number(1)?, args.number(2)?);
    if method == "count" {
        return Ok(Value::from(
            part.map_or(0, |(_, part)| part.matches(sub).count()),
        ));
    }
    let at = part.and_then(|(before, part)| {
        let at = if method.starts_with('r') {
            part.rfind(sub)
        } else {
            part.find(sub)
        };
        Some(before + part[..at?].chars().count())
    });
    match at {
        Some(at) => Ok(Value::from(at)),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid("substring not found")),
    }
}

fn join(separator: &str, args: &[Value]) -> Result<Value, Error> {
    let (values,): (&Value,) = from_args(args)?;
    let mut joined = String::new();
    for (i, value) in values.try_iter()?.enumerate() {
        let text = value
            .as_str()
            .ok_or_else(|| invalid("join: every item has to be a text"))?;
        joined.push_str(if i > 0 { separator } else { "" });
        joined.push_str(text);
    }
    Ok(joined.into())
}

/// # Errors
/// More than [`MAX_WIDTH`].
pub(super) fn width(width: Option<i64>) -> Result<usize, Error> {
    match width {
        None => Err(invalid("the width is missing")),
        Some(width) if width > MAX_WIDTH => {
            Err(invalid(&format!("a width is at most {MAX_WIDTH}")))
        }
        Some(width) => Ok(usize::try_from(width).unwrap_or(0)),
    }
}

fn justify(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let args = Arguments::bind(args, ["width", "fillchar"])?;
    let width = width(args.number(0)?)?;
    let mut fill = args.text(1)?.unwrap_or(" ").chars();
    let (Some(fill), None) = (fill.next(), fill.next()) else {
        return Err(invalid("the fill character has to be one character"));
    };
    let rest = String::from_iter(std::iter::repeat_n(
        fill,
        width.saturating_sub(text.chars().count()),
    ));
    Ok(Value::from(match method {
        "ljust" => format!("{text}{rest}"),
        "rjust" => format!("{rest}{text}"),
        _ => python::centered(text, width, fill),
    }))
}

fn zfill(text: &str, width: usize) -> String {
    let (sign, digits) = text.split_at(text.starts_with(['+', '-']).into());
    let zeros = "0".repeat(width.saturating_sub(text.chars().count()));
    format!("{sign}{zeros}{digits}")
}

fn of_dict(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let pairs = || -> Result<Vec<(Value, Value)>, Error> {
        value
            .try_iter()?
            .map(|key| Ok((key.clone(), value.get_item(&key)?)))
            .collect()
    };
    let view = |open, items| Ok(Value::from_object(View { open, items }));
    match method {
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(args)?;
            let found = Some(value.get_item(key)?).filter(|found| !found.is_undefined());
            return Ok(found.or(default).unwrap_or_else(|| Value::from(())));
        }
        "keys" | "values" | "items" | "copy" => {
            let () = from_args(args)?;
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    }
    match method {
        "keys" => view(
            "dict_keys([",
            pairs()?.into_iter().map(|(key, _)| key).collect(),
        ),
        "values" => view(
            "dict_values([",
            pairs()?.into_iter().map(|(_, value)| value).collect(),
        ),
        "items" => {
            let tuple = |(key, value)| Value::from(Tuple::new(vec![key, value]));
            view("dict_items([", pairs()?.into_iter().map(tuple).collect())
        }
        _ => Ok(value.clone()),
    }
}

fn of_list(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "copy" => {
            let () = from_args(args)?;
            Ok(value.clone())
        }
        "index" => {
            let (what,): (&Value,) = from_args(args)?;
            let at = value.try_iter()?.position(|item| item == *what);
            at.map(Value::from)
                .ok_or_else(|| invalid("index: the value is not in the list"))
        }
        "count" => {
            let (what,): (&Value,) = from_args(args)?;
            Ok(Value::from(
                value.try_iter()?.filter(|item| item == what).count(),
            ))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}
