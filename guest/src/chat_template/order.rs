//! Orders and sums as Python has them: of values that can be compared or added, and of no others.

use super::arguments::Arguments;
use super::python::invalid;
use minijinja::filters;
use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};
use std::cmp::Ordering;

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("sort", sort);
    environment.add_filter("dictsort", dictsort);
    environment.add_filter("groupby", groupby);
    environment.add_filter("sum", sum);
    environment.add_filter("list", list);
    environment.add_filter("min", |state: &State, value: Value, kwargs: Kwargs| {
        check_comparable(&value, kwargs.get("attribute")?)?;
        filters::min(state, value, kwargs)
    });
    environment.add_filter("max", |state: &State, value: Value, kwargs: Kwargs| {
        check_comparable(&value, kwargs.get("attribute")?)?;
        filters::max(state, value, kwargs)
    });
    for (names, holds) in COMPARISONS {
        for name in names {
            environment.add_test(*name, move |value: &Value, other: &Value| match comparable(
                value, other,
            ) {
                true => Ok(holds(value.cmp(other))),
                false => Err(invalid(&format!(
                    "cannot compare a {} with a {}",
                    value.kind(),
                    other.kind()
                ))),
            });
        }
    }
}

type Comparison = (&'static [&'static str], fn(Ordering) -> bool);

const COMPARISONS: [Comparison; 4] = [
    (&["lt", "lessthan", "<"], Ordering::is_lt),
    (&["le", "<="], Ordering::is_le),
    (&["gt", "greaterthan", ">"], Ordering::is_gt),
    (&["ge", ">="], Ordering::is_ge),
];

/// Whether Python has an order for two values.
fn comparable(a: &Value, b: &Value) -> bool {
    use ValueKind::{Bool, Number, Seq, String};
    match (a.kind(), b.kind()) {
        (Number | Bool, Number | Bool) | (String, String) => true,
        (Seq, Seq) => match (a.try_iter(), b.try_iter()) {
            (Ok(a), Ok(b)) => a.zip(b).all(|(a, b)| a == b || comparable(&a, &b)),
            _ => false,
        },
        _ => false,
    }
}

/// # Errors
/// Python has no order for the items, or for what they have at a path.
fn check_comparable(values: &Value, attribute: Option<&str>) -> Result<(), Error> {
    if values.is_none() {
        return Err(invalid("none is not iterable"));
    }
    let mut before: Option<Value> = None;
    for item in values.try_iter()? {
        // Several paths after commas are left to the engine.
        let item = match attribute.filter(|path| !path.contains(',')) {
            Some(path) => super::filters::attribute(&item, path)?,
            None if attribute.is_some() => return Ok(()),
            None => item,
        };
        if before.is_some_and(|before| !comparable(&before, &item)) {
            return Err(invalid(
                "values without an order between them cannot be sorted",
            ));
        }
        before = Some(item);
    }
    Ok(())
}

fn named(pairs: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Kwargs {
    let given = pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    Kwargs::from_iter(given)
}

fn sort(state: &State, value: Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let names = ["reverse", "case_sensitive", "attribute"];
    let args = Arguments::bind(&args.into_values(), names)?;
    let attribute = args.some(2).map(Value::to_string);
    check_comparable(&value, attribute.as_deref())?;
    let kwargs = named([
        (names[0], args.some(0).cloned()),
        (names[1], args.some(1).cloned()),
        (names[2], attribute.map(Value::from)),
    ]);
    filters::sort(state, value, kwargs)
}

fn dictsort(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let names = ["case_sensitive", "by", "reverse"];
    let args = Arguments::bind(&args.into_values(), names)?;
    match args.text(1)? {
        None | Some("key") => check_comparable(value, None)?,
        Some("value") => {
            let values = value.try_iter()?.map(|key| value.get_item(&key));
            check_comparable(&values.collect::<Result<Vec<_>, _>>()?.into(), None)?;
        }
        Some(_) => {
            return Err(invalid(
                "dictsort: you can only sort by either \"key\" or \"value\"",
            ));
        }
    }
    let given = names
        .into_iter()
        .enumerate()
        .map(|(at, name)| (name, args.some(at).cloned()));
    filters::dictsort(value, named(given))
}

fn groupby(value: Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let names = ["attribute", "default", "case_sensitive"];
    let args = Arguments::bind(&args.into_values(), names)?;
    let attribute = args.some(0).map(Value::to_string);
    if args.get(1).is_none() {
        check_comparable(&value, attribute.as_deref())?;
        let path = attribute.as_deref().unwrap_or_default();
        for item in value.try_iter()? {
            if super::filters::attribute(&item, path)?.is_undefined() {
                return Err(invalid("groupby: an item has no such attribute"));
            }
        }
    }
    let kwargs = named([
        (names[1], args.get(1).cloned()),
        (names[2], args.some(2).cloned()),
    ]);
    filters::groupby(value, attribute.as_deref(), kwargs)
}

fn sum(state: &State, value: Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let args = Arguments::bind(&args.into_values(), ["attribute", "start"])?;
    let attribute = args.some(0).map(Value::to_string);
    if value.is_none() {
        return Err(invalid("none is not iterable"));
    }
    if let Some(path) = &attribute {
        for item in value.try_iter()? {
            if super::filters::attribute(&item, path)?.is_undefined() {
                return Err(invalid("sum: an item has no such attribute"));
            }
        }
    }
    filters::sum(
        state,
        value,
        attribute.as_deref(),
        args.get(1).cloned(),
        named([]),
    )
}

fn list(state: &State, value: Value) -> Result<Value, Error> {
    match value.is_none() {
        true => Err(invalid("none is not iterable")),
        false => filters::list(state, value),
    }
}
