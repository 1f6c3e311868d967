//! Where the rows of a data set file are. Only their places are kept: of a file with 200,000 chats, the few that
//! are asked for are read and parsed.

use crate::dataset::IsCancelled;
use crate::error::{Error, Result, Status};
use crate::file_format::{refuse_folder, refuse_other_formats, HEAD_BYTES};
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How often the caller is asked whether to go on.
const LINES_BETWEEN_POLLS: u64 = 1000;

struct Span {
    offset: u64,
    bytes: usize,
    /// 1-based line the row starts on.
    line: u64,
}

/// The rows of a JSONL file, or of a JSON file holding one array.
pub struct RowFile {
    path: PathBuf,
    file: File,
    spans: Vec<Span>,
}

impl RowFile {
    pub fn open(path: &Path, is_cancelled: IsCancelled) -> Result<Self> {
        let io = |error: std::io::Error| Error::from_io("dataset", path, &error);
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if metadata.is_dir() {
            return Err(refuse_folder(path));
        }
        if !metadata.is_file() {
            return Err(Error::new(
                Status::InvalidArgument,
                format!("dataset: '{}' is not a file", path.display()),
            ));
        }
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut offset = 0;
        if reader.fill_buf().map_err(io)?.starts_with(BYTE_ORDER_MARK) {
            reader.consume(BYTE_ORDER_MARK.len());
            offset = BYTE_ORDER_MARK.len() as u64;
        }
        let head = reader.fill_buf().map_err(io)?;
        refuse_other_formats(path, &head[..head.len().min(HEAD_BYTES)])?;
        let spans = if starts_array(reader.fill_buf().map_err(io)?) {
            index_array(path, reader, offset)?
        } else {
            index_lines(path, reader, offset, is_cancelled)?
        };
        if spans.is_empty() {
            return Err(Error::new(Status::BadFile, format!("dataset: {}: no rows", path.display())));
        }
        Ok(RowFile { path: path.to_path_buf(), file, spans })
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// `dataset: chats.jsonl:17`, for the front of an error.
    pub fn place(&self, row: usize) -> String {
        format!("dataset: {}:{}", self.path.display(), self.spans[row].line)
    }

    /// The text of one row.
    pub fn read(&self, row: usize) -> Result<String> {
        let span = &self.spans[row];
        let mut bytes = vec![0; span.bytes];
        let io = |error: std::io::Error| Error::from_io("dataset", &self.path, &error);
        self.file.read_exact_at(&mut bytes, span.offset).map_err(io)?;
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Error::new(Status::BadFile, format!("{}: byte {at} of the row is not UTF-8", self.place(row)))
        })
    }
}

fn starts_array(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

fn index_lines(
    path: &Path,
    mut reader: impl BufRead,
    mut offset: u64,
    is_cancelled: IsCancelled,
) -> Result<Vec<Span>> {
    let io = |error: std::io::Error| Error::from_io("dataset", path, &error);
    let mut spans = Vec::new();
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let bytes = reader.read_until(b'\n', &mut text).map_err(io)?;
        if bytes == 0 {
            break;
        }
        if line % LINES_BETWEEN_POLLS == 0 && is_cancelled() {
            return Err(Error::cancelled());
        }
        if spans.is_empty() && text.trim_ascii() == b"{" {
            let message = format!(
                "dataset: {}:{line}: an object over several lines, wanted one object per line, or one array of \
                 them",
                path.display()
            );
            return Err(Error::new(Status::BadFile, message));
        }
        if !text.iter().all(u8::is_ascii_whitespace) {
            spans.push(Span { offset, bytes, line });
        }
        offset += bytes as u64;
    }
    Ok(spans)
}

fn index_array(path: &Path, mut reader: impl Read, offset: u64) -> Result<Vec<Span>> {
    let mut text = String::new();
    reader.read_to_string(&mut text).map_err(|error| Error::from_io("dataset", path, &error))?;
    let rows: Vec<&RawValue> = serde_json::from_str(&text).map_err(|error| {
        Error::new(Status::BadFile, format!("dataset: {}:{}: {error}", path.display(), error.line()))
    })?;
    let mut spans = Vec::with_capacity(rows.len());
    let (mut line, mut counted) = (1, 0);
    for row in rows {
        // The row borrows from the text, so the distance between the two is its place in the file.
        let start = row.get().as_ptr() as usize - text.as_ptr() as usize;
        line += text.as_bytes()[counted..start].iter().filter(|byte| **byte == b'\n').count() as u64;
        counted = start;
        spans.push(Span { offset: offset + start as u64, bytes: row.get().len(), line });
    }
    Ok(spans)
}
