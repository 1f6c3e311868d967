//! What Jinja2 has and minijinja lacks or answers otherwise: tests, functions, filters, and how values print.

use crate::python_json::{bytes_repr, float_repr, tojson};
use crate::python_methods::{call_python_method, centered, pad};
use crate::template_limits::{
    bounded, check_printable, collect_bounded, ensure_bytes, ensure_format, is_printed_whole, join_bounded,
    print_bounded,
};
use minijinja::formatting::{format, FormatStyle};
use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, Output, State};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The name that `rewrite_operators` gives to `text % value`.
pub const PERCENT_FILTER: &str = "llmc_percent";
/// What it puts behind the right operand of `+` and `~`.
pub const BOUNDED_FILTER: &str = "llmc_bounded";

/// Marks what `raise_exception` threw, whose text is reported alone: it is the template author's own message.
#[derive(Debug)]
pub struct Raised(pub String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

pub fn install(environment: &mut Environment) {
    environment.set_unknown_method_callback(call_python_method);
    environment.set_formatter(print_value);

    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_iterable);
    environment.add_test("callable", is_callable);

    environment.add_function("raise_exception", raise_exception);
    environment.add_function("joiner", |separator: Option<String>| {
        Value::from_object(Joiner {
            separator: separator.unwrap_or_else(|| ", ".into()),
            used: AtomicBool::new(false),
        })
    });

    environment.add_filter("tojson", tojson);
    environment.add_filter("wordcount", count_words);
    environment.add_filter("center", |state: &State, text: &str, width: Option<usize>| {
        let width = width.unwrap_or(80);
        pad(state, text, width, ' ', |missing| centered(missing, width))
    });
    environment.add_filter(PERCENT_FILTER, format_percent);
    environment.add_filter(BOUNDED_FILTER, bounded);
    // minijinja's own of these ask for no fuel before they allocate.
    environment.add_filter("format", format_printf);
    environment.add_filter("join", join);
    environment.add_filter(
        "split",
        |state: &State, value: &Value, by: Option<Arc<str>>, most: Option<i64>| {
            ensure_pieces(state, value)?;
            minijinja::filters::split(value, by, most)
        },
    );
    environment.add_filter("lines", |state: &State, value: &Value| {
        ensure_pieces(state, value)?;
        minijinja::filters::lines(value)
    });
    environment.add_filter("list", |state: &State, value: &Value| {
        collect_bounded(state, value).map(Value::from).map_err(|error| match error.kind() {
            ErrorKind::OutOfFuel => error,
            _ => Error::new(ErrorKind::InvalidOperation, "cannot convert value to list").with_source(error),
        })
    });
    environment.add_filter("string", |state: &State, value: &Value| match value.kind() {
        ValueKind::String => Ok(value.clone()),
        _ => print_bounded(state, value).map(Value::from),
    });
    environment.add_filter("pprint", |state: &State, value: &Value| {
        check_printable(state, value)?;
        // Its indentation is 4 spaces a level.
        ensure_bytes(state, print_bounded(state, value)?.len().saturating_mul(1000))?;
        Ok::<_, Error>(minijinja::filters::pprint(value))
    });
}

fn raise_exception(message: String) -> Result<Value, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, message.clone());
    Err(error.with_source(Raised(message)))
}

/// Jinja2 asks for a length and an index, which strings and dicts have too.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
}

/// A function, or a macro, which minijinja takes for a dict.
fn is_callable(value: &Value) -> bool {
    value.kind() == ValueKind::Plain
        || value.as_object().is_some_and(|_| value.to_string().starts_with("<macro "))
}

/// minijinja iterates over none, Python does not.
fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

/// As Python prints it: `1e+16`, `b'...'`; lists and dicts only as far as the rendering can pay for them.
fn print_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Number if !value.is_integer() => {
            if let Ok(number) = f64::try_from(value.clone()) {
                if number.is_finite() {
                    return Ok(out.write_str(&float_repr(number))?);
                }
            }
        }
        _ if is_printed_whole(value) => return Ok(out.write_str(&print_bounded(state, value)?)?),
        ValueKind::Bytes => return Ok(out.write_str(&bytes_repr(value.as_bytes().unwrap_or_default()))?),
        _ => {}
    }
    minijinja::escape_formatter(out, state, value)
}

/// `joiner(', ')`: nothing at its first call, the separator at every later one.
#[derive(Debug)]
struct Joiner {
    separator: String,
    used: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _state: &mut State, _args: &[Value]) -> Result<Value, Error> {
        let used = self.used.swap(true, Ordering::Relaxed);
        Ok(Value::from(if used { self.separator.as_str() } else { "" }))
    }
}

/// Runs of letters, digits and underscores, as the regular expression `\w+` finds them.
fn count_words(text: &str) -> usize {
    text.split(|character: char| !character.is_alphanumeric() && character != '_')
        .filter(|word| !word.is_empty())
        .count()
}

/// A list takes more memory than the text it is cut from: a value for each piece.
pub fn ensure_pieces(state: &State, value: &Value) -> Result<(), Error> {
    ensure_bytes(state, value.as_str().map_or(0, |text| text.len().saturating_mul(32)))
}

fn format_printf(state: &State, text: &str, args: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let args = args.into_values();
    ensure_format(state, text, &args, '%')?;
    format(FormatStyle::Printf, text, &args)
}

/// Python's `text % value`: a tuple holds the arguments, a dict the named ones, anything else is the only one.
fn format_percent(state: &State, text: &str, value: &Value) -> Result<String, Error> {
    let args = if value.is_tuple() { collect_bounded(state, value)? } else { vec![value.clone()] };
    ensure_format(state, text, &args, '%')?;
    format(FormatStyle::Printf, text, &args)
}

fn join(
    state: &State,
    value: &Value,
    joiner: Option<Value>,
    attribute: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let joiner = joiner.map_or_else(|| kwargs.get::<Option<Value>>("d"), |joiner| Ok(Some(joiner)))?;
    let attribute =
        attribute.map_or_else(|| kwargs.get::<Option<Value>>("attribute"), |name| Ok(Some(name)))?;
    kwargs.assert_all_used()?;
    let joiner = joiner.map_or(Ok(String::new()), |joiner| print_bounded(state, &joiner))?;
    let items = value.try_iter().map_err(|error| {
        let message = format!("cannot join value of type {}", value.kind());
        Error::new(ErrorKind::InvalidOperation, message).with_source(error)
    })?;
    let items = items.map(|item| match &attribute {
        Some(name) => attribute_of(&item, name),
        None => Ok(item),
    });
    join_bounded(state, items, &joiner)
}

/// `item.a.b` for the attribute 'a.b', `item[1]` for 1.
fn attribute_of(item: &Value, name: &Value) -> Result<Value, Error> {
    let Some(path) = name.as_str() else { return item.get_item(name) };
    path.split('.').try_fold(item.clone(), |value, part| match part.parse::<usize>() {
        Ok(index) => value.get_item(&Value::from(index)),
        Err(_) => value.get_attr(part),
    })
}
