//! Two spellings that Jinja2 reads and minijinja does not, rewritten in the template's source: `'%s' % value` and
//! the unary plus. Only a literal's `%` is rewritten: of a name nobody knows whether it is a text or a number.
//! And the right operands of `+` and `~` are looked at before they are joined, which minijinja does not offer.

use crate::jinja_builtins::{BOUNDED_FILTER, PERCENT_FILTER};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    /// A name, a number, a text or a closing bracket: an operator after it has a left operand.
    Value,
    Open,
    Close,
    Other,
}

struct Token<'a> {
    kind: Kind,
    text: &'a str,
    /// Byte offset in the tag.
    at: usize,
}

/// `source` with the operators inside `{{ }}` and `{% %}` rewritten; everything else is left alone.
pub fn rewrite_operators(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min() {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = end_of_tag(rest);
        let tag = &rest[..end];
        if tag.starts_with("{#") {
            out.push_str(tag);
        } else {
            out.push_str(&rewrite_tag(tag));
        }
        rest = &rest[end..];
        // What a raw block holds is text.
        let name = tag.trim_start_matches(['{', '%', '-', '+']).trim_start();
        if tag.starts_with("{%") && name.trim_end_matches(['}', '%', '-', '+']).trim_end() == "raw" {
            let end = rest.find("endraw").unwrap_or(rest.len());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

/// The length of the tag that `text` begins with, its closing mark included.
fn end_of_tag(text: &str) -> usize {
    if text.starts_with("{#") {
        return text.find("#}").map_or(text.len(), |at| at + 2);
    }
    let close = if text.starts_with("{{") { "}}" } else { "%}" };
    let (mut at, mut depth) = (2, 0usize);
    while at < text.len() {
        let rest = &text[at..];
        if depth == 0 && rest.starts_with(close) {
            return at + 2;
        }
        match rest.as_bytes()[0] {
            b'\'' | b'"' => at += length_of_text(rest),
            b'{' | b'(' | b'[' => (at, depth) = (at + 1, depth + 1),
            b'}' | b')' | b']' => (at, depth) = (at + 1, depth.saturating_sub(1)),
            _ => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    text.len()
}

/// The length of the quoted text that `rest` begins with.
fn length_of_text(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != bytes[0] {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn tokens_of(tag: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    // The opening mark, and the sign that belongs to it.
    let mut at = 2 + usize::from(tag[2..].starts_with(['-', '+']));
    while at < tag.len() {
        let rest = &tag[at..];
        let first = rest.chars().next().unwrap_or(' ');
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let (kind, length) = match first {
            '\'' | '"' => (Kind::Text, length_of_text(rest)),
            '(' | '[' | '{' => (Kind::Open, 1),
            ')' | ']' | '}' => (Kind::Close, 1),
            _ if is_word(first) => {
                let length = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
                let is_operator =
                    ["in", "and", "or", "not", "if", "else", "elif", "is", "set", "for", "return"]
                        .contains(&&rest[..length]);
                (if is_operator { Kind::Other } else { Kind::Value }, length)
            }
            _ => (Kind::Other, first.len_utf8()),
        };
        if !first.is_whitespace() {
            tokens.push(Token { kind, text: &rest[..length], at });
        }
        at += length;
    }
    tokens
}

fn rewrite_tag(tag: &str) -> String {
    let tokens = tokens_of(tag);
    // What to put where in the tag: an offset, how many bytes go, what comes.
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| &tokens[before]);
        let Some(after) = tokens.get(index + 1) else { continue };
        if token.text == "+" && token.kind == Kind::Other {
            let is_prefix = before.is_none_or(|before| {
                before.kind == Kind::Open || before.kind == Kind::Other && !matches!(before.text, "." | "%")
            });
            let has_operand = matches!(after.kind, Kind::Value | Kind::Open | Kind::Text);
            if is_prefix && has_operand {
                edits.push((token.at, 1, String::new()));
            }
        }
        let joins = matches!(token.text, "+" | "~")
            && before.is_some_and(|before| matches!(before.kind, Kind::Text | Kind::Value | Kind::Close));
        // A number or a text is what it is.
        let is_literal =
            after.kind == Kind::Text || after.text.starts_with(|first: char| first.is_ascii_digit());
        if joins && !is_literal {
            if let Some(end) = end_of_operand(&tokens, index + 1) {
                edits.push((end, 0, format!("|{BOUNDED_FILTER}")));
            }
        }
        let is_percent = token.text == "%" && token.kind == Kind::Other && after.text != "}";
        if is_percent && before.is_some_and(|before| before.kind == Kind::Text) {
            if let Some(end) = end_of_operand(&tokens, index + 1) {
                edits.push((token.at, 1, format!("|{PERCENT_FILTER}(")));
                edits.push((end, 0, ")".into()));
            }
        }
    }
    edits.sort_by_key(|(at, _, _)| *at);
    let (mut out, mut copied) = (String::new(), 0);
    for (at, gone, come) in edits {
        out.push_str(&tag[copied..at]);
        out.push_str(&come);
        copied = at + gone;
    }
    out.push_str(&tag[copied..]);
    out
}

/// Where the operand that starts at `first` ends: a sign, a value, then attributes, calls, items and filters.
fn end_of_operand(tokens: &[Token], first: usize) -> Option<usize> {
    let mut at = first;
    while matches!(tokens.get(at)?.text, "-" | "+") {
        at += 1;
    }
    let mut end = end_of_group(tokens, at)?;
    while let Some(token) = tokens.get(end + 1) {
        match token.text {
            "." | "|" => end = end_of_group(tokens, end + 2)?,
            "(" | "[" => end = end_of_group(tokens, end + 1)?,
            _ => break,
        }
    }
    Some(tokens[end].at + tokens[end].text.len())
}

/// The index of the last token of a value: itself, or the bracket that closes it.
fn end_of_group(tokens: &[Token], first: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(first) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.checked_sub(1)?,
            Kind::Other if depth == 0 => return None,
            _ => {}
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_after_a_text_becomes_a_filter_of_its_operand() {
        let cases = [
            ("{{ '%s' % x }}", "{{ '%s' |llmc_percent( x) }}"),
            ("{{ '%s-%d' % (a, b[1]) ~ 'c' }}", "{{ '%s-%d' |llmc_percent( (a, b[1])) ~ 'c' }}"),
            ("{% set y='%5.1f'%-x.y|abs %}", "{% set y='%5.1f'|llmc_percent(-x.y|abs) %}"),
        ];
        for (source, rewritten) in cases {
            assert_eq!(rewrite_operators(source), rewritten);
        }
    }

    #[test]
    fn a_plus_without_a_left_operand_goes() {
        assert_eq!(
            rewrite_operators("{{ +1 }}{{ 2 * +x + 3 }}{{ f(+1) }}"),
            "{{ 1 }}{{ 2 * x + 3 }}{{ f(1) }}"
        );
    }

    #[test]
    fn the_right_operand_of_a_join_is_looked_at() {
        let source = "{% set a = a + b.c[1]|list + 1 %}{{ 'x' ~ f(y + z) ~ 'w' }}{{ a + -1 }}{{ a + -b }}";
        let rewritten = "{% set a = a + b.c[1]|list|llmc_bounded + 1 %}\
            {{ 'x' ~ f(y + z|llmc_bounded)|llmc_bounded ~ 'w' }}{{ a + -1|llmc_bounded }}{{ a + -b|llmc_bounded }}";
        assert_eq!(rewrite_operators(source), rewritten);
    }

    #[test]
    fn everything_else_is_left_alone() {
        for source in [
            "{%- if x == 'a' %}5 % 2 + +a{% endif -%}",
            "{%+ if a %}{% endif +%}{{+ 1 +}}",
            "{{ n % 2 }} {{ a + 'b' }} {{ '{{ + }}' }} {{ {'a': {'b': 1}} }}",
            "{# '%s' % x #}{% raw %}{{ '%s' % x }}{{ +1 }}{% endraw %}{{ x",
            "{{ 'é' ~ \"'\" }}{% set a = b -%} + c",
        ] {
            assert_eq!(rewrite_operators(source), source);
        }
    }
}
