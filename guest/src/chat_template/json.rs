//! JSON as Python's `json.dumps` writes it.

use serde_json::Value;

/// How to write.
pub(super) struct Style {
    /// Spaces for each level; none: on one line.
    pub(super) indent: Option<usize>,
    pub(super) item_separator: String,
    pub(super) key_separator: String,
    /// Everything beyond ASCII as `\uXXXX`.
    pub(super) ensure_ascii: bool,
}

impl Style {
    pub(super) fn write(&self, value: &Value) -> String {
        let mut out = String::new();
        self.write_value(value, 1, &mut out);
        out
    }

    /// `level`: of the items of `value`, if it has any.
    fn write_value(&self, value: &Value, level: usize, out: &mut String) {
        match value {
            Value::String(text) => self.write_string(text, out),
            Value::Array(items) => {
                self.write_items(['[', ']'], items, level, out, |item, out| {
                    self.write_value(item, level + 1, out);
                });
            }
            Value::Object(fields) => {
                self.write_items(['{', '}'], fields, level, out, |(key, item), out| {
                    self.write_string(key, out);
                    out.push_str(&self.key_separator);
                    self.write_value(item, level + 1, out);
                });
            }
            scalar => out.push_str(&scalar.to_string()),
        }
    }

    fn write_items<T>(
        &self,
        brackets: [char; 2],
        items: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
        level: usize,
        out: &mut String,
        mut write: impl FnMut(T, &mut String),
    ) {
        let items = items.into_iter();
        let empty = items.len() == 0;
        out.push(brackets[0]);
        for (i, item) in items.enumerate() {
            if i > 0 {
                out.push_str(&self.item_separator);
            }
            self.break_line(level, out);
            write(item, out);
        }
        if !empty {
            self.break_line(level - 1, out);
        }
        out.push(brackets[1]);
    }

    fn break_line(&self, level: usize, out: &mut String) {
        if let Some(spaces) = self.indent {
            out.push('\n');
            out.push_str(&" ".repeat(spaces * level));
        }
    }

    fn write_string(&self, text: &str, out: &mut String) {
        let quoted = Value::from(text).to_string();
        for c in quoted.chars() {
            match c.is_ascii() || !self.ensure_ascii {
                true => out.push(c),
                false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    out.push_str(&format!("\\u{unit:04x}"));
                }),
            }
        }
    }
}
