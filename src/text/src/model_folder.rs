//! The text side of a Hugging Face model folder: which file says what, and which one wins.

use crate::error::{quote_names, Error, Result, Status};
use crate::file_format::{is_lfs_pointer, LFS_REASON};
use serde_json::{Map, Value as Json};
use std::path::{Path, PathBuf};

const PLACE: &str = "tokenizer";

/// What the folder's JSON files and its template file say, before anything is compiled.
pub struct ModelFolder {
    pub tokenizer_json: Vec<u8>,
    pub tokenizer_path: PathBuf,
    pub special_tokens: Vec<(String, Json)>,
    pub chat_templates: ChatTemplates,
}

/// A folder's templates, as text.
#[derive(Debug, Default, PartialEq)]
pub struct ChatTemplates {
    /// The only one, or the one named "default".
    pub default: Option<String>,
    /// The one named "tool_use", which transformers takes for conversations with tools.
    pub tool_use: Option<String>,
    /// The names of all that have one.
    pub names: Vec<String>,
}

impl ChatTemplates {
    fn only(template: &str) -> Self {
        ChatTemplates { default: Some(template.to_string()), ..ChatTemplates::default() }
    }

    fn add(&mut self, name: &str, template: &str) {
        match name {
            "default" => self.default = Some(template.to_string()),
            "tool_use" => self.tool_use = Some(template.to_string()),
            _ => {}
        }
        self.names.push(name.to_string());
    }

    fn is_empty(&self) -> bool {
        self.default.is_none() && self.names.is_empty()
    }
}

/// Reads `folder`; a given `chat_template` (the template's text) wins over the model's own.
pub fn read_model_folder(folder: &Path, chat_template: Option<&str>) -> Result<ModelFolder> {
    let tokenizer_path = folder.join("tokenizer.json");
    let Some(tokenizer_json) = read_optional(&tokenizer_path)? else {
        if !folder.is_dir() {
            let missing = std::io::Error::from_raw_os_error(2);
            return Err(Error::from_io(PLACE, &tokenizer_path, &missing));
        }
        return Err(Error::new(Status::NotFound, format!("{PLACE}: {}", explain_missing_tokenizer(folder))));
    };
    let config = read_json_object(&folder.join("tokenizer_config.json"))?;
    let tokens_map = read_json_object(&folder.join("special_tokens_map.json"))?;
    let chat_templates = match chat_template {
        Some(template) => ChatTemplates::only(template),
        None => find_chat_templates(folder, &config)?,
    };
    Ok(ModelFolder {
        tokenizer_json,
        tokenizer_path,
        special_tokens: collect_special_tokens(&config, &tokens_map),
        chat_templates,
    })
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) if is_lfs_pointer(&bytes) => {
            Err(Error::new(Status::BadFile, format!("{PLACE}: '{}' {LFS_REASON}", path.display())))
        }
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from_io(PLACE, path, &error)),
    }
}

/// The file's object, empty when there is no such file.
fn read_json_object(path: &Path) -> Result<Map<String, Json>> {
    let Some(bytes) = read_optional(path)? else {
        return Ok(Map::new());
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::new(Status::BadFile, format!("{PLACE}: '{}': {error}", path.display())))
}

/// `tokenizer.json is missing in 'm', found tokenizer.model; ...`: the tokenizers that other libraries read are not
/// this one, but transformers makes it of them.
pub fn explain_missing_tokenizer(folder: &Path) -> String {
    let shown = folder.display();
    if !folder.is_dir() {
        return format!("'{shown}' is not a folder");
    }
    const OTHERS: [&str; 8] = [
        "tokenizer.model",
        "spiece.model",
        "sentencepiece.bpe.model",
        "tekken.json",
        "vocab.json",
        "merges.txt",
        "vocab.txt",
        "tiktoken.model",
    ];
    let found: Vec<&str> = OTHERS.into_iter().filter(|name| folder.join(name).exists()).collect();
    if found.is_empty() {
        return format!("tokenizer.json is missing in '{shown}'");
    }
    format!(
        "tokenizer.json is missing in '{shown}', found {}; transformers' \
         AutoTokenizer.from_pretrained('{shown}').save_pretrained('{shown}') makes one",
        quote_names(found)
    )
}

