//! The parameters of a request's body, sorted by the table of [`parameters`](super::parameters), then each read once and
//! checked. Null is as absent.

use std::ops::{Bound, RangeBounds, RangeInclusive};

use serde_json::{Map, Value};
use talaria_program::values::in_words;

use super::error::ApiError;
use super::parameters::{Fate, fate};
use super::request::Endpoint;
use crate::remote::printable;

/// Most characters of a name in an error: it may be anything.
const MOST_OF_A_NAME: usize = 64;

/// What is to be read of a JSON object: nothing of it may be left unread.
pub(super) struct Fields {
    endpoint: Endpoint,
    /// What comes before a name where it is told: empty for the body, else `stream_options.` or `messages[3].`.
    path: String,
    values: Map<String, Value>,
}

impl Fields {
    /// Of a body.
    pub(super) fn parse(endpoint: Endpoint, body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(values)) => Self::sort(endpoint, String::new(), "", values),
            Ok(_) => Err(ApiError::invalid("the body is not a JSON object")),
            Err(error) => Err(ApiError::invalid(format!("the body is not JSON: {error}"))),
        }
    }

    /// Of an object at `path`, whose names stand in the table after `row`: `messages[3].` and `messages[].`.
    fn sort(
        endpoint: Endpoint,
        path: String,
        row: &str,
        mut values: Map<String, Value>,
    ) -> Result<Self, ApiError> {
        values.retain(|_, value| !value.is_null());
        let mut refusal = None;
        values.retain(|name, value| {
            let fate = fate(endpoint, &format!("{row}{name}"));
            if refusal.is_none() {
                let short: String = name.chars().take(MOST_OF_A_NAME).collect();
                refusal = refuse(&format!("{path}{}", printable(&short)), fate, value);
            }
            fate == Some(Fate::Read)
        });
        match refusal {
            Some(refusal) => Err(refusal),
            None => Ok(Self {
                endpoint,
                path,
                values,
            }),
        }
    }

    /// The objects in a list under `name`, which was taken: the table has their names after `name[].`.
    pub(super) fn list(&self, name: &str, list: Value) -> Result<Vec<Self>, ApiError> {
        let Value::Array(items) = list else {
            return Err(wrong_type(&self.at(name), "a list", &list));
        };
        let row = format!("{}{name}[].", without_indices(&self.path));
        let items = items.into_iter().enumerate();
        let fields = items.map(|(i, item)| {
            let at = format!("{}{name}[{i}]", self.path);
            match item {
                Value::Object(values) => Self::sort(self.endpoint, at + ".", &row, values),
                other => Err(wrong_type(&at, "an object", &other)),
            }
        });
        fields.collect()
    }

    /// An object under `name`: the table has its names after `name.`.
    pub(super) fn object(&mut self, name: &str) -> Result<Option<Self>, ApiError> {
        let row = format!("{}{name}.", without_indices(&self.path));
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(values)) => {
                let path = format!("{}{name}.", self.path);
                Self::sort(self.endpoint, path, &row, values).map(Some)
            }
            Some(other) => Err(wrong_type(&self.at(name), "an object", &other)),
        }
    }

    /// The full name of a parameter.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// Ends the reading: what nobody read would be dropped.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        let unread = self.values.iter().next();
        let unread = unread.and_then(|(name, value)| refuse(&self.at(name), None, value));
        unread.map_or(Ok(()), Err)
    }

    /// A parameter as it is.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name)
    }

    /// A parameter that must be there.
    pub(super) fn require(&mut self, name: &str) -> Result<Value, ApiError> {
        self.take(name).ok_or_else(|| self.missing(name))
    }

    /// A parameter that must be there is not.
    pub(super) fn missing(&self, name: &str) -> ApiError {
        let name = self.at(name);
        let message = format!("Missing required parameter: '{name}'.");
        ApiError::param(&name, message).code("missing_required_parameter")
    }

    /// A text that must be there.
    pub(super) fn require_text(&mut self, name: &str) -> Result<String, ApiError> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.at(name), "a string", &other)),
        }
    }

    /// True or false; absent: false.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(wrong_type(&self.at(name), "true or false", &other)),
        }
    }

    /// A whole number in a range, which may be written `3.0`.
    pub(super) fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let at = self.at(name);
        let number = whole(&value).ok_or_else(|| wrong_type(&at, &expected, &value))?;
        let code = match number {
            n if n < i128::from(*range.start()) => "integer_below_min_value",
            n if n > i128::from(*range.end()) => "integer_above_max_value",
            n => return Ok(Some(n as i64)),
        };
        Err(wrong(&at, &expected, &value).code(code))
    }

    /// A number in a range; absent: `default`.
    pub(super) fn number(
        &mut self,
        name: &str,
        default: f32,
        range: impl RangeBounds<f32>,
    ) -> Result<f32, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(default);
        };
        let expected = in_words(&range);
        let at = self.at(name);
        let wide = value
            .as_f64()
            .ok_or_else(|| wrong_type(&at, &expected, &value))?;
        let number = wide as f32;
        if number.is_finite() && range.contains(&number) {
            return Ok(number);
        }
        let below = match range.start_bound() {
            Bound::Included(least) | Bound::Excluded(least) => number <= *least,
            Bound::Unbounded => number == f32::NEG_INFINITY,
        };
        let code = match below {
            true => "decimal_below_min_value",
            false => "decimal_above_max_value",
        };
        Err(wrong(&at, &expected, &value).code(code))
    }

    /// A parameter of some other form; an error says which.
    pub(super) fn parse_field<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let parsed = parse(&value);
        parsed
            .map(Some)
            .ok_or_else(|| wrong(&self.at(name), expected, &value))
    }
}

