//! A model's tokenizer and chat template, opened once and then only read: safe to share between threads.

use crate::chat_template::ChatTemplate;
use crate::error::{quote_names, Error, Result, Status};
use crate::model_folder::read_model_folder;
use crate::strftime::DateTime;
use crate::template_limits::on_large_stack;
use serde_json::{Map, Value as Json};
use std::path::{Path, PathBuf};
use tokenizers::{PostProcessor, TruncationDirection};

const PLACE: &str = "tokenizer";

pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    folder: PathBuf,
    /// A template that does not compile is an error of the first render, not of opening the model.
    chat_template: Option<Result<ChatTemplate>>,
    /// The one that transformers takes for conversations with tools.
    tool_template: Option<Result<ChatTemplate>>,
    /// Of the folder's templates, when they have names.
    template_names: Vec<String>,
}

/// Token ids and whether they were cut.
pub struct Tokens {
    pub ids: Vec<i32>,
    pub truncated: bool,
}

impl Tokenizer {
    pub fn open(folder: &Path, chat_template: Option<&str>) -> Result<Self> {
        // The library's own thread pool would start threads in the host's process and keep them.
        tokenizers::utils::parallelism::set_parallelism(false);
        let files = read_model_folder(folder, chat_template)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(&files.tokenizer_json).map_err(|error| {
            Error::new(Status::BadFile, format!("{PLACE}: '{}': {error}", files.tokenizer_path.display()))
        })?;
        // As transformers calls it: what the file says about padding and truncation does not apply.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(internal)?;
        let templates = files.chat_templates;
        let compile = |source: &Option<String>| {
            let tokens = || files.special_tokens.clone();
            source.as_ref().map(|source| on_large_stack(|| ChatTemplate::compile(source, tokens())))
        };
        Ok(Tokenizer {
            inner,
            folder: folder.to_path_buf(),
            chat_template: compile(&templates.default),
            tool_template: compile(&templates.tool_use),
            template_names: templates.names,
        })
    }

    /// The number of distinct tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    pub fn has_chat_template(&self) -> bool {
        self.chat_template.is_some()
    }

    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<i32>> {
        Ok(self.encode_truncated(text, add_special_tokens, 0)?.ids)
    }

    /// At most `max_length` tokens (0: no limit), the special ones among them: a closing one survives the cut.
    pub fn encode_truncated(
        &self,
        text: &str,
        add_special_tokens: bool,
        max_length: usize,
    ) -> Result<Tokens> {
        let encoding = self.inner.encode_fast(text, add_special_tokens).map_err(internal)?;
        if max_length == 0 || encoding.len() <= max_length {
            return Ok(Tokens { ids: to_ids(encoding.get_ids())?, truncated: false });
        }
        let added = match self.inner.get_post_processor() {
            Some(processor) if add_special_tokens => processor.added_tokens(false),
            _ => 0,
        };
        let mut encoding = self.inner.encode_fast(text, false).map_err(internal)?;
        encoding.truncate(max_length.saturating_sub(added), 0, TruncationDirection::Right);
        let encoding = self.inner.post_process(encoding, None, add_special_tokens).map_err(internal)?;
        let mut ids = to_ids(encoding.get_ids())?;
        ids.truncate(max_length);
        Ok(Tokens { ids, truncated: true })
    }

    /// Renders a JSON array of messages, or an object that holds `messages` and further template variables.
    pub fn render_json(
        &self,
        conversation: &str,
        add_generation_prompt: bool,
        date: DateTime,
    ) -> Result<String> {
        let invalid = |reason: String| {
            Error::new(Status::InvalidArgument, format!("chat template: conversation: {reason}"))
        };
        let mut variables = Map::new();
        let messages = match serde_json::from_str(conversation).map_err(|error| invalid(error.to_string()))? {
            Json::Object(mut object) => {
                let messages = object.shift_remove("messages").unwrap_or(Json::Null);
                variables = object;
                messages
            }
            other => other,
        };
        if !messages.is_array() {
            return Err(invalid(
                "expected an array of messages, or an object with one under 'messages'".into(),
            ));
        }
        on_large_stack(|| self.render(&messages, &variables, add_generation_prompt, date))
    }

    pub fn render(
        &self,
        messages: &Json,
        variables: &Map<String, Json>,
        add_generation_prompt: bool,
        date: DateTime,
    ) -> Result<String> {
        let has_tools = variables.get("tools").is_some_and(|tools| !tools.is_null());
        match self.tool_template.as_ref().filter(|_| has_tools).or(self.chat_template.as_ref()) {
            Some(Ok(template)) => template.render(messages, variables, add_generation_prompt, date),
            Some(Err(error)) => Err(error.clone()),
            None => Err(self.no_template()),
        }
    }

    fn no_template(&self) -> Error {
        let folder = self.folder.display();
        let reason = match self.template_names.is_empty() {
            true => format!("'{folder}' has none (no chat_template.jinja, none in tokenizer_config.json)"),
            false => {
                let names = quote_names(self.template_names.iter().map(String::as_str));
                format!("'{folder}' has none named 'default', which is the one used; it has {names}")
            }
        };
        Error::new(Status::NotFound, format!("chat template: {reason}"))
    }
}

fn internal(error: tokenizers::Error) -> Error {
    Error::new(Status::Internal, format!("{PLACE}: {error}"))
}

fn to_ids(ids: &[u32]) -> Result<Vec<i32>> {
    let too_large =
        |id: &u32| Error::new(Status::BadFile, format!("{PLACE}: token id {id} does not fit 31 bits"));
    ids.iter().map(|id| i32::try_from(*id).map_err(|_| too_large(id))).collect()
}