/// transformers' places, in its order; chat_template.json, which processors have, comes after the tokenizer's own.
fn find_chat_templates(folder: &Path, config: &Map<String, Json>) -> Result<ChatTemplates> {
    let mut found = ChatTemplates::default();
    if let Some(template) = read_text(&folder.join("chat_template.jinja"))? {
        found = ChatTemplates::only(&template);
    }
    let named = folder.join("additional_chat_templates");
    for name in ["default", "tool_use"] {
        if let Some(template) = read_text(&named.join(format!("{name}.jinja")))? {
            if name != "default" || found.default.is_none() {
                found.add(name, &template);
            }
        }
    }
    for name in other_templates(&named) {
        found.names.push(name);
    }
    if !found.is_empty() {
        return Ok(found);
    }
    found = templates_of(config.get("chat_template"));
    for file in ["chat_template.json", "processor_config.json"] {
        if found.is_empty() {
            found = templates_of(read_json_object(&folder.join(file))?.get("chat_template"));
        }
    }
    Ok(found)
}

fn other_templates(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".jinja").map(str::to_string))
        .filter(|name| name != "default" && name != "tool_use")
        .collect();
    names.sort();
    names
}

fn read_text(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = read_optional(path)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        Error::new(Status::BadFile, format!("{PLACE}: '{}': byte {offset} is not UTF-8", path.display()))
    })
}

/// A template's text, a list of named ones, or an object of them.
fn templates_of(value: Option<&Json>) -> ChatTemplates {
    let mut found = ChatTemplates::default();
    match value {
        Some(Json::String(template)) => found = ChatTemplates::only(template),
        Some(Json::Array(named)) => {
            for entry in named {
                if let (Some(name), Some(template)) = (entry["name"].as_str(), entry["template"].as_str()) {
                    found.add(name, template);
                }
            }
        }
        Some(Json::Object(named)) => {
            for (name, template) in named {
                if let Some(template) = template.as_str() {
                    found.add(name, template);
                }
            }
        }
        _ => {}
    }
    found
}

/// A special token is a string or an object with its text under "content".
fn token_text(value: &Json) -> Option<Json> {
    match value {
        Json::String(_) => Some(value.clone()),
        Json::Object(token) => token.get("content").filter(|content| content.is_string()).cloned(),
        _ => None,
    }
}

/// bos_token and every other `*_token`, lists of further tokens, and model-specific ones such as image_token.
/// tokenizer_config.json wins over special_tokens_map.json, its older form.
fn collect_special_tokens(config: &Map<String, Json>, tokens_map: &Map<String, Json>) -> Vec<(String, Json)> {
    let mut found: Vec<(String, Json)> = Vec::new();
    let mut add = |name: &str, token: Json| {
        if !found.iter().any(|(known, _)| known == name) {
            found.push((name.to_string(), token));
        }
    };
    for (name, value) in config.iter().chain(tokens_map) {
        match value {
            _ if name.ends_with("_token") => {
                if let Some(token) = token_text(value) {
                    add(name, token);
                }
            }
            Json::Array(tokens) if name.ends_with("special_tokens") => {
                add(name, tokens.iter().filter_map(token_text).collect());
            }
            Json::Object(tokens) if name == "extra_special_tokens" => {
                for (name, value) in tokens {
                    if let Some(token) = token_text(value) {
                        add(name, token);
                    }
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_strings_or_objects_and_the_config_wins_over_the_map() {
        let config = serde_json::json!({
            "add_bos_token": true, "bos_token": {"content": "<s>", "lstrip": false}, "pad_token": null,
            "extra_special_tokens": {"image_token": "<image>"}
        });
        let map = serde_json::json!({"bos_token": "<old>", "eos_token": "</s>"});
        let tokens = collect_special_tokens(config.as_object().unwrap(), map.as_object().unwrap());
        let expected = [("bos_token", "<s>"), ("image_token", "<image>"), ("eos_token", "</s>")];
        assert_eq!(tokens, expected.map(|(name, text)| (name.to_string(), Json::from(text))));
    }
}
