//! Calibration data: rows of a file to sequences of token ids, as llm-compressor does it (shuffle, select,
//! tokenize, concatenate, in that order).

use crate::dataset_rows::RowFile;
use crate::error::{Error, Result, Status};
use crate::model_folder::explain_missing_tokenizer;
use crate::row_forms::{bad, kind_of, read_row, Sample};
use crate::shuffle::permutation;
use crate::strftime::DateTime;
use crate::template_limits::spawn;
use crate::tokenizer::{Tokenizer, Tokens};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Whether the caller wants the work to end; asked before every row, from any thread.
pub type IsCancelled<'a> = &'a (dyn Fn() -> bool + Sync);

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
    /// Where a tokenizer was looked for, when there is none: the error says what lies there instead.
    pub tokenizer_dir: Option<PathBuf>,
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

pub fn load_dataset(
    tokenizer: Option<&Tokenizer>,
    path: &Path,
    options: &Options,
    is_cancelled: IsCancelled,
) -> Result<Dataset> {
    if options.concatenate && options.max_seq_length == 0 {
        let message = "dataset: concatenate needs a max_seq_length above 0, got 0";
        return Err(Error::new(Status::InvalidArgument, message));
    }
    let file = RowFile::open(path, is_cancelled)?;
    let order = select_rows(file.len(), options);
    let mut dataset = Dataset { rows: file.len(), sequence_starts: vec![0], ..Dataset::default() };
    if options.num_samples > file.len() {
        let (name, wanted) = (path.display(), options.num_samples);
        dataset
            .notes
            .push(format!("dataset: {name} has {} rows, {wanted} were asked for; all are used", file.len()));
    }
    let mut unread: BTreeMap<&str, usize> = BTreeMap::new();
    for row in tokenize_rows(tokenizer, &file, &order, options, is_cancelled)? {
        for column in row.unread {
            *unread.entry(column).or_default() += 1;
        }
        let tokens = row.tokens;
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
    for (column, rows) in unread {
        dataset.notes.push(format!("dataset: column '{column}' is not used, though {rows} rows have it"));
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

struct RowTokens {
    tokens: Tokens,
    unread: Vec<&'static str>,
}

/// The tokens of the rows in `order`, in that order, whatever the number of threads.
fn tokenize_rows(
    tokenizer: Option<&Tokenizer>,
    file: &RowFile,
    order: &[usize],
    options: &Options,
    is_cancelled: IsCancelled,
) -> Result<Vec<RowTokens>> {
    let threads = options.threads.clamp(1, order.len().max(1));
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = || {
        let mut done: Vec<(usize, Result<RowTokens>)> = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(&row) = order.get(position) else { break };
            let tokens = match is_cancelled() {
                true => Err(Error::cancelled()),
                false => tokenize_row(tokenizer, file, row, options),
            };
            failed.fetch_or(tokens.is_err(), Ordering::Relaxed);
            done.push((position, tokens));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        // The calling thread waits: how large its stack is, nobody knows. It works when the system refuses a thread.
        let helpers: Vec<_> = (0..threads).filter_map(|_| spawn(scope, work)).collect();
        let mut done = if helpers.is_empty() { work() } else { Vec::new() };
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
) -> Result<RowTokens> {
    let text = file.read(row)?;
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

fn tokens_of_object(
    tokenizer: Option<&Tokenizer>,
    object: Map<String, Json>,
    options: &Options,
) -> Result<RowTokens> {
    let row = read_row(&object, &options.text_column)?;
    // A sample that will be joined to others is cut only afterwards.
    let limit = if options.concatenate { 0 } else { options.max_seq_length };
    let tokens = match row.sample {
        Sample::Ids(ids) => cut_ids(ids, limit),
        Sample::Text(text) => encode_text(tokenizer, &text, limit, options)?,
        Sample::Chat { messages, variables, plain } => {
            let tokenizer = need_tokenizer(tokenizer, "messages", options)?;
            match plain {
                Some(text) if !tokenizer.has_chat_template() => {
                    encode_text(Some(tokenizer), &text, limit, options)?
                }
                _ if messages.is_empty() => no_tokens(),
                _ => {
                    let text = tokenizer.render(&Json::Array(messages), &variables, false, options.date)?;
                    tokenizer.encode_truncated(&text, false, limit)?
                }
            }
        }
    };
    Ok(RowTokens { tokens, unread: row.unread })
}

fn no_tokens() -> Tokens {
    Tokens { ids: Vec::new(), truncated: false }
}

fn cut_ids(mut ids: Vec<i32>, limit: usize) -> Tokens {
    let truncated = limit > 0 && ids.len() > limit;
    if truncated {
        ids.truncate(limit);
    }
    Tokens { ids, truncated }
}

fn encode_text(tokenizer: Option<&Tokenizer>, text: &str, limit: usize, options: &Options) -> Result<Tokens> {
    if text.is_empty() {
        // A BOS alone would be a sample of one token that says nothing about the model.
        return Ok(no_tokens());
    }
    need_tokenizer(tokenizer, "text", options)?.encode_truncated(text, true, limit)
}

fn need_tokenizer<'a>(
    tokenizer: Option<&'a Tokenizer>,
    what: &str,
    options: &Options,
) -> Result<&'a Tokenizer> {
    tokenizer.ok_or_else(|| {
        let cause = match &options.tokenizer_dir {
            Some(folder) => format!(": {}; or", explain_missing_tokenizer(folder)),
            None => "; open one, or".to_string(),
        };
        let text = format!("no tokenizer to turn {what} into token ids{cause} pass rows with 'input_ids'");
        Error::new(Status::InvalidArgument, text)
    })
}
