//! The template engine set up as transformers sets up Jinja2.

use super::{filters, methods, python};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};

/// Most instructions of one rendering, where 64 bytes of text made on the way count as one: 256 MiB at
/// most. A message takes up to 200 in the largest templates in use, and its text a few times.
const FUEL: u64 = 4 << 20;
/// Deepest nesting of blocks and macro calls, for the 1 MiB stack that Wasm has.
const MAX_DEPTH: usize = 64;

/// What `raise_exception` was called with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

pub(super) fn hugging_face() -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build().expect("Jinja's own delimiters"));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_DEPTH);
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::String | ValueKind::Undefined => minijinja::escape_formatter(out, state, value),
        _ => Ok(out.write_str(&python::text(value)?)?),
    });
    environment.set_unknown_method_callback(methods::call);
    environment.add_function("raise_exception", raise_exception);
    filters::add(&mut environment);
    environment
}

fn raise_exception(message: &Value) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, "raise_exception");
    Err(error.with_source(Raised(python::text(message)?)))
}
