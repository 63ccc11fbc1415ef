//! JSON as Python's `json.dumps` writes it.

use super::objects::{Generator, Range, View};
use super::python::{self, invalid};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// How to write.
pub(super) struct Style {
    /// For each level; none: on one line.
    pub(super) indent: Option<String>,
    pub(super) item_separator: String,
    pub(super) key_separator: String,
    /// Everything beyond ASCII as `\uXXXX`.
    pub(super) ensure_ascii: bool,
    pub(super) sort_keys: bool,
}

impl Style {
    /// # Errors
    /// Something that JSON has not.
    pub(super) fn write(&self, value: &Value) -> Result<String, Error> {
        let mut out = String::new();
        self.write_value(value, 1, &mut out)?;
        Ok(out)
    }

    /// `level`: of the items of `value`, if it has any.
    fn write_value(&self, value: &Value, level: usize, out: &mut String) -> Result<(), Error> {
        if level > MAX_DEPTH {
            return Err(invalid("tojson: the value is nested too deep"));
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable if is_list(value) => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.write_items(['[', ']'], &items, level, out, |item, out| {
                    self.write_value(item, level + 1, out)
                })
            }
            ValueKind::Map if !is_namespace(value) => {
                let mut fields = Vec::new();
                for key in value.try_iter()? {
                    fields.push((key_text(&key)?, value.get_item(&key)?));
                }
                if self.sort_keys {
                    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.write_items(['{', '}'], &fields, level, out, |(key, item), out| {
                    self.write_string(key, out);
                    out.push_str(&self.key_separator);
                    self.write_value(item, level + 1, out)
                })
            }
            ValueKind::String => {
                self.write_string(value.as_str().unwrap_or_default(), out);
                Ok(())
            }
            _ => {
                out.push_str(&scalar(value)?);
                Ok(())
            }
        }
    }

    fn write_items<T>(
        &self,
        brackets: [char; 2],
        items: &[T],
        level: usize,
        out: &mut String,
        mut write: impl FnMut(&T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(brackets[0]);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                out.push_str(&self.item_separator);
            }
            self.break_line(level, out);
            write(item, out)?;
        }
        if !items.is_empty() {
            self.break_line(level - 1, out);
        }
        out.push(brackets[1]);
        Ok(())
    }

    fn break_line(&self, level: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            out.push_str(&indent.repeat(level));
        }
    }

    fn write_string(&self, text: &str, out: &mut String) {
        let quoted = serde_json::Value::from(text).to_string();
        for c in quoted.chars() {
            match c.is_ascii() && c != '\u{7f}' || !self.ensure_ascii {
                true => out.push(c),
                false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    out.push_str(&format!("\\u{unit:04x}"));
                }),
            }
        }
    }
}

/// A list, a tuple or a slice of one.
fn is_list(value: &Value) -> bool {
    value.downcast_object_ref::<Generator>().is_none()
        && value.downcast_object_ref::<View>().is_none()
        && value.downcast_object_ref::<Range>().is_none()
}

/// A `namespace(...)`, which Python takes for no mapping.
pub(super) fn is_namespace(value: &Value) -> bool {
    is_a(value, "Namespace")
}

/// One of the engine's own objects, by the name of its type.
pub(super) fn is_a(value: &Value, name: &str) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.type_name().rsplit("::").next() == Some(name))
}

fn scalar(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(value.is_true().to_string()),
        ValueKind::Number => Ok(match python::number(value).as_str() {
            "nan" => "NaN".into(),
            "inf" => "Infinity".into(),
            "-inf" => "-Infinity".into(),
            number => number.to_owned(),
        }),
        other => Err(invalid(&format!("tojson: JSON has no {other}"))),
    }
}

/// A key, which JSON has only as a text.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => scalar(key),
    }
}
