//! The forms that a row of a data set may have, and what of it goes into a sample. Everything that the usual tools
//! write is read; a column that would change the sample and is not used is named.

use crate::error::{quote_names, Error, Result, Status};
use serde_json::{json, Map, Value as Json};

pub const DEFAULT_TEXT_COLUMN: &str = "text";

#[derive(Debug, PartialEq)]
pub enum Sample {
    Ids(Vec<i32>),
    Text(String),
    Chat {
        messages: Vec<Json>,
        /// Further variables of the chat template.
        variables: Map<String, Json>,
        /// What stands for the chat when the model has no template; a chat of the row's own has none.
        plain: Option<String>,
    },
}

#[derive(Debug)]
pub struct Row {
    pub sample: Sample,
    /// Columns that matter and were not used.
    pub unread: Vec<&'static str>,
}

/// Columns that are variables of the chat template, as transformers and vLLM pass them.
const LISTS: [&str; 2] = ["tools", "documents"];
const SWITCHES: [&str; 2] = ["enable_thinking", "add_generation_prompt"];
/// Columns that belong to a conversation and that nothing here reads.
const UNREAD_OF_CHAT: [&str; 12] = [
    "system",
    "system_prompt",
    "functions",
    "history",
    "images",
    "image",
    "videos",
    "video",
    "audios",
    "audio",
    "chat_template",
    "continue_final_message",
];
const UNREAD_OF_IDS: [&str; 3] = ["position_ids", "cu_seqlens", "pixel_values"];
const QUESTIONS: [&str; 4] = ["instruction", "question", "query", "prompt"];
const CONTEXTS: [&str; 2] = ["input", "context"];
const ANSWERS: [&str; 4] = ["output", "response", "answer", "completion"];
const SYSTEMS: [&str; 2] = ["system", "system_prompt"];
const CONVERSATIONS: [&str; 2] = ["conversations", "conversation"];

pub fn bad(message: String) -> Error {
    Error::new(Status::BadFile, message)
}

pub fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// Which columns make the sample. Ids win, because a data set tokenized beforehand keeps its text beside them; a text
/// column named by the user wins over the usual ones. A table fills what a row does not have with null.
pub fn read_row(row: &Map<String, Json>, text_column: &str) -> Result<Row> {
    let has = |name: &str| row.get(name).is_some_and(|value| !value.is_null());
    if has("input_ids") {
        let sample = Sample::Ids(read_ids(row)?);
        return Ok(Row { sample, unread: unread(row, &UNREAD_OF_IDS) });
    }
    let named = text_column != DEFAULT_TEXT_COLUMN && row.contains_key(text_column);
    if !named && has("messages") {
        let unread = unread(row, &UNREAD_OF_CHAT);
        return Ok(Row { sample: chat(read_turns(&row["messages"], "messages")?, row)?, unread });
    }
    if named || has(text_column) {
        return Ok(text(string_of(row, text_column)?));
    }
    // A conversation in two parts is as good as one in a single column.
    if row.contains_key("completion") && has("prompt") {
        return join_prompt(row, "completion");
    }
    if let Some(column) = CONVERSATIONS.into_iter().find(|name| has(name)) {
        let mut turns = read_turns(&row[column], column)?;
        let used = put_system(row, &mut turns)?;
        let unread = unread(row, &UNREAD_OF_CHAT).into_iter().filter(|name| Some(*name) != used).collect();
        return Ok(Row { sample: chat(turns, row)?, unread });
    }
    if has("chosen") {
        return if has("prompt") { join_prompt(row, "chosen") } else { chosen_alone(row) };
    }
    if let Some(question) = QUESTIONS.into_iter().find(|name| has(name)) {
        let answer = ANSWERS.into_iter().find(|name| has(name));
        if question != "prompt" || answer.is_some() {
            return question_and_answer(row, question, answer);
        }
        return match &row["prompt"] {
            Json::Array(_) => Ok(Row {
                sample: chat(read_turns(&row["prompt"], "prompt")?, row)?,
                unread: unread(row, &UNREAD_OF_CHAT),
            }),
            _ => Ok(text(string_of(row, "prompt")?)),
        };
    }
    Err(no_form(row, text_column))
}

