//! `tojson` as transformers' templates have it: Python's `json.dumps`, not Jinja's HTML-safe filter.

use crate::template_limits::{check_level, collect_bounded, ensure_bytes, most_items};
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use std::cell::Cell;
use std::fmt::Write;

/// Spaces or characters of one level; Python takes any number.
const LONGEST_INDENT: usize = 100;
const FUEL_PER_VALUE: u64 = 2;

/// `json.dumps`' layout: separators, and the indentation when there is one.
struct Layout {
    item_separator: String,
    key_separator: String,
    indent: Option<String>,
    ensure_ascii: bool,
    sort_keys: bool,
    /// How many more values may be written.
    items_left: Cell<usize>,
}

/// The filter `value | tojson(indent=2, ensure_ascii=false, separators=(',', ':'), sort_keys=true)`.
pub fn tojson(state: &State, value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<Value>>("indent")? {
        None => None,
        Some(indent) if indent.is_none() => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.to_string(),
            None => {
                let spaces = usize::try_from(i64::try_from(indent)?.max(0)).unwrap_or(usize::MAX);
                " ".repeat(spaces.min(LONGEST_INDENT + 1))
            }
        }),
    };
    if indent.as_ref().is_some_and(|indent| indent.len() > LONGEST_INDENT) {
        let message = format!("tojson: indent must be at most {LONGEST_INDENT}");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let (item_separator, key_separator) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: separators must be two strings"))
        }
        None => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
    };
    let layout = Layout {
        item_separator,
        key_separator,
        indent,
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        items_left: Cell::new(most_items(state)),
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    write_value(state, &mut out, value, &layout, 0)?;
    Ok(Value::from(out))
}

fn write_value(
    state: &State,
    out: &mut String,
    value: &Value,
    layout: &Layout,
    depth: usize,
) -> Result<(), Error> {
    // Looked at before every value: one list may hold another many times over.
    let items_left = layout.items_left.get().checked_sub(1);
    layout.items_left.set(items_left.ok_or_else(|| Error::from(ErrorKind::OutOfFuel))?);
    state.consume_fuel(FUEL_PER_VALUE)?;
    let escaped = value.as_str().map_or(0, |text| text.len().saturating_mul(6));
    ensure_bytes(state, out.len().saturating_add(escaped))?;
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&number_text(value)),
        ValueKind::String => write_string(out, value.as_str().unwrap_or_default(), layout.ensure_ascii),
        ValueKind::Seq | ValueKind::Iterable => {
            check_level(depth)?;
            let items = collect_bounded(state, value)?;
            write_items(out, layout, depth, ['[', ']'], &items, |out, item| {
                write_value(state, out, item, layout, depth + 1)
            })?;
        }
        ValueKind::Map => {
            check_level(depth)?;
            let mut keys = collect_bounded(state, value)?;
            if layout.sort_keys {
                keys.sort();
            }
            write_items(out, layout, depth, ['{', '}'], &keys, |out, key| {
                write_string(out, &key_text(key)?, layout.ensure_ascii);
                out.push_str(&layout.key_separator);
                write_value(state, out, &value.get_item(key)?, layout, depth + 1)
            })?;
        }
        kind => {
            let message = format!("tojson: a value of type {kind} is not JSON serializable");
            return Err(Error::new(ErrorKind::BadSerialization, message));
        }
    }
    Ok(())
}

fn write_items(
    out: &mut String,
    layout: &Layout,
    depth: usize,
    brackets: [char; 2],
    items: &[Value],
    mut write_item: impl FnMut(&mut String, &Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let break_line = |out: &mut String, depth: usize| {
        if let (Some(indent), false) = (&layout.indent, items.is_empty()) {
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
    };
    out.push(brackets[0]);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(&layout.item_separator);
        }
        break_line(out, depth + 1);
        write_item(out, item)?;
    }
    break_line(out, depth);
    out.push(brackets[1]);
    Ok(())
}

fn key_text(key: &Value) -> Result<String, Error> {
    Ok(match key.kind() {
        ValueKind::String => key.as_str().unwrap_or_default().to_string(),
        ValueKind::None => "null".to_string(),
        ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_string(),
        ValueKind::Number => number_text(key),
        kind => {
            return Err(Error::new(ErrorKind::NonKey, format!("tojson: a key of type {kind} is not allowed")))
        }
    })
}

fn number_text(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(number) if number.is_nan() => "NaN".to_string(),
        Ok(number) if number.is_infinite() => if number > 0.0 { "Infinity" } else { "-Infinity" }.to_string(),
        Ok(number) => float_repr(number),
        Err(_) => value.to_string(),
    }
}

/// Python's `repr` of a finite float: the shortest digits that read back, an exponent below 1e-4 and from 1e16 on.
pub fn float_repr(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = number.to_string();
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

/// Python's `repr` of bytes.
pub fn bytes_repr(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    let mut out = format!("b{quote}");
    for byte in bytes {
        match *byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            byte if char::from(byte) == quote => out.extend(['\\', quote]),
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push(quote);
    out
}

fn write_string(out: &mut String, text: &str, ensure_ascii: bool) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            _ if character < ' ' || (ensure_ascii && !(' '..='~').contains(&character)) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(expression: &str) -> String {
        let mut environment = minijinja::Environment::new();
        environment.add_filter("tojson", tojson);
        environment.render_str(&format!("{{{{ {expression} }}}}"), ()).unwrap()
    }

    #[test]
    fn json_is_what_pythons_dumps_prints() {
        assert_eq!(
            render(r#"{'b': 1, 'a': [1, 2.5, none, true, 'é"<>\n']} | tojson"#),
            r#"{"b": 1, "a": [1, 2.5, null, true, "é\"<>\n"]}"#
        );
        assert_eq!(
            render("{'a': [], 'b': {'c': 1}} | tojson(indent=2)"),
            "{\n  \"a\": [],\n  \"b\": {\n    \"c\": 1\n  }\n}"
        );
        assert_eq!(
            render("{'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':'))"),
            r#"{"a":2,"b":1}"#
        );
        assert_eq!(render("'é👋' | tojson(ensure_ascii=true)"), r#""\u00e9\ud83d\udc4b""#);
    }

    #[test]
    fn floats_are_printed_as_pythons_repr() {
        for (number, text) in [
            (2.0, "2.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(float_repr(number), text);
        }
    }
}
