//! Tokenizer, chat template and data set reading for llmc, behind the C header llmc_text.h.
//!
//! A guest in its host's process: it prints nothing, reads no environment variable and no clock, and starts no
//! thread that outlives a call. Unsafe code is allowed in ffi.rs only.
#![deny(unsafe_code)]

pub mod chat_template;
pub mod content_parts;
pub mod dataset;
pub mod dataset_rows;
pub mod error;
#[allow(unsafe_code)]
mod ffi;
pub mod file_format;
pub mod generation_tag;
pub mod jinja_builtins;
pub mod model_folder;
pub mod operators;
pub mod python_json;
pub mod python_methods;
pub mod row_forms;
pub mod shuffle;
pub mod strftime;
pub mod template_limits;
pub mod tokenizer;