/// None of the columns is there, or only as null.
fn no_form(row: &Map<String, Json>, text_column: &str) -> Error {
    let known = ["input_ids", "messages", text_column, "prompt"];
    if let Some(name) = known.into_iter().find(|name| row.contains_key(*name)) {
        let wanted = match name {
            "input_ids" => "an array of integers",
            "messages" => "an array",
            _ => "a string",
        };
        return bad(format!("'{name}' must be {wanted}, got null"));
    }
    let got = match row.is_empty() {
        true => "no keys".into(),
        false => format!("keys {}", quote_names(row.keys().map(String::as_str))),
    };
    let wanted = quote_names([
        "messages",
        text_column,
        "prompt",
        "input_ids",
        "conversations",
        "instruction",
        "question",
        "chosen",
    ]);
    bad(format!("expected one of {wanted}, got {got}"))
}

fn text(text: &str) -> Row {
    Row { sample: Sample::Text(text.to_string()), unread: Vec::new() }
}

fn string_of<'a>(row: &'a Map<String, Json>, column: &str) -> Result<&'a str> {
    let value = row.get(column).unwrap_or(&Json::Null);
    value.as_str().ok_or_else(|| bad(format!("'{column}' must be a string, got {}", kind_of(value))))
}

fn is_given(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(on) => *on,
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        Json::Object(items) => !items.is_empty(),
        Json::Number(_) => true,
    }
}

