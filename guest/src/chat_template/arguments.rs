//! Arguments by position or by name, as Python binds them.

use super::python::invalid;
use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, Value};

/// Bound arguments: none where the default counts.
pub(super) struct Arguments<const N: usize> {
    values: [Option<Value>; N],
    names: [&'static str; N],
}

impl<const N: usize> Arguments<N> {
    /// # Errors
    /// More arguments than names, or one by an unknown name or twice.
    pub(super) fn bind(args: &[Value], names: [&'static str; N]) -> Result<Self, Error> {
        let (positional, named): (&[Value], Kwargs) = from_args(args)?;
        if positional.len() > N {
            return Err(invalid(&format!("takes at most {N} arguments")));
        }
        let mut values = names.map(|_| None);
        for (value, given) in values.iter_mut().zip(positional) {
            *value = Some(given.clone());
        }
        for (value, name) in values.iter_mut().zip(names) {
            if named.has(name) {
                if value.is_some() {
                    return Err(invalid(&format!("the argument {name} is given twice")));
                }
                *value = Some(named.get(name)?);
            }
        }
        named.assert_all_used()?;
        Ok(Arguments { values, names })
    }

    pub(super) fn get(&self, at: usize) -> Option<&Value> {
        self.values[at].as_ref()
    }

    /// Not none, in Python's sense of it.
    pub(super) fn some(&self, at: usize) -> Option<&Value> {
        self.get(at).filter(|value| !value.is_none())
    }

    pub(super) fn flag(&self, at: usize) -> bool {
        self.get(at).is_some_and(Value::is_true)
    }

    pub(super) fn text(&self, at: usize) -> Result<Option<&str>, Error> {
        let text = |value: &'_ Value| value.kind() == ValueKind::String;
        match self.some(at) {
            None => Ok(None),
            Some(value) if text(value) => Ok(value.as_str()),
            Some(_) => Err(self.wrong(at, "a text")),
        }
    }

    pub(super) fn needed_text(&self, at: usize) -> Result<&str, Error> {
        self.text(at)?.ok_or_else(|| self.wrong(at, "a text"))
    }

    pub(super) fn number(&self, at: usize) -> Result<Option<i64>, Error> {
        match self.some(at) {
            None => Ok(None),
            Some(value) if value.is_integer() || value.kind() == ValueKind::Bool => {
                let number =
                    i64::try_from(value.clone()).map_err(|_| self.wrong(at, "a smaller number"));
                number.map(Some)
            }
            Some(_) => Err(self.wrong(at, "a whole number")),
        }
    }

    fn wrong(&self, at: usize, what: &str) -> Error {
        invalid(&format!("the argument {} has to be {what}", self.names[at]))
    }
}
