//! The fields of a request's body, each read once and checked. Unknown ones are ignored, as OpenAI does; null is as
//! absent.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::ApiError;

/// A JSON object.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Parses a body.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::invalid("the body is not a JSON object")),
            Err(error) => Err(ApiError::invalid(format!("the body is not JSON: {error}"))),
        }
    }

    /// A field as it is.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        self.parse_field(name, "a string", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// True or false; absent: false.
    pub fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        let flag = self.parse_field(name, "true or false", |value| value.as_bool());
        Ok(flag?.unwrap_or(false))
    }

    /// A whole number in a range.
    pub fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let expected = match *range.end() {
            i64::MAX => format!("a whole number from {} on", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        self.parse_field(name, &expected, |value| {
            let whole = |number: f64| number.fract() == 0.0 && number.abs() < 9e15;
            let float = || value.as_f64().filter(|f| whole(*f)).map(|f| f as i64);
            value.as_i64().or_else(float).filter(|i| range.contains(i))
        })
    }

    /// A number in a range; absent: `default`.
    pub fn number(
        &mut self,
        name: &str,
        default: f32,
        range: RangeInclusive<f32>,
    ) -> Result<f32, ApiError> {
        let expected = match *range.end() {
            f32::MAX => format!("a number from {} on", range.start()),
            end => format!("a number from {} to {end}", range.start()),
        };
        let number = self.parse_field(name, &expected, |value| {
            let number = value.as_f64()? as f32;
            range.contains(&number).then_some(number)
        });
        Ok(number?.unwrap_or(default))
    }

    /// A field of some form; an error says which.
    pub fn parse_field<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match parse(value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(ApiError::param(name, format!("{name} must be {expected}"))),
        }
    }

    /// Refuses a field that would change what the caller gets, and is not known here.
    pub fn refuse(
        &mut self,
        name: &str,
        matters: impl FnOnce(&Value) -> bool,
        message: &str,
    ) -> Result<(), ApiError> {
        match self.take(name).is_some_and(|value| matters(&value)) {
            true => Err(ApiError::param(name, message)),
            false => Ok(()),
        }
    }
}