fn unread(row: &Map<String, Json>, names: &[&'static str]) -> Vec<&'static str> {
    names.iter().copied().filter(|name| row.get(*name).is_some_and(is_given)).collect()
}

/// A value that may be given as its JSON text.
fn parse_text(value: &Json, column: &str) -> Result<Json> {
    let Some(text) = value.as_str() else { return Ok(value.clone()) };
    if text.trim().is_empty() {
        return Ok(Json::Null);
    }
    serde_json::from_str(text).map_err(|error| bad(format!("'{column}' is text that is not JSON: {error}")))
}

fn chat(messages: Vec<Json>, row: &Map<String, Json>) -> Result<Sample> {
    Ok(Sample::Chat { messages, variables: variables_of(row)?, plain: None })
}

/// The template's variables: those under `chat_template_kwargs`, and the row's own columns, which win.
fn variables_of(row: &Map<String, Json>) -> Result<Map<String, Json>> {
    let column = "chat_template_kwargs";
    let mut variables = match parse_text(row.get(column).unwrap_or(&Json::Null), column)? {
        Json::Null => Map::new(),
        Json::Object(variables) => variables,
        other => return Err(bad(format!("'{column}' must be an object, got {}", kind_of(&other)))),
    };
    let given = |name: &str| row.get(name).filter(|value| !value.is_null());
    for name in LISTS {
        if let Some(list) = given(name).map(|value| list_of_objects(value, name)).transpose()?.flatten() {
            variables.insert(name.to_string(), list);
        }
    }
    for name in SWITCHES {
        if let Some(value) = given(name) {
            if !value.is_boolean() {
                return Err(bad(format!("'{name}' must be true or false, got {}", kind_of(value))));
            }
            variables.insert(name.to_string(), value.clone());
        }
    }
    // Under these names some sets keep a text of their own.
    let taken = [
        ("thinking", given("thinking").filter(|value| value.is_boolean())),
        ("reasoning_effort", given("reasoning_effort").filter(|value| value.is_string())),
    ];
    for (name, value) in taken {
        if let Some(value) = value {
            variables.insert(name.to_string(), value.clone());
        }
    }
    Ok(variables)
}

/// The list, its items parsed where they are JSON texts; None when it is empty.
fn list_of_objects(value: &Json, column: &str) -> Result<Option<Json>> {
    let items = match parse_text(value, column)? {
        Json::Null => return Ok(None),
        Json::Array(items) => items,
        other => return Err(bad(format!("'{column}' must be an array, got {}", kind_of(&other)))),
    };
    let mut parsed = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        // A document may be a bare text.
        let is_json = column == "tools";
        parsed.push(if is_json { parse_text(&item, &format!("{column}[{index}]"))? } else { item });
    }
    Ok((!parsed.is_empty()).then_some(Json::Array(parsed)))
}

/// Messages in either spelling: role and content, or ShareGPT's from and value.
fn read_turns(value: &Json, column: &str) -> Result<Vec<Json>> {
    let parsed = match value {
        Json::String(text) if text.trim_start().starts_with('[') => parse_text(value, column)?,
        other => other.clone(),
    };
    let Json::Array(list) = parsed else {
        return Err(bad(format!("'{column}' must be an array, got {}", kind_of(&parsed))));
    };
    list.into_iter().enumerate().map(|(index, turn)| read_turn(turn, &format!("{column}[{index}]"))).collect()
}

fn read_turn(turn: Json, place: &str) -> Result<Json> {
    let Json::Object(mut turn) = turn else {
        return Err(bad(format!("'{place}' must be an object, got {}", kind_of(&turn))));
    };
    if turn.get("tool_calls").is_some_and(Json::is_string) {
        let calls = parse_text(&turn["tool_calls"], &format!("{place}.tool_calls"))?;
        turn.insert("tool_calls".into(), calls);
    }
    if !turn.contains_key("role") && turn.contains_key("from") {
        let from = turn["from"].clone();
        let known = from.as_str().and_then(role_of);
        let role = known.ok_or_else(|| {
            let got = from.as_str().map_or_else(|| kind_of(&from).to_string(), |name| format!("'{name}'"));
            bad(format!("'{place}.from' must be 'human', 'gpt', 'system' or 'tool', got {got}"))
        })?;
        if from == "function_call" {
            return function_call(&turn, place);
        }
        turn.insert("role".into(), role.into());
        turn.shift_remove("from");
    }
    if !turn.contains_key("content") {
        if let Some(value) = turn.shift_remove("value") {
            turn.insert("content".into(), value);
        }
    }
    Ok(Json::Object(turn))
}

fn role_of(from: &str) -> Option<&'static str> {
    Some(match from.to_lowercase().as_str() {
        "human" | "user" => "user",
        "gpt" | "chatgpt" | "bing" | "bard" | "assistant" | "model" | "bot" | "function_call" => "assistant",
        "system" => "system",
        "tool" | "observation" | "function_response" | "function" => "tool",
        "developer" => "developer",
        _ => return None,
    })
}

/// LLaMA-Factory's turn that calls a tool: its value is the call as JSON text.
fn function_call(turn: &Map<String, Json>, place: &str) -> Result<Json> {
    let calls = match parse_text(turn.get("value").unwrap_or(&Json::Null), &format!("{place}.value"))? {
        Json::Array(calls) => calls,
        call => vec![call],
    };
    let calls: Vec<Json> =
        calls.into_iter().map(|call| json!({"type": "function", "function": call})).collect();
    Ok(json!({"role": "assistant", "content": "", "tool_calls": calls}))
}

/// Puts the row's system text in front, unless the conversation has one; the column that it came from.
fn put_system(row: &Map<String, Json>, turns: &mut Vec<Json>) -> Result<Option<&'static str>> {
    let given = SYSTEMS.into_iter().find(|name| row.get(*name).is_some_and(is_given));
    let (Some(column), false) = (given, turns.first().is_some_and(|turn| turn["role"] == "system")) else {
        return Ok(None);
    };
    turns.insert(0, json!({"role": "system", "content": string_of(row, column)?}));
    Ok(Some(column))
}

