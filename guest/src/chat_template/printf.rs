//! `'...' % values`, as Python formats.

use super::python::{self, invalid};
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, Value};
use std::iter::Peekable;
use std::str::Chars;

/// Largest width or precision.
const MAX_WIDTH: usize = 4096;

/// # Errors
/// The values do not fit the format, or a conversion is not supported.
pub(super) fn format(format: &str, values: &Value) -> Result<String, Error> {
    let positional = match values.downcast_object_ref::<Tuple>() {
        Some(_) => values.try_iter()?.collect(),
        None => vec![values.clone()],
    };
    let mut formatter = Formatter {
        values,
        positional: positional.into_iter(),
        named: false,
    };
    let mut out = String::new();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '%' => formatter.one(&mut rest, &mut out)?,
            c => out.push(c),
        }
    }
    let left = formatter.positional.next().is_some();
    match left && !formatter.named && values.kind() != ValueKind::Map {
        true => Err(invalid(
            "not all arguments converted during string formatting",
        )),
        false => Ok(out),
    }
}

struct Formatter<'a> {
    values: &'a Value,
    positional: std::vec::IntoIter<Value>,
    /// Whether values were asked for by name.
    named: bool,
}

/// What stands between `%` and the conversion.
#[derive(Default)]
struct Spec {
    left: bool,
    zero: bool,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

impl Formatter<'_> {
    fn next(&mut self) -> Result<Value, Error> {
        self.positional
            .next()
            .ok_or_else(|| invalid("not enough arguments for format string"))
    }

    fn one(&mut self, rest: &mut Peekable<Chars>, out: &mut String) -> Result<(), Error> {
        let mut spec = Spec::default();
        let mut value = None;
        if rest.next_if_eq(&'(').is_some() {
            let key: String = rest.by_ref().take_while(|c| *c != ')').collect();
            self.named = true;
            let found = self.values.get_item(&Value::from(key.as_str()))?;
            if self.values.kind() != ValueKind::Map || found.is_undefined() {
                return Err(invalid(&format!("the format wants a value named {key}")));
            }
            value = Some(found);
        }
        while let Some(flag) = rest.next_if(|c| "-0+ #".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '#' => spec.alternate = true,
                '+' => spec.sign = Some('+'),
                _ => spec.sign = spec.sign.or(Some(' ')),
            }
        }
        spec.width = self.count(rest)?.unwrap_or(0);
        if rest.next_if_eq(&'.').is_some() {
            spec.precision = Some(self.count(rest)?.unwrap_or(0));
        }
        while rest.next_if(|c| "hlL".contains(*c)).is_some() {}
        let conversion = rest.next().ok_or_else(|| invalid("incomplete format"))?;
        if conversion == '%' {
            out.push('%');
            return Ok(());
        }
        let value = match value {
            Some(value) => value,
            None => self.next()?,
        };
        out.push_str(&spec.converted(conversion, &value)?);
        Ok(())
    }

    /// A width or precision, maybe from the values.
    fn count(&mut self, rest: &mut Peekable<Chars>) -> Result<Option<usize>, Error> {
        let count = match rest.next_if_eq(&'*') {
            Some(_) => Some(
                self.next()?
                    .as_usize()
                    .ok_or_else(|| invalid("* wants int"))?,
            ),
            None => {
                let digits: String =
                    std::iter::from_fn(|| rest.next_if(char::is_ascii_digit)).collect();
                if digits.is_empty() {
                    None
                } else {
                    Some(digits.parse().unwrap_or(usize::MAX))
                }
            }
        };
        match count.is_some_and(|count| count > MAX_WIDTH) {
            true => Err(invalid(&format!(
                "a width or precision is at most {MAX_WIDTH}"
            ))),
            false => Ok(count),
        }
    }
}

