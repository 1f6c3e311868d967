//! Methods of Python's str, dict and list that minijinja-contrib lacks and chat templates in the wild use.

use crate::jinja_builtins::ensure_pieces;
use crate::template_limits::{ensure_bytes, ensure_format, join_bounded};
use minijinja::value::{from_args, Tuple, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

/// Called for every method a value does not have itself.
pub fn call_python_method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    // Bytes that are UTF-8 answer as_str too.
    if value.kind() == ValueKind::Bytes {
        return call_bytes_method(value, method, args);
    }
    match value.as_str() {
        Some(text) => {
            match charge_text(state, text).and_then(|()| call_str_method(state, text, method, args))? {
                Some(result) => Ok(result),
                None => {
                    ensure_method(state, text, method, args)?;
                    pycompat::unknown_method_callback(state, value, method, args)
                }
            }
        }
        None if method == "copy" && matches!(value.kind(), ValueKind::Map | ValueKind::Seq) => {
            let () = from_args(args)?;
            // Values are immutable, so the value is its own copy.
            Ok(value.clone())
        }
        None if method == "index" && value.kind() == ValueKind::Seq => {
            let (wanted,): (&Value,) = from_args(args)?;
            let found = value.try_iter()?.position(|item| item == *wanted);
            found.map(Value::from).ok_or_else(|| not_found(&format!("{wanted} is not in list")))
        }
        None => pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// A method walks through the text it is called on.
fn charge_text(state: &State, text: &str) -> Result<(), Error> {
    state.consume_fuel(text.len() as u64 / 64)
}

fn call_bytes_method(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let bytes = value.as_bytes().unwrap_or_default();
    match method {
        "decode" => {
            let (encoding,): (Option<&str>,) = from_args(args)?;
            check_encoding(encoding)?;
            let text = std::str::from_utf8(bytes);
            text.map(Value::from).map_err(|error| not_found(&format!("decode: {error}")))
        }
        "hex" => {
            let () = from_args(args)?;
            Ok(Value::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// What the methods of minijinja-contrib may allocate before anyone counts it.
fn ensure_method(state: &State, text: &str, method: &str, args: &[Value]) -> Result<(), Error> {
    match method {
        "format" => ensure_format(state, text, args, '{'),
        "split" | "splitlines" => ensure_pieces(state, &Value::from(text)),
        "replace" => {
            let (Some(old), Some(new)) =
                (args.first().and_then(Value::as_str), args.get(1).and_then(Value::as_str))
            else {
                return Ok(());
            };
            let found = text.matches(old).count();
            ensure_bytes(state, found.saturating_mul(new.len()).saturating_add(text.len()))
        }
        _ => Ok(()),
    }
}

/// `text` made `width` characters long, `before(missing)` of the missing ones in front.
pub fn pad(
    state: &State,
    text: &str,
    width: usize,
    fill: char,
    before: impl Fn(usize) -> usize,
) -> Result<String, Error> {
    let missing = width.saturating_sub(text.chars().count());
    ensure_bytes(state, missing.saturating_mul(fill.len_utf8()).saturating_add(text.len()))?;
    let front = before(missing);
    let fill = |count: usize| std::iter::repeat_n(fill, count);
    Ok(fill(front).chain(text.chars()).chain(fill(missing - front)).collect())
}

/// How many of the missing characters Python's `str.center` puts in front: the odd one when the width is odd.
pub fn centered(missing: usize, width: usize) -> usize {
    missing / 2 + (missing & width & 1)
}

fn pad_method(
    state: &State,
    text: &str,
    args: &[Value],
    before: impl Fn(usize) -> usize,
) -> Result<Value, Error> {
    let (width, fill): (i64, Option<char>) = from_args(args)?;
    let width = usize::try_from(width).unwrap_or(0);
    pad(state, text, width, fill.unwrap_or(' '), before).map(Value::from)
}

fn swap_case(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_uppercase() {
            out.extend(character.to_lowercase());
        } else {
            out.extend(character.to_uppercase());
        }
    }
    out
}

fn expand_tabs(state: &State, text: &str, size: usize) -> Result<String, Error> {
    let tabs = text.matches('\t').count();
    ensure_bytes(state, tabs.saturating_mul(size).saturating_add(text.len()))?;
    let (mut out, mut column) = (String::with_capacity(text.len()), 0);
    for character in text.chars() {
        let spaces = if size > 0 { size - column % size } else { 0 };
        match character {
            '\t' => {
                out.push_str(&" ".repeat(spaces));
                column += spaces;
            }
            _ => {
                out.push(character);
                column = if matches!(character, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    Ok(out)
}

fn check_encoding(encoding: Option<&str>) -> Result<(), Error> {
    match encoding.unwrap_or("utf-8").to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "utf8" => Ok(()),
        _ => Err(not_found(&format!("encoding '{}' is not utf-8", encoding.unwrap_or_default()))),
    }
}

fn call_str_method(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let (head, tail) = text.split_once(separator).unwrap_or((text, ""));
            let found = if head.len() < text.len() { separator } else { "" };
            Value::from(Tuple::from([head, found, tail].map(Value::from)))
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let (head, tail) = text.rsplit_once(separator).unwrap_or(("", text));
            let found = if tail.len() < text.len() { separator } else { "" };
            Value::from(Tuple::from([head, found, tail].map(Value::from)))
        }
        "rsplit" => {
            let (separator, limit): (&str, Option<i64>) = from_args(args)?;
            ensure_pieces(state, &Value::from(text))?;
            let limit = limit.filter(|limit| *limit >= 0).map_or(usize::MAX, |limit| limit as usize);
            let mut parts: Vec<&str> = text.rsplitn(limit.saturating_add(1), separator).collect();
            parts.reverse();
            parts.into_iter().map(Value::from).collect()
        }
        "index" => {
            let (wanted,): (&str,) = from_args(args)?;
            let found = text.find(wanted).map(|byte| text[..byte].chars().count());
            Value::from(found.ok_or_else(|| not_found("substring not found"))?)
        }
        "zfill" => {
            let (width,): (i64,) = from_args(args)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            let width = usize::try_from(width).unwrap_or(0).saturating_sub(sign.len());
            Value::from(sign.to_string() + &pad(state, digits, width, '0', |missing| missing)?)
        }
        "ljust" => pad_method(state, text, args, |_| 0)?,
        "rjust" => pad_method(state, text, args, |missing| missing)?,
        "center" => {
            let width = args.first().and_then(|width| usize::try_from(width.clone()).ok()).unwrap_or(0);
            pad_method(state, text, args, |missing| centered(missing, width))?
        }
        "swapcase" => {
            let () = from_args(args)?;
            Value::from(swap_case(text))
        }
        "casefold" => {
            let () = from_args(args)?;
            Value::from(text.to_lowercase().replace('\u{df}', "ss").replace('\u{3c2}', "\u{3c3}"))
        }
        "expandtabs" => {
            let (size,): (Option<i64>,) = from_args(args)?;
            Value::from(expand_tabs(state, text, usize::try_from(size.unwrap_or(8)).unwrap_or(0))?)
        }
        "encode" => {
            let (encoding,): (Option<&str>,) = from_args(args)?;
            check_encoding(encoding)?;
            Value::from_bytes(text.as_bytes().to_vec())
        }
        "rindex" => {
            let (wanted,): (&str,) = from_args(args)?;
            let found = text.rfind(wanted).map(|byte| text[..byte].chars().count());
            Value::from(found.ok_or_else(|| not_found("substring not found"))?)
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            Value::from(join_bounded(state, items.try_iter()?.map(Ok), text)?)
        }
        _ => return Ok(None),
    }))
}

fn not_found(message: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(expression: &str) -> String {
        let mut environment = minijinja::Environment::new();
        environment.set_unknown_method_callback(call_python_method);
        environment.render_str(&format!("{{{{ {expression} }}}}"), ()).unwrap()
    }

    #[test]
    fn str_methods_answer_as_in_python() {
        assert_eq!(render("'a-b-c'.rsplit('-', 1)"), "['a-b', 'c']");
        assert_eq!(render("'a-b-c'.partition('-')"), "('a', '-', 'b-c')");
        assert_eq!(render("'a-b-c'.rpartition('-')"), "('a-b', '-', 'c')");
        assert_eq!(render("'abc'.partition('-')"), "('abc', '', '')");
        assert_eq!(render("'<x>'.removeprefix('<').removesuffix('>')"), "x");
        assert_eq!(render("'-7'.zfill(4) ~ 'héx'.index('x')"), "-0072");
        assert_eq!(render("'a'.ljust(3) ~ '|' ~ 'a'.rjust(3, '-') ~ '|' ~ '5'.zfill(3)"), "a  |--a|005");
        assert_eq!(
            render("'ab'.center(5, '.') ~ '|' ~ 'ab'.center(6, '.') ~ '|' ~ 'a'.center(4)"),
            "..ab.|..ab..| a  "
        );
        assert_eq!(
            render("'aBé'.swapcase() ~ 'a\tb'.expandtabs(4) ~ 'Straße'.casefold()"),
            "AbÉa   bstrasse"
        );
        assert_eq!(
            render("'é'.encode('utf-8').decode() ~ ('é'.encode()|length) ~ 'abab'.rindex('b')"),
            "é23"
        );
        assert_eq!(render("[1, 2].index(2) ~ {'a': 1}.copy().get('a')"), "11");
    }
}
