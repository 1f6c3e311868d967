//! Messages whose content is a list of parts, as OpenAI's interface has it. Some templates walk through the parts;
//! for the others the texts are joined by line ends, as vLLM does it. Which kind a template is, is tried out: once
//! per role it renders two parts, and both texts have to be seen, as texts and not as a printed list.

use crate::error::{Error, Result, Status};
use serde_json::{json, Map, Value as Json};
use std::sync::OnceLock;

const FIRST: &str = "llmc-part-1";
const SECOND: &str = "llmc-part-2";
/// Roles that templates treat in ways of their own; the last stands for all others.
const ROLES: [&str; 4] = ["system", "assistant", "tool", "user"];
const TEXT_TYPES: [&str; 5] = ["text", "input_text", "output_text", "refusal", "thinking"];
const MEDIA: [&str; 5] = ["image", "video", "audio", "file", "document"];

/// What a template does with one role's content, each tried out when it is first asked.
#[derive(Default)]
struct Reading {
    /// It walks through a list of parts.
    parts: OnceLock<bool>,
    /// It prints a text; one that does neither for this role is given what it is given.
    text: OnceLock<bool>,
}

#[derive(Default)]
pub struct ContentReader {
    readings: [Reading; ROLES.len()],
}

/// Renders a conversation, for the trial.
type Render<'a> = &'a dyn Fn(&Json) -> Result<String>;

impl ContentReader {
    /// The messages as the template can read them; None when they are already.
    pub fn prepare(&self, messages: &Json, render: Render) -> Result<Option<Json>> {
        let mut prepared: Option<Json> = None;
        for (index, message) in messages.as_array().into_iter().flatten().enumerate() {
            let role = message["role"].as_str().unwrap_or_default();
            let content = match &message["content"] {
                Json::Array(parts) if are_parts(role, parts) => {
                    check_media(index, parts)?;
                    if self.reads_parts(role, render) {
                        Some(parts.iter().map(as_typed_part).collect())
                    } else {
                        Some(Json::from(join_texts(index, parts)?))
                    }
                }
                Json::String(text) => {
                    let is_lost = !self.reads_text(role, render) && self.reads_parts(role, render);
                    is_lost.then(|| json!([{"type": "text", "text": text}]))
                }
                _ => None,
            };
            if let Some(content) = content {
                prepared.get_or_insert_with(|| messages.clone())[index]["content"] = content;
            }
        }
        Ok(prepared)
    }

    fn reads_parts(&self, role: &str, render: Render) -> bool {
        let role = role_index(role);
        let part = |text: &str| json!({"type": "text", "text": text});
        *self.readings[role].parts.get_or_init(|| {
            shows(&conversation(ROLES[role], json!([part(FIRST), part(SECOND)])), &[FIRST, SECOND], render)
        })
    }

    fn reads_text(&self, role: &str, render: Render) -> bool {
        let role = role_index(role);
        *self.readings[role]
            .text
            .get_or_init(|| shows(&conversation(ROLES[role], Json::from(FIRST)), &[FIRST], render))
    }
}

fn role_index(role: &str) -> usize {
    ROLES.iter().position(|known| *known == role).unwrap_or(ROLES.len() - 1)
}

/// Whether the rendered conversation has the texts, and not as items of a printed list.
fn shows(conversation: &Json, texts: &[&str], render: Render) -> bool {
    let Ok(rendered) = render(conversation) else { return false };
    texts.iter().all(|text| {
        let quoted = [format!("'{text}'"), format!("\"{text}\"")];
        rendered.contains(text) && !quoted.iter().any(|quoted| rendered.contains(quoted))
    })
}

/// The shortest conversation in which `role` says `content`.
fn conversation(role: &str, content: Json) -> Json {
    let user = json!({"role": "user", "content": "Hi"});
    match role {
        "system" => json!([{"role": role, "content": content}, user]),
        "assistant" => json!([user, {"role": role, "content": content}]),
        "tool" => {
            let function = json!({"name": "f", "arguments": {}});
            let call = json!({"id": "123456789", "type": "function", "function": function});
            json!([
                user,
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": role, "name": "f", "tool_call_id": "123456789", "content": content}
            ])
        }
        _ => json!([{"role": role, "content": content}]),
    }
}

/// A tool may answer with a list of its own, which the template prints.
fn are_parts(role: &str, parts: &[Json]) -> bool {
    parts.iter().all(|part| match part {
        Json::String(_) => role != "tool",
        Json::Object(part) => part.get("type").is_some_and(Json::is_string) || text_of(part).is_some(),
        _ => false,
    })
}

fn type_of(part: &Json) -> Option<&str> {
    part.get("type").and_then(Json::as_str)
}

fn check_media(message: usize, parts: &[Json]) -> Result<()> {
    for (index, part) in parts.iter().enumerate() {
        let kind = type_of(part).unwrap_or_default();
        let is_media = MEDIA.iter().any(|media| kind.trim_start_matches("input_").starts_with(media));
        if is_media {
            return Err(refuse(message, index, kind));
        }
    }
    Ok(())
}

