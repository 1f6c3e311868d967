//! A model's chat template, rendered as `transformers.apply_chat_template` renders it.

use crate::content_parts::ContentReader;
use crate::error::{Error, Result, Status};
use crate::generation_tag::rewrite_generation_tags;
use crate::jinja_builtins::{self, Raised};
use crate::operators::rewrite_operators;
use crate::strftime::{DateTime, DEFAULT_DATE};
use crate::template_limits::{self, MAX_SOURCE_BYTES};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

const PLACE: &str = "chat template";
const NAME: &str = "chat_template";

pub struct ChatTemplate {
    environment: Environment<'static>,
    /// bos_token, eos_token and their like, by the name templates know them by.
    special_tokens: Vec<(String, Json)>,
    content: ContentReader,
}

impl ChatTemplate {
    pub fn compile(source: &str, special_tokens: Vec<(String, Json)>) -> Result<Self> {
        if source.len() > MAX_SOURCE_BYTES {
            let got = source.len();
            let message = format!("{PLACE}: it has {got} bytes, wanted at most {MAX_SOURCE_BYTES}");
            return Err(Error::new(Status::Unsupported, message));
        }
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| describe(&error))?);
        jinja_builtins::install(&mut environment);
        template_limits::install(&mut environment);
        // Jinja2 reads every line end as \n.
        let source = rewrite_generation_tags(&source.replace("\r\n", "\n").replace('\r', "\n"));
        let source = rewrite_operators(&source);
        environment.add_template_owned(NAME, source).map_err(|error| describe(&error))?;
        Ok(ChatTemplate { environment, special_tokens, content: ContentReader::default() })
    }

    /// Renders `messages`; `variables` are further template variables (tools, enable_thinking, ...), which win
    /// over the defaults.
    pub fn render(
        &self,
        messages: &Json,
        variables: &Map<String, Json>,
        add_generation_prompt: bool,
        date: DateTime,
    ) -> Result<String> {
        let trial = |messages: &Json| self.render_as_given(messages, &Map::new(), false, DEFAULT_DATE);
        let prepared = self.content.prepare(messages, &trial)?;
        let messages = prepared.as_ref().unwrap_or(messages);
        self.render_as_given(messages, variables, add_generation_prompt, date)
    }

    fn render_as_given(
        &self,
        messages: &Json,
        variables: &Map<String, Json>,
        add_generation_prompt: bool,
        date: DateTime,
    ) -> Result<String> {
        let mut context: BTreeMap<String, Value> = BTreeMap::new();
        for (name, token) in &self.special_tokens {
            context.insert(name.clone(), Value::from(Serde(token)));
        }
        context.insert("tools".into(), Value::from(()));
        context.insert("documents".into(), Value::from(()));
        context.insert("add_generation_prompt".into(), Value::from(add_generation_prompt));
        context.insert("strftime_now".into(), Value::from_function(move |format: &str| date.format(format)));
        for (name, value) in variables {
            context.insert(name.clone(), Value::from(Serde(value)));
        }
        context.insert("messages".into(), Value::from(Serde(messages)));
        let rendered =
            self.environment.get_template(NAME).and_then(|template| template.render(Value::from(context)));
        rendered.map_err(|error| describe(&error))
    }
}