impl Spec {
    fn converted(&self, conversion: char, value: &Value) -> Result<String, Error> {
        match conversion {
            's' | 'r' => {
                let text = if conversion == 's' {
                    python::text(value)?
                } else {
                    python::repr(value)?
                };
                let cut = text
                    .chars()
                    .take(self.precision.unwrap_or(usize::MAX))
                    .collect();
                Ok(self.padded(String::new(), cut, false))
            }
            'c' => match value.as_str() {
                Some(text) if text.chars().count() == 1 => {
                    Ok(self.padded(String::new(), text.into(), false))
                }
                None => {
                    let c = value
                        .as_usize()
                        .and_then(|code| char::from_u32(u32::try_from(code).ok()?));
                    let c = c.ok_or_else(|| invalid("%c requires int or char"))?;
                    Ok(self.padded(String::new(), c.into(), false))
                }
                Some(_) => Err(invalid("%c requires int or char")),
            },
            'd' | 'i' | 'u' => self.integer(integer(value, true)?, |n| n.to_string(), ""),
            'x' => self.integer(integer(value, false)?, |n| format!("{n:x}"), "0x"),
            'X' => self.integer(integer(value, false)?, |n| format!("{n:X}"), "0X"),
            'o' => self.integer(integer(value, false)?, |n| format!("{n:o}"), "0o"),
            'f' | 'F' | 'e' | 'E' => self.float(conversion, value),
            other => Err(invalid(&format!(
                "the conversion %{other} is not supported"
            ))),
        }
    }

    fn integer(
        &self,
        value: i128,
        digits: fn(u128) -> String,
        prefix: &str,
    ) -> Result<String, Error> {
        let mut digits = digits(value.unsigned_abs());
        let missing = self.precision.unwrap_or(0).saturating_sub(digits.len());
        digits.insert_str(0, &"0".repeat(missing));
        let prefix = if self.alternate { prefix } else { "" };
        Ok(self.padded(self.sign(value < 0) + prefix, digits, true))
    }

    fn float(&self, conversion: char, value: &Value) -> Result<String, Error> {
        let float = match value.kind() {
            ValueKind::Bool => f64::from(u8::from(value.is_true())),
            ValueKind::Number => f64::try_from(value.clone())?,
            other => return Err(invalid(&format!("must be real number, not {other}"))),
        };
        if !float.is_finite() {
            return Err(invalid("formatting of what is no number is not supported"));
        }
        let precision = self.precision.unwrap_or(6);
        let magnitude = float.abs();
        let digits = match conversion.to_ascii_lowercase() {
            'f' => format!("{magnitude:.precision$}"),
            _ => {
                let scientific = format!("{magnitude:.precision$e}");
                let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
                let exponent: i32 = exponent.parse().unwrap_or(0);
                let sign = if exponent < 0 { '-' } else { '+' };
                format!("{digits}{}{sign}{:02}", conversion, exponent.abs())
            }
        };
        Ok(self.padded(self.sign(float.is_sign_negative()), digits, true))
    }

    fn sign(&self, negative: bool) -> String {
        match (negative, self.sign) {
            (true, _) => "-".into(),
            (false, sign) => sign.map_or(String::new(), String::from),
        }
    }

    fn padded(&self, sign: String, text: String, number: bool) -> String {
        let missing = self
            .width
            .saturating_sub(sign.chars().count() + text.chars().count());
        match (self.left, number && self.zero) {
            (true, _) => format!("{sign}{text}{}", " ".repeat(missing)),
            (false, true) => format!("{sign}{}{text}", "0".repeat(missing)),
            (false, false) => format!("{}{sign}{text}", " ".repeat(missing)),
        }
    }
}

/// `truncate`: a float counts without its fraction.
fn integer(value: &Value, truncate: bool) -> Result<i128, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(value.is_true().into()),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()),
        ValueKind::Number if truncate => {
            let float = f64::try_from(value.clone())?;
            match float.abs() < 1e30 {
                true => Ok(float as i128),
                false => Err(invalid("a float is too large")),
            }
        }
        other => Err(invalid(&format!("an integer is required, not {other}"))),
    }
}