fn refuse(message: usize, part: usize, kind: &str) -> Error {
    let text = format!(
        "'messages[{message}].content[{part}]' is of type '{kind}', wanted 'text': llmc calibrates with text alone"
    );
    Error::new(Status::Unsupported, text)
}

fn text_of(part: &Map<String, Json>) -> Option<&str> {
    ["text", "content", "refusal", "thinking"].into_iter().find_map(|name| part.get(name)?.as_str())
}

fn join_texts(message: usize, parts: &[Json]) -> Result<String> {
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let kind = type_of(part).unwrap_or("text");
        let text = match part {
            Json::String(text) => Some(text.as_str()),
            Json::Object(part) if TEXT_TYPES.contains(&kind) => text_of(part),
            _ => None,
        };
        texts.push(text.ok_or_else(|| refuse(message, index, kind))?);
    }
    Ok(texts.join("\n"))
}

/// A bare text as a part. Columns that a table fills with null are no keys: templates ask for `'image' in part`.
fn as_typed_part(part: &Json) -> Json {
    match part {
        Json::Object(part) => {
            let mut kept: Map<String, Json> = part
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            if !kept.contains_key("type") {
                kept.insert("type".into(), "text".into());
            }
            Json::Object(kept)
        }
        text => json!({"type": "text", "text": text}),
    }
}

#[cfg(test)]
mod tests {
    use crate::chat_template::ChatTemplate;
    use crate::strftime::DEFAULT_DATE;
    use serde_json::{json, Map, Value as Json};

    const TRIMS: &str = "{% for m in messages %}<{{ m.role }}>{{ m['content'] | trim }}{% endfor %}";
    const WALKS: &str = "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}\
        {% else %}{% for part in m['content'] %}{% if part.type == 'text' %}[{{ part['text'] }}]{% endif %}\
        {% endfor %}{% endif %}{% endfor %}";
    const WALKS_ONLY: &str =
        "{% for m in messages %}{% for part in m.content %}[{{ part.text }}]{% endfor %}{% endfor %}";
    /// The first message is printed, whatever it is; the others are walked through, by a macro.
    const MIXED: &str =
        "{% macro show(c) %}{% if c is string %}{{ c }}{% elif c is iterable %}{% for p in c %}\
        {{ p.text }};{% endfor %}{% endif %}{% endmacro %}\
        {% if messages[0].role == 'system' %}<s>{{ messages[0].content | trim }}{% endif %}\
        {% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ show(m.content) }}{% endfor %}";

    fn render(source: &str, messages: Json) -> String {
        let template = ChatTemplate::compile(source, vec![]).unwrap();
        template.render(&messages, &Map::new(), false, DEFAULT_DATE).unwrap_or_else(|error| error.message)
    }

    fn parts() -> Json {
        json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b", "image": null}])
    }

    #[test]
    fn a_template_of_texts_gets_the_parts_joined_by_line_ends() {
        assert_eq!(render(TRIMS, json!([{"role": "user", "content": parts()}])), "<user>a\nb");
        assert_eq!(render(TRIMS, json!([{"role": "user", "content": ["a", "b"]}])), "<user>a\nb");
        assert_eq!(render(TRIMS, json!([{"role": "user", "content": []}])), "<user>");
        assert_eq!(render(TRIMS, json!([{"role": "user", "content": " a "}])), "<user>a");
    }

    #[test]
    fn a_template_that_walks_through_parts_gets_them() {
        assert_eq!(render(WALKS, json!([{"role": "user", "content": parts()}])), "<user>[a][b]");
        assert_eq!(render(WALKS, json!([{"role": "user", "content": ["a"]}])), "<user>[a]");
        assert_eq!(render(WALKS, json!([{"role": "user", "content": "a"}])), "<user>a");
        assert_eq!(render(WALKS_ONLY, json!([{"role": "user", "content": "a"}])), "[a]");
    }

    #[test]
    fn each_role_gets_what_the_template_does_with_it() {
        let messages = json!([
            {"role": "system", "content": parts()},
            {"role": "user", "content": parts()},
            {"role": "assistant", "content": "c"}
        ]);
        assert_eq!(render(MIXED, messages), "<s>a\nb<user>a;b;<assistant>c");
    }

    #[test]
    fn a_part_that_is_no_text_is_named_with_its_place() {
        let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]);
        let error =
            "'messages[0].content[0]' is of type 'image_url', wanted 'text': llmc calibrates with text alone";
        assert_eq!(render(TRIMS, image.clone()), error);
        assert_eq!(render(WALKS, image), error);
    }

    #[test]
    fn a_tool_that_answers_with_a_list_of_its_own_is_printed_by_the_template() {
        let template = "{% for m in messages %}{{ m.content | tojson }}{% endfor %}";
        assert_eq!(
            render(template, json!([{"role": "tool", "content": [{"degrees": 3}]}])),
            "[{\"degrees\": 3}]"
        );
    }
}
