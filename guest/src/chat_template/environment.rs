//! The template engine set up as transformers sets up Jinja2.

use super::json;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// Most instructions of one rendering, where 64 bytes of text made on the way count as one: 256 MiB at
/// most. A message takes up to 200 in the largest templates in use, and its text a few times.
const FUEL: u64 = 4 << 20;
/// Deepest nesting of blocks and macro calls, for the 1 MiB stack that Wasm has.
const MAX_DEPTH: usize = 64;

/// Most spaces of `tojson(indent=...)` for each level.
const MAX_INDENT: usize = 16;

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
    environment.set_formatter(|out, state, value| {
        minijinja::escape_formatter(out, state, &as_python_prints(value))
    });
    environment.set_unknown_method_callback(python_method);
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", tojson);
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_iterable);
    environment
}

/// `{% generation %}` and `{% endgeneration %}` mark what the assistant wrote, for training. They print
/// nothing, so an `if` that is always taken stands in for them, with the same effect on white space.
pub(super) fn without_generation_tags(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        out.push_str(before);
        match tag.trim_matches(['{', '%', '}', '-', '+', ' ', '\t', '\r', '\n']) {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

fn raise_exception(message: String) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, "raise_exception");
    Err(error.with_source(Raised(message)))
}

/// Python's spelling of the constants.
fn as_python_prints(value: &Value) -> Value {
    match value.kind() {
        ValueKind::None => Value::from("None"),
        ValueKind::Bool if value.is_true() => Value::from("True"),
        ValueKind::Bool => Value::from("False"),
        _ => value.clone(),
    }
}

/// Everything with a length and an index: Python's strings and mappings, and Jinja2's undefined, too.
fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Map, Seq, String, Undefined};
    matches!(value.kind(), Seq | String | Map | Undefined)
}

fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// transformers' `tojson`: Python's `json.dumps` with `ensure_ascii` off, and nothing escaped for HTML.
fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let [item_separator, key_separator] = match separators.map(<[String; 2]>::try_from) {
        Some(both) => both.map_err(|_| invalid("tojson: separators are two texts".into()))?,
        None if indent.is_some() => [",", ": "].map(String::from),
        None => [", ", ": "].map(String::from),
    };
    let ensure_ascii = options
        .get::<Option<bool>>("ensure_ascii")?
        .unwrap_or(false);
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    if indent.is_some_and(|spaces| spaces > MAX_INDENT) {
        return Err(invalid(format!("tojson: indent is at most {MAX_INDENT}")));
    }
    let mut tree = serde_json::to_value(value).map_err(|e| invalid(format!("tojson: {e}")))?;
    if sort_keys {
        tree.sort_all_objects();
    }
    Ok(json::Style {
        indent,
        item_separator,
        key_separator,
        ensure_ascii,
    }
    .write(&tree))
}

fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// Methods of Python's str and dict.
fn python_method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, method, args);
    };
    match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        "rsplit" => {
            let (separator, most): (&str, Option<usize>) = from_args(args)?;
            let mut parts: Vec<&str> = match most {
                Some(most) => text.rsplitn(most.saturating_add(1), separator).collect(),
                None => text.rsplit(separator).collect(),
            };
            parts.reverse();
            Ok(parts.into_iter().map(Value::from).collect())
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let (before, after) = text.split_once(separator).unwrap_or((text, ""));
            let found = &text[before.len()..text.len() - after.len()];
            Ok([before, found, after]
                .into_iter()
                .map(Value::from)
                .collect())
        }
        _ => pycompat::unknown_method_callback(state, value, method, args),
    }
}
