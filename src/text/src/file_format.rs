//! Data set files of other formats than JSON: named by their first bytes, or else by their name's end, with what
//! makes JSON lines of them.

use crate::error::{quote_names, Error, Result, Status};
use std::path::Path;

/// How many of a file's first bytes are enough.
pub const HEAD_BYTES: usize = 4096;
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
const PANDAS: &str = ".to_json('rows.jsonl', orient='records', lines=True)";

/// First bytes, the format's name, what to do.
const MAGIC: [(&[u8], &str, &str); 19] = [
    (b"PAR1", "Parquet", "pandas.read_parquet"),
    (b"\x1f\x8b", "gzip", "gunzip"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unzstd"),
    (b"\xfd7zXZ\0", "xz", "unxz"),
    (b"BZh", "bzip2", "bunzip2"),
    (b"\x04\x22\x4d\x18", "lz4", "unlz4"),
    (b"ARROW1\0\0", "Arrow", "pandas.read_feather"),
    (b"\xff\xff\xff\xff", "Arrow stream", "datasets.Dataset.from_file"),
    (b"PK\x03\x04", "zip", "unzip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Excel", "pandas.read_excel"),
    (b"ORC", "ORC", "pandas.read_orc"),
    (b"Obj\x01", "Avro", ""),
    (b"\x89HDF\r\n\x1a\n", "HDF5", "pandas.read_hdf"),
    (b"\x93NUMPY", "NumPy", ""),
    (b"SQLite format 3\0", "SQLite", ""),
    (b"%PDF-", "PDF", ""),
    (b"\x80\x04\x95", "pickle", "pandas.read_pickle"),
    (b"\xff\xfe", "UTF-16", "iconv"),
    (b"\xfe\xff", "UTF-16", "iconv"),
];

/// The name's end, for files of text.
const ENDS: [(&str, &str, &str); 10] = [
    ("csv", "CSV", "pandas.read_csv"),
    ("tsv", "TSV", "pandas.read_table"),
    ("xml", "XML", "pandas.read_xml"),
    ("html", "HTML", ""),
    ("htm", "HTML", ""),
    ("yaml", "YAML", ""),
    ("yml", "YAML", ""),
    ("txt", "plain text", "text"),
    ("text", "plain text", "text"),
    ("md", "plain text", "text"),
];

/// Whether the bytes are git-lfs' stand-in for a file that was not downloaded.
pub fn is_lfs_pointer(head: &[u8]) -> bool {
    head.starts_with(LFS_POINTER)
}

/// What an error says of such a file, after its name.
pub const LFS_REASON: &str =
    "is a git-lfs pointer, not the file itself; 'git lfs pull' in its folder fetches it";

/// Fails for a file that holds no JSON, which `head`, its beginning, tells.
pub fn refuse_other_formats(path: &Path, head: &[u8]) -> Result<()> {
    let bad =
        |reason: String| Err(Error::new(Status::BadFile, format!("dataset: '{}' {reason}", path.display())));
    if is_lfs_pointer(head) {
        return bad(LFS_REASON.to_string());
    }
    let end = path.extension().map(|end| end.to_string_lossy().to_lowercase()).unwrap_or_default();
    if let Some((_, name, tool)) = MAGIC.iter().find(|(magic, _, _)| head.starts_with(magic)) {
        return match (*name, end.as_str()) {
            ("zip", "xlsx" | "xlsm") => bad(is_format("Excel", "pandas.read_excel")),
            ("zip", "ods") => bad(is_format("OpenDocument", "pandas.read_excel")),
            _ => bad(is_format(name, tool)),
        };
    }
    if head.contains(&0) {
        return bad(is_format("a binary format", ""));
    }
    let Some(first) = head.iter().find(|byte| !byte.is_ascii_whitespace()) else { return Ok(()) };
    // A row of another JSON type is the row's error.
    if matches!(first, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9')
        && !ENDS.iter().any(|(known, ..)| *known == end)
    {
        return Ok(());
    }
    if matches!(first, b'{' | b'[') {
        return Ok(());
    }
    if *first == b'<' {
        return bad(is_format(if end == "xml" { "XML" } else { "HTML" }, ""));
    }
    if let Some((_, name, tool)) = ENDS.iter().find(|(known, ..)| *known == end) {
        return bad(is_format(name, tool));
    }
    let line = head.split(|byte| *byte == b'\n').find(|line| !line.is_empty()).unwrap_or_default();
    match line.iter().find(|byte| matches!(byte, b',' | b'\t')) {
        _ if [&b"true"[..], b"false", b"null"].contains(&line.trim_ascii()) => Ok(()),
        Some(b',') if !line.contains(&b' ') => bad(is_format("CSV", "pandas.read_csv")),
        Some(b'\t') => bad(is_format("TSV", "pandas.read_table")),
        _ => bad(is_format("plain text", "text")),
    }
}

/// `is CSV; wanted JSON, ...`
fn is_format(name: &str, tool: &str) -> String {
    let way = match tool {
        "" => String::new(),
        "text" => r#"; put each text on a line of its own as {"text": "..."}"#.to_string(),
        "iconv" => "; 'iconv -t UTF-8' makes UTF-8 of it".to_string(),
        "datasets.Dataset.from_file" => {
            "; datasets.Dataset.from_file(...).to_json('rows.jsonl') makes them".into()
        }
        _ if tool.starts_with("pandas.") => format!("; {tool}(...){PANDAS} makes them"),
        _ => format!("; '{tool}' unpacks it"),
    };
    format!("is {name}, wanted JSON: one object per line, or one array of them{way}")
}

/// Why a folder is no data set file, from the names of what it holds.
pub fn refuse_folder(path: &Path) -> Error {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let holds = |name: &str| names.iter().any(|held| held == name);
    let data: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| {
            [".jsonl", ".json", ".ndjson", ".parquet", ".csv", ".gz", ".zst"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .take(3)
        .collect();
    let reason = if holds("dataset_dict.json") {
        "is a folder of datasets' save_to_disk with several splits, wanted a file of JSON lines; \
         datasets.load_from_disk(...)['train'].to_json('rows.jsonl') makes one"
            .to_string()
    } else if holds("dataset_info.json")
        || holds("state.json")
        || names.iter().any(|name| name.ends_with(".arrow"))
    {
        "is a folder of datasets' save_to_disk, wanted a file of JSON lines; \
         datasets.load_from_disk(...).to_json('rows.jsonl') makes one"
            .to_string()
    } else if !data.is_empty() {
        format!("is not a file; it is a folder that holds {}", quote_names(data))
    } else {
        "is not a file; it is a folder, wanted a file of JSON lines".to_string()
    };
    Error::new(Status::InvalidArgument, format!("dataset: '{}' {reason}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(name: &str, head: &[u8]) -> String {
        refuse_other_formats(Path::new(name), head)
            .err()
            .map_or("fine".into(), |error| error.message.split("' ").skip(1).collect::<Vec<_>>().join("' "))
    }

    #[test]
    fn formats_are_named_by_their_first_bytes() {
        let cases: [(&str, &[u8], &str); 9] = [
            ("train.parquet", b"PAR1\x15\x04", "is Parquet, wanted"),
            ("rows.jsonl", b"\x1f\x8b\x08", "is gzip, wanted"),
            ("rows.jsonl.zst", b"\x28\xb5\x2f\xfd\0", "is zstd, wanted"),
            ("data.arrow", b"\xff\xff\xff\xff\x10\x02", "is Arrow stream, wanted"),
            ("rows.xlsx", b"PK\x03\x04\x14", "is Excel, wanted"),
            ("rows.zip", b"PK\x03\x04\x14", "is zip, wanted"),
            ("rows.jsonl", b"version https://git-lfs.github.com/spec/v1\noid", "is a git-lfs pointer"),
            ("rows.jsonl", b"\xff\xfe{\0\"\0", "is UTF-16, wanted"),
            ("rows.bin", b"\x01\0\0\0", "is a binary format, wanted"),
        ];
        for (name, head, wanted) in cases {
            assert!(reason(name, head).starts_with(wanted), "{name}: {}", reason(name, head));
        }
    }

    #[test]
    fn files_of_text_are_named_by_their_names_end_or_their_first_line() {
        for (name, head, wanted) in [
            ("rows.csv", "text,label\na,1\n", "is CSV, wanted"),
            ("rows.csv", "\"text\",\"label\"\n", "is CSV, wanted"),
            ("rows.tsv", "text\tlabel\n", "is TSV, wanted"),
            ("notes.txt", "It was a dark night, and\n", "is plain text, wanted"),
            ("rows.jsonl", "text,label\na,1\n", "is CSV, wanted"),
            ("rows.jsonl", "It was a dark night, and\n", "is plain text, wanted"),
            ("rows.jsonl", "<!DOCTYPE html><html>", "is HTML, wanted"),
            ("rows.txt", "{\"text\": \"a\"}\n", "fine"),
            ("rows.jsonl", "\n [{\"text\": \"a\"}]", "fine"),
            ("rows.jsonl", "17\n", "fine"),
            ("rows.jsonl", "null\n", "fine"),
            ("rows.jsonl", "", "fine"),
        ] {
            assert!(
                reason(name, head.as_bytes()).starts_with(wanted),
                "{name}: {}",
                reason(name, head.as_bytes())
            );
        }
    }
}