fn describe(error: &minijinja::Error) -> Error {
    let line = error.line().map_or(String::new(), |line| format!("line {line}: "));
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(Raised(message)) = inner.downcast_ref::<Raised>() {
            return Error::new(Status::BadFile, format!("{PLACE}: {message}"));
        }
        if inner.downcast_ref::<minijinja::Error>().is_some_and(|error| error.kind() == ErrorKind::OutOfFuel)
        {
            let message = format!("{PLACE}: {line}it asks for more work or memory than a rendering may take");
            return Error::new(Status::BadFile, message);
        }
        cause = inner.source();
    }
    let detail = error.detail().map_or(String::new(), |detail| format!(": {detail}"));
    Error::new(Status::BadFile, format!("{PLACE}: {line}{}{detail}", error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strftime::DEFAULT_DATE;

    fn render(source: &str) -> Result<String> {
        let tokens = vec![("bos_token".to_string(), Json::from("<s>"))];
        ChatTemplate::compile(source, tokens)?.render(&Json::Array(vec![]), &Map::new(), false, DEFAULT_DATE)
    }

    #[test]
    fn values_print_as_in_python() {
        let printed = "True None 1.0 [1, 'a', True] {'k': 'v'} 1e+16 <s> abab";
        assert_eq!(
            render("{{ true }} {{ none }} {{ 1.0 }} {{ [1, 'a', true] }} {{ {'k': 'v'} }} {{ 1e16 }} {{ bos_token }} {{ 'ab' * 2 }}").unwrap(),
            printed
        );
    }

    #[test]
    fn strings_and_dicts_are_sequences_as_in_jinja2() {
        assert_eq!(
            render("{{ 'a' is sequence }} {{ {} is sequence }} {{ 1 is sequence }}").unwrap(),
            "True True False"
        );
    }

    #[test]
    fn a_missing_name_prints_nothing_and_its_attribute_is_an_error() {
        assert_eq!(render("[{{ nothing }}{{ messages.nothing }}]{{ tools is none }}").unwrap(), "[]True");
        let error = render("\n{{ nothing.at_all }}").unwrap_err();
        assert_eq!(error.message, "chat template: line 2: undefined value");
    }

    #[test]
    fn what_only_jinja2_has_answers_as_there() {
        assert_eq!(
            render("{{ none is iterable }} {{ 1 is iterable }} {{ 'a' is iterable }} {{ none_at_all is iterable }}")
                .unwrap(),
            "False False True True"
        );
        assert_eq!(
            render("{% macro m() %}{% endmacro %}{{ m is callable }} {{ range is callable }} {{ {} is callable }}")
                .unwrap(),
            "True True False"
        );
        assert_eq!(
            render("{{ '%s-%03d' % ('a', 7) }} {{ +1 }} {{ 'a b-c'|wordcount }} {{ 'é'.encode() }}").unwrap(),
            "a-007 1 3 b'\\xc3\\xa9'"
        );
        assert_eq!(
            render(
                "{% set j = joiner() %}{{ j() }}a{{ j() }}b|{{ 'ab'|center(5) }}|{{ '%(x)s'|format(x=1) }}"
            )
            .unwrap(),
            "a, b|  ab |1"
        );
    }

    #[test]
    fn what_costs_too_much_is_an_error_and_not_the_end_of_the_process() {
        let limit = "chat template: line 1: it asks for more work or memory than a rendering may take";
        let twice =
            "{% set ns = namespace(a=[1]) %}{% for i in range(50) %}{% set ns.a = STEP %}{% endfor %}";
        let nested = twice.replace("STEP", "[ns.a, ns.a]");
        for source in [
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}".to_string(),
            "{{ 'a'.ljust(10000000000) }}".into(),
            "{{ 'a'|center(10000000000) }}".into(),
            "{{ '{:10000000000}'.format(1) }}".into(),
            "{{ '%10000000000d' % 1 }}".into(),
            "{{ 'a' * 10000000000 }}".into(),
            "{% set a = 'a' * 1000000 %}{{ a.replace('', a) }}".into(),
            "{% set a = 'a' * 1000000 %}{{ a.join(a) }}".into(),
            "{{ ('a' * 50000000).split('a') }}".into(),
            "{{ ([1] * 100000000) }}".into(),
            "{{ ([1] * 100000000)|tojson }}".into(),
            twice.replace("STEP", "ns.a + ns.a"),
            nested.clone() + "{{ ns.a }}",
            nested.clone() + "{{ ns.a|tojson }}",
            nested.clone() + "{{ ns.a|string }}",
            nested + "{{ ns.a|join }}",
        ] {
            assert_eq!(render(&source).unwrap_err().message, limit, "{source}");
        }
        let error = render("{{ [1]|tojson(indent=100000000000) }}").unwrap_err();
        assert_eq!(
            error.message,
            "chat template: line 1: invalid operation: tojson: indent must be at most 100"
        );
        let deep =
            "{% set ns = namespace(a=[]) %}{% for i in range(300) %}{% set ns.a = [ns.a] %}{% endfor %}";
        assert!(render(&(deep.to_string() + "{{ ns.a }}"))
            .unwrap_err()
            .message
            .contains("nested more than 250"));
        let macros = render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").unwrap_err();
        assert!(macros.message.ends_with("recursion limit exceeded"), "{}", macros.message);
        assert!(render(&"x".repeat(600_000)).unwrap_err().message.contains("600000 bytes"));
    }

    #[test]
    fn the_date_is_the_one_given() {
        assert_eq!(
            render("{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}").unwrap(),
            "26 Jul 2024"
        );
    }

    #[test]
    fn a_raised_message_is_reported_alone_even_from_a_macro() {
        let error =
            render("{% macro m() %}{{ raise_exception('roles\nmust alternate') }}{% endmacro %}{{ m() }}")
                .unwrap_err();
        assert_eq!(error.message, "chat template: roles must alternate");
    }

    #[test]
    fn a_template_that_does_not_parse_names_the_line() {
        let error = render("a\n{% if %}").unwrap_err();
        assert!(error.message.starts_with("chat template: line 2: syntax error: "), "{}", error.message);
    }
}
