use crate::sys;
use std::ffi::CString;
use std::fmt;
use std::path::Path;

/// What llmc's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of a failure: llmc.h's `LLMC_*` statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A caller's or recipe's mistake.
    InvalidArgument,
    /// A file, folder or tensor that is not there.
    NotFound,
    /// The operating system refused: disk full, permission, read error.
    Io,
    /// A file that breaks its own format.
    BadFile,
    /// A valid request that this build cannot serve.
    Unsupported,
    /// NaN or Inf where a finite number is needed.
    Numeric,
    /// Memory ran out.
    OutOfMemory,
    /// [`crate::CancelHandle::cancel`] was called.
    Cancelled,
    /// The output is already there.
    Exists,
    /// A bug in llmc.
    Internal,
    /// A status of a newer library.
    Other(i32),
}

/// A failure: its kind and one line of text (place: thing, what was got, what was wanted).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl ErrorKind {
    fn from_status(status: sys::llmc_status) -> Self {
        match status {
            sys::LLMC_INVALID_ARGUMENT => Self::InvalidArgument,
            sys::LLMC_NOT_FOUND => Self::NotFound,
            sys::LLMC_IO => Self::Io,
            sys::LLMC_BAD_FILE => Self::BadFile,
            sys::LLMC_UNSUPPORTED => Self::Unsupported,
            sys::LLMC_NUMERIC => Self::Numeric,
            sys::LLMC_OUT_OF_MEMORY => Self::OutOfMemory,
            sys::LLMC_CANCELLED => Self::Cancelled,
            sys::LLMC_EXISTS => Self::Exists,
            sys::LLMC_INTERNAL => Self::Internal,
            other => Self::Other(other),
        }
    }

    /// The number in llmc.h.
    pub fn status(self) -> i32 {
        match self {
            Self::InvalidArgument => sys::LLMC_INVALID_ARGUMENT,
            Self::NotFound => sys::LLMC_NOT_FOUND,
            Self::Io => sys::LLMC_IO,
            Self::BadFile => sys::LLMC_BAD_FILE,
            Self::Unsupported => sys::LLMC_UNSUPPORTED,
            Self::Numeric => sys::LLMC_NUMERIC,
            Self::OutOfMemory => sys::LLMC_OUT_OF_MEMORY,
            Self::Cancelled => sys::LLMC_CANCELLED,
            Self::Exists => sys::LLMC_EXISTS,
            Self::Internal => sys::LLMC_INTERNAL,
            Self::Other(status) => status,
        }
    }

    /// The name in llmc.h, such as "LLMC_IO".
    pub fn name(self) -> &'static str {
        // SAFETY: static text for every number.
        unsafe { crate::static_text(sys::llmc_status_name(self.status())) }
    }
}

impl Error {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// One line: place, thing, what was got, what was wanted.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// For callbacks that fail: the call that ran them returns this error.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn invalid(message: String) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// Takes the error object. SAFETY: `error` came from the call that returned `status`, or is NULL.
    pub(crate) unsafe fn check(status: sys::llmc_status, error: *mut sys::llmc_error) -> Result<()> {
        let message = crate::copied_text(sys::llmc_error_message(error));
        sys::llmc_error_free(error);
        if status == sys::LLMC_OK {
            return Ok(());
        }
        Err(Self { kind: ErrorKind::from_status(status), message })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.kind.name(), self.message)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(problem: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, problem.to_string())
    }
}

/// Makes a call that needs no session.
pub(crate) fn checked(call: impl FnOnce(*mut *mut sys::llmc_error) -> sys::llmc_status) -> Result<()> {
    let mut error = std::ptr::null_mut();
    let status = call(&mut error);
    // SAFETY: both come from the call.
    unsafe { Error::check(status, error) }
}

/// A path for C.
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    c_text("path", path.as_os_str().as_encoded_bytes())
}

/// Text for C.
pub(crate) fn c_text(name: &str, text: &[u8]) -> Result<CString> {
    CString::new(text)
        .map_err(|_| Error::invalid(format!("{name} '{}' has a NUL byte in it", text.escape_ascii())))
}
