//! The one error of the crate: a status the C header knows and a one-line text.

use std::fmt;

/// Values of `llmc_text_status` in llmc_text.h, which are those of `llmc::ErrorCode`; never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    InvalidArgument = 1,
    NotFound = 2,
    Io = 3,
    BadFile = 4,
    Unsupported = 5,
    Cancelled = 8,
    Internal = 10,
}

#[derive(Clone, Debug)]
pub struct Error {
    pub status: Status,
    pub message: String,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(status: Status, message: impl AsRef<str>) -> Self {
        // Libraries and templates may answer in several lines; the house promises one.
        let lines: Vec<&str> = message.as_ref().lines().map(str::trim).collect();
        let message = lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        Error { status, message }
    }

    /// A failed call of the operating system on `path`.
    pub fn from_io(place: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let status = match error.kind() {
            std::io::ErrorKind::NotFound => Status::NotFound,
            std::io::ErrorKind::InvalidData => Status::BadFile,
            _ => Status::Io,
        };
        Error::new(status, format!("{place}: cannot read '{}': {error}", path.display()))
    }

    pub fn cancelled() -> Self {
        Error::new(Status::Cancelled, "dataset: cancelled")
    }

    /// The same error with the place it happened in put in front.
    pub fn at(self, place: impl fmt::Display) -> Self {
        Error { status: self.status, message: format!("{place}: {}", self.message) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// `'a', 'b'`, as error texts list names.
pub fn quote_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}
