//! The C interface as it is: generated from capi/*.h by bindings/generate.py, do not edit. The headers are its manual.
#![allow(non_camel_case_types, missing_docs, dead_code)]
#![cfg_attr(rustfmt, rustfmt_skip)]
use std::ffi::{c_char, c_void};

pub const LLMC_VERSION_MAJOR: i32 = 0;
pub const LLMC_VERSION_MINOR: i32 = 1;
pub const LLMC_VERSION_PATCH: i32 = 0;
pub const LLMC_OK: i32 = 0;
pub const LLMC_INVALID_ARGUMENT: i32 = 1;
pub const LLMC_NOT_FOUND: i32 = 2;
pub const LLMC_IO: i32 = 3;
pub const LLMC_BAD_FILE: i32 = 4;
pub const LLMC_UNSUPPORTED: i32 = 5;
pub const LLMC_NUMERIC: i32 = 6;
pub const LLMC_OUT_OF_MEMORY: i32 = 7;
pub const LLMC_CANCELLED: i32 = 8;
pub const LLMC_EXISTS: i32 = 9;
pub const LLMC_INTERNAL: i32 = 10;
pub const LLMC_DEFAULT: i32 = 0;
pub const LLMC_ON: i32 = 1;
pub const LLMC_OFF: i32 = 2;
pub const LLMC_DEVICE_CPU: i32 = 0;
pub const LLMC_DEVICE_CUDA: i32 = 1;
pub const LLMC_LOG_WARNING: i32 = 1;
pub const LLMC_LOG_NOTE: i32 = 2;
pub const LLMC_COMPAT_VLLM: i32 = 1;
pub const LLMC_COMPAT_REFERENCE: i32 = 2;
pub const LLMC_ROUNDING_EXACT: i32 = 1;
pub const LLMC_ROUNDING_REFERENCE: i32 = 2;
pub const LLMC_PROPAGATION_SUBLAYER: i32 = 1;
pub const LLMC_PROPAGATION_LAYER: i32 = 2;
pub const LLMC_DTYPE_FLOAT32: i32 = 1;
pub const LLMC_DTYPE_BFLOAT16: i32 = 2;

pub type llmc_status = i32;

#[repr(C)]
pub struct llmc_error {
    _private: [u8; 0],
}

#[repr(C)]
pub struct llmc_session {
    _private: [u8; 0],
}

#[repr(C)]
pub struct llmc_report {
    _private: [u8; 0],
}

pub type llmc_progress_fn = Option<unsafe extern "C" fn(progress: *const llmc_progress, user_data: *mut c_void)>;

