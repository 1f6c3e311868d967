//! Compresses large language models in one shot: a Hugging Face model folder, a recipe and a few hundred chats in, a folder that vLLM serves out.
//!
//! ```no_run
//! # fn main() -> llmc::Result<()> {
//! let report = llmc::Oneshot::new("Llama-3-8B", "Llama-3-8B-W4A16").recipe("w4a16.yaml").dataset("chats.jsonl").run()?;
//! println!("{} -> {} bytes", report.bytes_before(), report.bytes_after());
//! # Ok(()) }
//! ```
//!
//! [`Oneshot`] is the job, [`Session`] where it runs (threads, instruction set, progress, cancelling); the functions of a session look at model folders.
//! [`Model`] is the job in parts. With a forward pass of your own, [`Gram`], [`Scheme`], [`Matrix`] and [`Writer`] do the rest, matrix by matrix.
//! Everything is a thin, safe layer over libllmc's C interface; [`sys`] is that interface itself.
//!
//! Callbacks may fail: an error they return is the call's. They may panic: the call ends and the panic goes on in the caller once libllmc has returned; no
//! panic crosses the C interface.
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

#[macro_use]
mod handle;
mod error;
mod gram;
mod matrix;
mod model;
mod modifier;
mod oneshot;
mod report;
mod scheme;
mod session;
mod source;
#[doc(hidden)]
pub mod sys;
mod tensor;
mod tools;
mod writer;

pub use error::{Error, ErrorKind, Result};
pub use gram::{smooth_apply, Channels, Gram, SmoothOperation, Smoothing, SmoothingAlgorithm};
pub use matrix::{Matrix, MatrixFacts, Packed};
pub use model::Model;
pub use modifier::{Job, Needs};
pub use oneshot::{Compat, Oneshot, Propagation, Rounding};
pub use report::{Linear, Report};
pub use scheme::{Dampening, Method, Scheme, SchemeBuilder};
pub use session::{CancelHandle, Device, LogLevel, Progress, Session, SessionBuilder};
pub use source::TensorSource;
pub use tensor::{Dtype, Element, Tensor, TensorMut};
pub use tools::Evaluate;
pub use writer::{Activation, Writer, WriterBuilder};

use std::ffi::{c_char, CStr};

/// Of the library that is loaded, such as "0.1.0".
pub fn version() -> &'static str {
    // SAFETY: static text.
    unsafe { static_text(sys::llmc_version()) }
}

/// Comma-separated parts of the library that is loaded, such as "text,cpu".
pub fn features() -> &'static str {
    // SAFETY: static text.
    unsafe { static_text(sys::llmc_features()) }
}

/// SAFETY: `text` is a C string that lives as long as the program.
unsafe fn static_text(text: *const c_char) -> &'static str {
    CStr::from_ptr(text).to_str().unwrap_or("")
}

/// A copy; bytes that are not UTF-8 are replaced. SAFETY: `text` is NULL or a C string.
unsafe fn copied_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    CStr::from_ptr(text).to_string_lossy().into_owned()
}
