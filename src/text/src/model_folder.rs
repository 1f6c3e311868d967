//! The text side of a Hugging Face model folder: which file says what, and which one wins.

use crate::error::{Error, Result, Status};
use serde_json::{Map, Value as Json};
use std::path::{Path, PathBuf};

const PLACE: &str = "tokenizer";

/// What the folder's JSON files and its template file say, before anything is compiled.
pub struct ModelFolder {
    pub tokenizer_json: Vec<u8>,
    pub tokenizer_path: PathBuf,
    pub special_tokens: Vec<(String, Json)>,
    pub chat_template: Option<String>,
}

/// Reads `folder`; a given `chat_template` (the template's text) wins over the model's own.
pub fn read_model_folder(folder: &Path, chat_template: Option<&str>) -> Result<ModelFolder> {
    let tokenizer_path = folder.join("tokenizer.json");
    let tokenizer_json =
        std::fs::read(&tokenizer_path).map_err(|error| Error::from_io(PLACE, &tokenizer_path, &error))?;
    let config = read_json_object(&folder.join("tokenizer_config.json"))?;
    let tokens_map = read_json_object(&folder.join("special_tokens_map.json"))?;
    let own_template = match chat_template {
        Some(template) => Some(template.to_string()),
        None => find_chat_template(folder, &config)?,
    };
    Ok(ModelFolder {
        tokenizer_json,
        tokenizer_path,
        special_tokens: collect_special_tokens(&config, &tokens_map),
        chat_template: own_template,
    })
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
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

fn find_chat_template(folder: &Path, config: &Map<String, Json>) -> Result<Option<String>> {
    let path = folder.join("chat_template.jinja");
    if let Some(bytes) = read_optional(&path)? {
        return String::from_utf8(bytes).map(Some).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            Error::new(Status::BadFile, format!("{PLACE}: '{}': byte {offset} is not UTF-8", path.display()))
        });
    }
    Ok(match config.get("chat_template") {
        Some(Json::String(template)) => Some(template.clone()),
        Some(Json::Array(named)) => named
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str())
            .map(str::to_string),
        _ => None,
    })
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