pub type llmc_log_fn = Option<unsafe extern "C" fn(level: i32, line: *const c_char, user_data: *mut c_void)>;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmc_progress {
    pub stage: *const c_char,
    pub layer: *const c_char,
    pub step: i64,
    pub steps: i64,
    pub relative_error: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmc_session_options {
    pub struct_size: u32,
    pub device_type: i32,
    pub device_index: i32,
    pub threads: i32,
    pub cpu_isa: *const c_char,
    pub progress: llmc_progress_fn,
    pub progress_user_data: *mut c_void,
    pub log: llmc_log_fn,
    pub log_user_data: *mut c_void,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmc_oneshot_options {
    pub struct_size: u32,
    pub compat: i32,
    pub model_dir: *const c_char,
    pub output_dir: *const c_char,
    pub recipe: *const c_char,
    pub scheme: *const c_char,
    pub stage: *const c_char,
    pub dataset: *const c_char,
    pub tokenizer_dir: *const c_char,
    pub text_column: *const c_char,
    pub template_date: *const c_char,
    pub token_ids: *const i32,
    pub sequence_starts: *const i64,
    pub num_sequences: i64,
    pub num_calibration_samples: i64,
    pub max_seq_length: i64,
    pub shuffle_seed: u64,
    pub max_shard_bytes: i64,
    pub shuffle: i32,
    pub concatenate_data: i32,
    pub rounding: i32,
    pub propagation: i32,
    pub save_compressed: i32,
    pub tie_word_embeddings: i32,
    pub overwrite: i32,
    pub reserved: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmc_eval_options {
    pub struct_size: u32,
    pub dtype: i32,
    pub model_dir: *const c_char,
    pub reference_dir: *const c_char,
    pub text: *const c_char,
    pub tokenizer_dir: *const c_char,
    pub window: i64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmc_forward_options {
    pub struct_size: u32,
    pub dtype: i32,
    pub model_dir: *const c_char,
    pub input_ids: *const c_char,
    pub output: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmc_verify_options {
    pub struct_size: u32,
    pub reserved: i32,
    pub model_dir: *const c_char,
    pub source_dir: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmc_inspect_options {
    pub struct_size: u32,
    pub reserved: i32,
    pub model_dir: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmc_diff_options {
    pub struct_size: u32,
    pub reserved: i32,
    pub a_dir: *const c_char,
    pub b_dir: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct llmc_dequantize_options {
    pub struct_size: u32,
    pub overwrite: i32,
    pub model_dir: *const c_char,
    pub output_dir: *const c_char,
    pub max_shard_bytes: i64,
}

extern "C" {
    pub fn llmc_status_name(status: llmc_status) -> *const c_char;
    pub fn llmc_version() -> *const c_char;
    pub fn llmc_features() -> *const c_char;
    pub fn llmc_error_status(error: *const llmc_error) -> llmc_status;
    pub fn llmc_error_message(error: *const llmc_error) -> *const c_char;
    pub fn llmc_error_free(error: *mut llmc_error);
    pub fn llmc_session_create(options: *const llmc_session_options, session: *mut *mut llmc_session, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_session_free(session: *mut llmc_session);
    pub fn llmc_session_device(session: *const llmc_session) -> *const c_char;
    pub fn llmc_session_cancel(session: *mut llmc_session);
    pub fn llmc_oneshot(session: *mut llmc_session, options: *const llmc_oneshot_options, report: *mut *mut llmc_report, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_report_json(report: *const llmc_report) -> *const c_char;
    pub fn llmc_report_free(report: *mut llmc_report);
    pub fn llmc_eval(session: *mut llmc_session, options: *const llmc_eval_options, json: *mut *mut c_char, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_forward(session: *mut llmc_session, options: *const llmc_forward_options, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_verify(session: *mut llmc_session, options: *const llmc_verify_options, json: *mut *mut c_char, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_inspect(session: *mut llmc_session, options: *const llmc_inspect_options, json: *mut *mut c_char, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_diff(session: *mut llmc_session, options: *const llmc_diff_options, json: *mut *mut c_char, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_dequantize(session: *mut llmc_session, options: *const llmc_dequantize_options, json: *mut *mut c_char, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_json_free(json: *mut c_char);
}

// What the C compiler says about the structs, on 64-bit machines.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<llmc_progress>() == 40 && align_of::<llmc_progress>() == 8);
    assert!(std::mem::offset_of!(llmc_progress, stage) == 0);
    assert!(std::mem::offset_of!(llmc_progress, layer) == 8);
    assert!(std::mem::offset_of!(llmc_progress, step) == 16);
    assert!(std::mem::offset_of!(llmc_progress, steps) == 24);
    assert!(std::mem::offset_of!(llmc_progress, relative_error) == 32);
    assert!(size_of::<llmc_session_options>() == 56 && align_of::<llmc_session_options>() == 8);
    assert!(std::mem::offset_of!(llmc_session_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_session_options, device_type) == 4);
    assert!(std::mem::offset_of!(llmc_session_options, device_index) == 8);
    assert!(std::mem::offset_of!(llmc_session_options, threads) == 12);
    assert!(std::mem::offset_of!(llmc_session_options, cpu_isa) == 16);
    assert!(std::mem::offset_of!(llmc_session_options, progress) == 24);
    assert!(std::mem::offset_of!(llmc_session_options, progress_user_data) == 32);
    assert!(std::mem::offset_of!(llmc_session_options, log) == 40);
    assert!(std::mem::offset_of!(llmc_session_options, log_user_data) == 48);
    assert!(size_of::<llmc_oneshot_options>() == 168 && align_of::<llmc_oneshot_options>() == 8);
    assert!(std::mem::offset_of!(llmc_oneshot_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_oneshot_options, compat) == 4);
    assert!(std::mem::offset_of!(llmc_oneshot_options, model_dir) == 8);
    assert!(std::mem::offset_of!(llmc_oneshot_options, output_dir) == 16);
    assert!(std::mem::offset_of!(llmc_oneshot_options, recipe) == 24);
    assert!(std::mem::offset_of!(llmc_oneshot_options, scheme) == 32);
    assert!(std::mem::offset_of!(llmc_oneshot_options, stage) == 40);
    assert!(std::mem::offset_of!(llmc_oneshot_options, dataset) == 48);
    assert!(std::mem::offset_of!(llmc_oneshot_options, tokenizer_dir) == 56);
    assert!(std::mem::offset_of!(llmc_oneshot_options, text_column) == 64);
    assert!(std::mem::offset_of!(llmc_oneshot_options, template_date) == 72);
    assert!(std::mem::offset_of!(llmc_oneshot_options, token_ids) == 80);
    assert!(std::mem::offset_of!(llmc_oneshot_options, sequence_starts) == 88);
    assert!(std::mem::offset_of!(llmc_oneshot_options, num_sequences) == 96);
    assert!(std::mem::offset_of!(llmc_oneshot_options, num_calibration_samples) == 104);
    assert!(std::mem::offset_of!(llmc_oneshot_options, max_seq_length) == 112);
    assert!(std::mem::offset_of!(llmc_oneshot_options, shuffle_seed) == 120);
    assert!(std::mem::offset_of!(llmc_oneshot_options, max_shard_bytes) == 128);
    assert!(std::mem::offset_of!(llmc_oneshot_options, shuffle) == 136);
    assert!(std::mem::offset_of!(llmc_oneshot_options, concatenate_data) == 140);
    assert!(std::mem::offset_of!(llmc_oneshot_options, rounding) == 144);
    assert!(std::mem::offset_of!(llmc_oneshot_options, propagation) == 148);
    assert!(std::mem::offset_of!(llmc_oneshot_options, save_compressed) == 152);
    assert!(std::mem::offset_of!(llmc_oneshot_options, tie_word_embeddings) == 156);
    assert!(std::mem::offset_of!(llmc_oneshot_options, overwrite) == 160);
    assert!(std::mem::offset_of!(llmc_oneshot_options, reserved) == 164);
    assert!(size_of::<llmc_eval_options>() == 48 && align_of::<llmc_eval_options>() == 8);
    assert!(std::mem::offset_of!(llmc_eval_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_eval_options, dtype) == 4);
    assert!(std::mem::offset_of!(llmc_eval_options, model_dir) == 8);
    assert!(std::mem::offset_of!(llmc_eval_options, reference_dir) == 16);
    assert!(std::mem::offset_of!(llmc_eval_options, text) == 24);
    assert!(std::mem::offset_of!(llmc_eval_options, tokenizer_dir) == 32);
    assert!(std::mem::offset_of!(llmc_eval_options, window) == 40);
    assert!(size_of::<llmc_forward_options>() == 32 && align_of::<llmc_forward_options>() == 8);
    assert!(std::mem::offset_of!(llmc_forward_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_forward_options, dtype) == 4);
    assert!(std::mem::offset_of!(llmc_forward_options, model_dir) == 8);
    assert!(std::mem::offset_of!(llmc_forward_options, input_ids) == 16);
    assert!(std::mem::offset_of!(llmc_forward_options, output) == 24);
    assert!(size_of::<llmc_verify_options>() == 24 && align_of::<llmc_verify_options>() == 8);
    assert!(std::mem::offset_of!(llmc_verify_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_verify_options, reserved) == 4);
    assert!(std::mem::offset_of!(llmc_verify_options, model_dir) == 8);
    assert!(std::mem::offset_of!(llmc_verify_options, source_dir) == 16);
    assert!(size_of::<llmc_inspect_options>() == 16 && align_of::<llmc_inspect_options>() == 8);
    assert!(std::mem::offset_of!(llmc_inspect_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_inspect_options, reserved) == 4);
    assert!(std::mem::offset_of!(llmc_inspect_options, model_dir) == 8);
    assert!(size_of::<llmc_diff_options>() == 24 && align_of::<llmc_diff_options>() == 8);
    assert!(std::mem::offset_of!(llmc_diff_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_diff_options, reserved) == 4);
    assert!(std::mem::offset_of!(llmc_diff_options, a_dir) == 8);
    assert!(std::mem::offset_of!(llmc_diff_options, b_dir) == 16);
    assert!(size_of::<llmc_dequantize_options>() == 32 && align_of::<llmc_dequantize_options>() == 8);
    assert!(std::mem::offset_of!(llmc_dequantize_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_dequantize_options, overwrite) == 4);
    assert!(std::mem::offset_of!(llmc_dequantize_options, model_dir) == 8);
    assert!(std::mem::offset_of!(llmc_dequantize_options, output_dir) == 16);
    assert!(std::mem::offset_of!(llmc_dequantize_options, max_shard_bytes) == 24);
};
