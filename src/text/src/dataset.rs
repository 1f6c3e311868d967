//! Calibration data: rows of a file to sequences of token ids, as llm-compressor does it (shuffle, select,
//! tokenize, concatenate, in that order).

use crate::dataset_rows::RowFile;
use crate::error::{quote_names, Error, Result, Status};
use crate::shuffle::permutation;
use crate::strftime::DateTime;
use crate::tokenizer::{Tokenizer, Tokens};
use serde_json::{Map, Value as Json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const DEFAULT_TEXT_COLUMN: &str = "text";
const HELPER_STACK_BYTES: usize = 8 << 20;

#[derive(Clone, Debug)]
pub struct Options {
    /// 0: all rows.
    pub num_samples: usize,
    /// 0: no limit.
    pub max_seq_length: usize,
    pub shuffle_seed: Option<u64>,
    pub concatenate: bool,
    pub text_column: String,
    pub date: DateTime,
    pub threads: usize,
}

#[derive(Debug, Default)]
pub struct Dataset {
    pub token_ids: Vec<i32>,
    /// [sequences + 1]
    pub sequence_starts: Vec<i64>,
    pub rows: usize,
    /// Rows that gave tokens.
    pub samples: usize,
    pub truncated: usize,
    pub skipped_empty: usize,
    pub notes: Vec<String>,
}

pub fn load_dataset(tokenizer: Option<&Tokenizer>, path: &Path, options: &Options) -> Result<Dataset> {
    if options.concatenate && options.max_seq_length == 0 {
        let message = "dataset: concatenate needs a max_seq_length above 0, got 0";
        return Err(Error::new(Status::InvalidArgument, message));
    }
    let file = RowFile::open(path)?;
    let order = select_rows(file.len(), options);
    let mut dataset = Dataset { rows: file.len(), sequence_starts: vec![0], ..Dataset::default() };
    if options.num_samples > file.len() {
        let (name, wanted) = (path.display(), options.num_samples);
        dataset
            .notes
            .push(format!("dataset: {name} has {} rows, {wanted} were asked for; all are used", file.len()));
    }
    for tokens in tokenize_rows(tokenizer, &file, &order, options)? {
        if tokens.ids.is_empty() {
            dataset.skipped_empty += 1;
            continue;
        }
        dataset.samples += 1;
        dataset.truncated += usize::from(tokens.truncated);
        dataset.token_ids.extend(tokens.ids);
        dataset.sequence_starts.push(dataset.token_ids.len() as i64);
    }
    if dataset.token_ids.is_empty() {
        let message =
            format!("dataset: {}: none of the {} rows used has any tokens", path.display(), order.len());
        return Err(Error::new(Status::BadFile, message));
    }
    if dataset.skipped_empty > 0 {
        dataset.notes.push(format!("dataset: {} rows without tokens were skipped", dataset.skipped_empty));
    }
    if options.concatenate {
        cut_into_equal_sequences(&mut dataset, options.max_seq_length);
    }
    Ok(dataset)
}

fn select_rows(rows: usize, options: &Options) -> Vec<usize> {
    let mut order = match options.shuffle_seed {
        Some(seed) => permutation(seed, rows),
        None => (0..rows).collect(),
    };
    if options.num_samples > 0 {
        order.truncate(options.num_samples);
    }
    order
}

/// Whole sequences of `length`; what is left over is dropped, unless it is all there is.
fn cut_into_equal_sequences(dataset: &mut Dataset, length: usize) {
    let total = dataset.token_ids.len();
    if total < length {
        dataset.notes.push(format!(
            "dataset: all rows together have {total} tokens, fewer than one sequence of {length}"
        ));
        dataset.sequence_starts = vec![0, total as i64];
        return;
    }
    let sequences = total / length;
    dataset.token_ids.truncate(sequences * length);
    dataset.sequence_starts = (0..=sequences).map(|index| (index * length) as i64).collect();
}

/// The tokens of the rows in `order`, in that order, whatever the number of threads.
fn tokenize_rows(
    tokenizer: Option<&Tokenizer>,
    file: &RowFile,
    order: &[usize],
    options: &Options,
) -> Result<Vec<Tokens>> {
    let threads = options.threads.clamp(1, order.len().max(1));
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = || {
        let mut done: Vec<(usize, Result<Tokens>)> = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(&row) = order.get(position) else { break };
            let tokens = tokenize_row(tokenizer, file, row, options);
            failed.fetch_or(tokens.is_err(), Ordering::Relaxed);
            done.push((position, tokens));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        // A given stack size keeps std from asking the environment for one. A helper that the system refuses is
        // only missed: the calling thread works as well.
        let start = || std::thread::Builder::new().stack_size(HELPER_STACK_BYTES).spawn_scoped(scope, work);
        let helpers: Vec<_> = (1..threads).filter_map(|_| start().ok()).collect();
        let mut done = work();
        for helper in helpers {
            done.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    // Positions are claimed in order, so everything before the first error has been tried: it is always the same one.
    done.sort_by_key(|(position, _)| *position);
    done.into_iter().map(|(_, tokens)| tokens).collect()
}

fn tokenize_row(
    tokenizer: Option<&Tokenizer>,
    file: &RowFile,
    row: usize,
    options: &Options,
) -> Result<Tokens> {
    let text = file.read(row)?;
    let bad = |reason: String| Error::new(Status::BadFile, reason);
    let tokens = match serde_json::from_str::<Json>(&text) {
        Ok(Json::Object(object)) => tokens_of_object(tokenizer, object, options),
        Ok(other) => Err(bad(format!("expected a JSON object, got {}", kind_of(&other)))),
        Err(error) => Err(bad(format!("malformed JSON: {}", json_reason(&error)))),
    };
    tokens.map_err(|error| error.at(file.place(row)))
}

/// serde's reason without its "at line 1", which would be mistaken for a line of the file.
fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or(&text);
    format!("{reason} at column {}", error.column())
}

fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// Which column holds the sample. Ids win, because a data set tokenized beforehand keeps its text beside them; a
/// text column named by the user wins over the usual ones.
fn tokens_of_object(
    tokenizer: Option<&Tokenizer>,
    mut row: Map<String, Json>,
    options: &Options,
) -> Result<Tokens> {
    let column = options.text_column.as_str();
    if let Some(ids) = row.get("input_ids") {
        return read_ids(ids, limit_of(options));
    }
    if column == DEFAULT_TEXT_COLUMN || !row.contains_key(column) {
        if let Some(messages) = row.shift_remove("messages") {
            return encode_messages(tokenizer, &messages, row, options);
        }
    }
    let text = if let Some(text) = row.get(column) {
        string_of(text, column)?.to_string()
    } else if let Some(prompt) = row.get("prompt") {
        let completion = row.get("completion").map_or(Ok(""), |text| string_of(text, "completion"))?;
        string_of(prompt, "prompt")?.to_string() + completion
    } else {
        let got = if row.is_empty() {
            "no keys".into()
        } else {
            format!("keys {}", quote_names(row.keys().map(String::as_str)))
        };
        let wanted = quote_names(["messages", column, "prompt", "input_ids"]);
        return Err(Error::new(Status::BadFile, format!("expected one of {wanted}, got {got}")));
    };
    if text.is_empty() {
        // A BOS alone would be a sample of one token that says nothing about the model.
        return Ok(Tokens { ids: Vec::new(), truncated: false });
    }
    need_tokenizer(tokenizer, "text")?.encode_truncated(&text, true, limit_of(options))
}

/// A sample that will be joined to others is cut only afterwards.
fn limit_of(options: &Options) -> usize {
    if options.concatenate {
        0
    } else {
        options.max_seq_length
    }
}

fn need_tokenizer<'a>(tokenizer: Option<&'a Tokenizer>, what: &str) -> Result<&'a Tokenizer> {
    tokenizer.ok_or_else(|| {
        Error::new(
            Status::InvalidArgument,
            format!("no tokenizer to turn {what} into token ids; open one, or pass rows with 'input_ids'"),
        )
    })
}