/// An error, if the caller would not get what it asks for.
fn refuse(name: &str, fate: Option<Fate>, value: &Value) -> Option<ApiError> {
    let (message, code) = match fate {
        Some(Fate::Read | Fate::Ignored) => return None,
        Some(Fate::Refused { unless, .. }) if Fate::is_neutral(unless, value) => return None,
        Some(Fate::Refused {
            unless: [],
            instead,
        }) => (
            format!("Unsupported parameter: '{name}' is not supported here: {instead}."),
            "unsupported_parameter",
        ),
        Some(Fate::Refused { unless, instead }) => {
            let only = unless.join(" or ");
            let message = format!(
                "Unsupported value: '{name}' is not supported here but for {only}: {instead}."
            );
            (message, "unsupported_value")
        }
        None => (
            format!(
                "Unknown parameter: '{name}'. It might change the reply, so it is not ignored: leave it out."
            ),
            "unknown_parameter",
        ),
    };
    Some(ApiError::param(name, message).code(code))
}

/// A value that cannot be.
pub(super) fn wrong(name: &str, expected: &str, found: &Value) -> ApiError {
    let found = shown(found);
    let message = format!("Invalid '{name}': expected {expected}, found {found}.");
    ApiError::param(name, message).code("invalid_value")
}

fn wrong_type(name: &str, expected: &str, found: &Value) -> ApiError {
    wrong(name, expected, found).code("invalid_type")
}

/// Numbers as they are, of all else the kind: it may be long, and what was asked.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) if text.is_empty() => "an empty string".into(),
        Value::String(_) => "a string".into(),
        Value::Array(items) if items.is_empty() => "an empty list".into(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".into(),
    }
}

/// A number that is whole, however it is written.
pub(super) fn whole(value: &Value) -> Option<i128> {
    let integer = value.as_i64().map(i128::from);
    let integer = integer.or_else(|| value.as_u64().map(i128::from));
    // Above 2^53 a float does not say which whole number is meant.
    let float = || {
        value
            .as_f64()
            .filter(|f| f.fract() == 0.0 && f.abs() < 9e15)
    };
    integer.or_else(|| float().map(|f| f as i128))
}

/// `messages[3].` as it stands in the table: `messages[].`.
fn without_indices(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}