/// `prompt` with what follows it: two texts are one text, two lists one conversation.
fn join_prompt(row: &Map<String, Json>, column: &str) -> Result<Row> {
    if let (Json::String(prompt), Json::String(_)) = (&row["prompt"], &row[column]) {
        return Ok(text(&(prompt.clone() + string_of(row, column)?)));
    }
    if !row["prompt"].is_array() && !row[column].is_array() {
        string_of(row, "prompt")?;
        string_of(row, column)?;
    }
    let side = |name: &str, role: &str| match &row[name] {
        Json::String(text) => Ok(vec![json!({"role": role, "content": text})]),
        list => read_turns(list, name),
    };
    let (mut turns, rest) = (side("prompt", "user")?, side(column, "assistant")?);
    // Some sets repeat the prompt in what was chosen.
    if rest.first().is_some_and(|turn| turn["role"] != "assistant" && turn["role"] != "tool") {
        turns.clear();
    }
    turns.extend(rest);
    Ok(Row { sample: chat(turns, row)?, unread: unread(row, &UNREAD_OF_CHAT) })
}

fn chosen_alone(row: &Map<String, Json>) -> Result<Row> {
    if row["chosen"].is_string() {
        return Ok(text(string_of(row, "chosen")?));
    }
    let turns = read_turns(&row["chosen"], "chosen")?;
    Ok(Row { sample: chat(turns, row)?, unread: unread(row, &UNREAD_OF_CHAT) })
}

/// A turn of the user and one of the assistant.
fn question_and_answer(row: &Map<String, Json>, question: &str, answer: Option<&str>) -> Result<Row> {
    let mut user = string_of(row, question)?.to_string();
    if let Some(context) = CONTEXTS.into_iter().find(|name| row.get(*name).is_some_and(is_given)) {
        user = user + "\n" + string_of(row, context)?;
    }
    let mut turns = vec![json!({"role": "user", "content": user})];
    if let Some(answer) = answer {
        turns.push(json!({"role": "assistant", "content": string_of(row, answer)?}));
    }
    let used = put_system(row, &mut turns)?;
    let texts: Vec<&str> = turns.iter().filter_map(|turn| turn["content"].as_str()).collect();
    let plain = Some(texts.join("\n"));
    let unread = unread(row, &UNREAD_OF_CHAT).into_iter().filter(|name| Some(*name) != used).collect();
    Ok(Row { sample: Sample::Chat { messages: turns, variables: variables_of(row)?, plain }, unread })
}

/// The ids that `attention_mask` lets be seen: the others are padding.
fn read_ids(row: &Map<String, Json>) -> Result<Vec<i32>> {
    let list = array_of(row, "input_ids")?;
    let mut ids = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let id = item.as_i64().and_then(|id| i32::try_from(id).ok()).filter(|id| *id >= 0);
        ids.push(id.ok_or_else(|| {
            let got = if item.is_number() { item.to_string() } else { kind_of(item).to_string() };
            bad(format!("'input_ids[{index}]' must be an integer from 0 to {}, got {got}", i32::MAX))
        })?);
    }
    if row.get("attention_mask").is_none_or(Json::is_null) {
        return Ok(ids);
    }
    let mask = array_of(row, "attention_mask")?;
    if mask.len() != ids.len() {
        let (got, wanted) = (mask.len(), ids.len());
        return Err(bad(format!("'attention_mask' has {got} entries, wanted {wanted} as 'input_ids'")));
    }
    let mut seen = Vec::with_capacity(ids.len());
    for (index, (item, id)) in mask.iter().zip(ids).enumerate() {
        let entry = item.as_f64().or(item.as_bool().map(|on| f64::from(u8::from(on))));
        match entry {
            Some(1.0) => seen.push(id),
            Some(0.0) => {}
            _ => {
                let got = if item.is_number() { item.to_string() } else { kind_of(item).to_string() };
                return Err(bad(format!("'attention_mask[{index}]' must be 0 or 1, got {got}")));
            }
        }
    }
    Ok(seen)
}

fn array_of<'a>(row: &'a Map<String, Json>, column: &str) -> Result<&'a Vec<Json>> {
    let value = &row[column];
    value
        .as_array()
        .ok_or_else(|| bad(format!("'{column}' must be an array of integers, got {}", kind_of(value))))
}