fn string_of<'a>(value: &'a Json, column: &str) -> Result<&'a str> {
    value.as_str().ok_or_else(|| {
        Error::new(Status::BadFile, format!("'{column}' must be a string, got {}", kind_of(value)))
    })
}

fn encode_messages(
    tokenizer: Option<&Tokenizer>,
    messages: &Json,
    row: Map<String, Json>,
    options: &Options,
) -> Result<Tokens> {
    let Some(list) = messages.as_array() else {
        return Err(Error::new(
            Status::BadFile,
            format!("'messages' must be an array, got {}", kind_of(messages)),
        ));
    };
    if let Some((index, other)) = list.iter().enumerate().find(|(_, message)| !message.is_object()) {
        let message = format!("'messages[{index}]' must be an object, got {}", kind_of(other));
        return Err(Error::new(Status::BadFile, message));
    }
    let tokenizer = need_tokenizer(tokenizer, "messages")?;
    if list.is_empty() {
        return Ok(Tokens { ids: Vec::new(), truncated: false });
    }
    // Of the row's other columns, only the tools belong to the conversation.
    let variables: Map<String, Json> = row
        .into_iter()
        .filter(|(name, value)| name == "tools" && value.as_array().is_some_and(|tools| !tools.is_empty()))
        .collect();
    let text = tokenizer.render(messages, &variables, false, options.date)?;
    tokenizer.encode_truncated(&text, false, limit_of(options))
}

fn read_ids(value: &Json, limit: usize) -> Result<Tokens> {
    let bad = |message: String| Error::new(Status::BadFile, message);
    let list = value
        .as_array()
        .ok_or_else(|| bad(format!("'input_ids' must be an array of integers, got {}", kind_of(value))))?;
    let mut ids = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let id = item.as_i64().and_then(|id| i32::try_from(id).ok()).filter(|id| *id >= 0);
        ids.push(id.ok_or_else(|| {
            let got = if item.is_number() { item.to_string() } else { kind_of(item).to_string() };
            bad(format!("'input_ids[{index}]' must be an integer from 0 to {}, got {got}", i32::MAX))
        })?);
    }
    let truncated = limit > 0 && ids.len() > limit;
    if truncated {
        ids.truncate(limit);
    }
    Ok(Tokens { ids, truncated })
}
