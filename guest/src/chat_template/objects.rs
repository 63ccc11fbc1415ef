//! Objects of Python and Jinja2 that templates can tell from a list.

use super::python::invalid;
use minijinja::value::{Enumerator, Object, ObjectExt, ObjectRepr};
use minijinja::{Error, ErrorKind, State, Value};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What `map`, `select` and the like give: true whatever is in it, and no sequence.
#[derive(Debug)]
pub(super) struct Generator(pub(super) Vec<Value>);

impl Object for Generator {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_enumerator(|this| Box::new(this.0.iter().cloned()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.0.len())
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

/// `dict.keys()`, `values()` or `items()`.
#[derive(Debug)]
pub(super) struct View {
    pub(super) open: &'static str,
    pub(super) items: Vec<Value>,
}

impl View {
    pub(super) fn open(&self) -> &'static str {
        self.open
    }
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_enumerator(|this| Box::new(this.items.iter().cloned()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.items.len())
    }
}

/// `range(...)`
#[derive(Debug)]
pub(super) struct Range {
    start: i64,
    stop: i64,
    step: i64,
    length: usize,
}

/// Most numbers of a range, as Jinja2's sandbox has it.
const MAX_RANGE: u64 = 100_000;

impl Range {
    pub(super) fn new(start: i64, stop: i64, step: i64) -> Result<Range, Error> {
        let span = if step > 0 {
            stop.checked_sub(start)
        } else {
            start.checked_sub(stop)
        };
        let span = span
            .ok_or_else(|| invalid("range: too far apart"))?
            .max(0)
            .unsigned_abs();
        if step == 0 {
            return Err(invalid("range: the step must not be zero"));
        }
        let length = span.div_ceil(step.unsigned_abs());
        if length > MAX_RANGE {
            return Err(invalid("range: more than 100000 numbers"));
        }
        Ok(Range {
            start,
            stop,
            step,
            length: length as usize,
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            1 => write!(f, "range({}, {})", self.start, self.stop),
            step => write!(f, "range({}, {}, {step})", self.start, self.stop),
        }
    }
}

impl Object for Range {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = key.as_usize().filter(|at| *at < self.length)?;
        Some(Value::from(self.start + self.step * at as i64))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.length)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Its separator with each call but the first.
#[derive(Debug)]
pub(super) struct Joiner {
    separator: Value,
    used: Mutex<bool>,
}

impl Joiner {
    pub(super) fn new(separator: Value) -> Joiner {
        Joiner {
            separator,
            used: Mutex::new(false),
        }
    }
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, _: &[Value]) -> Result<Value, Error> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *used, true) {
            true => Ok(self.separator.clone()),
            false => Ok(Value::from("")),
        }
    }
}

/// Its items one after the other, again and again.
#[derive(Debug)]
pub(super) struct Cycler {
    items: Vec<Value>,
    at: Mutex<usize>,
}

impl Cycler {
    pub(super) fn new(items: Vec<Value>) -> Result<Cycler, Error> {
        match items.is_empty() {
            true => Err(invalid("cycler: at least one item has to be provided")),
            false => Ok(Cycler {
                items,
                at: Mutex::new(0),
            }),
        }
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        (key.as_str() == Some("current")).then(|| self.items[at].clone())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        _: &[Value],
    ) -> Result<Value, Error> {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        match method {
            "next" => {
                let next = (*at + 1) % self.items.len();
                Ok(self.items[std::mem::replace(&mut *at, next)].clone())
            }
            "reset" => {
                *at = 0;
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
