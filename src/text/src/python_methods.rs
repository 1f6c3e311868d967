//! Methods of Python's str, dict and list that minijinja-contrib lacks and chat templates in the wild use.

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
    match value.as_str() {
        Some(text) => match call_str_method(text, method, args)? {
            Some(result) => Ok(result),
            None => pycompat::unknown_method_callback(state, value, method, args),
        },
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

fn call_str_method(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
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
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            let zeros = width.min(1 << 20).saturating_sub(text.chars().count());
            Value::from(format!("{sign}{}{digits}", "0".repeat(zeros)))
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
        assert_eq!(render("[1, 2].index(2) ~ {'a': 1}.copy().get('a')"), "11");
    }
}
