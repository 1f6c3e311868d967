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
pub const LLMC_DEVICE_AUTO: i32 = 2;
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
pub const LLMC_DTYPE_FLOAT16: i32 = 3;
pub const LLMC_DTYPE_FLOAT64: i32 = 4;
pub const LLMC_DTYPE_FLOAT8_E4M3: i32 = 5;
pub const LLMC_DTYPE_FLOAT8_E5M2: i32 = 6;
pub const LLMC_DTYPE_FLOAT8_E8M0: i32 = 7;
pub const LLMC_DTYPE_INT8: i32 = 8;
pub const LLMC_DTYPE_INT16: i32 = 9;
pub const LLMC_DTYPE_INT32: i32 = 10;
pub const LLMC_DTYPE_INT64: i32 = 11;
pub const LLMC_DTYPE_UINT8: i32 = 12;
pub const LLMC_DTYPE_UINT16: i32 = 13;
pub const LLMC_DTYPE_UINT32: i32 = 14;
pub const LLMC_DTYPE_UINT64: i32 = 15;
pub const LLMC_DTYPE_BOOL: i32 = 16;
pub const LLMC_NEEDS_GRAM: i32 = 1;
pub const LLMC_NEEDS_CHANNELS: i32 = 2;
pub const LLMC_GRAM_ALL: i32 = 0;
pub const LLMC_GRAM_CHANNELS: i32 = 1;
pub const LLMC_SMOOTHING_SMOOTHQUANT: i32 = 1;
pub const LLMC_SMOOTHING_LOGARITHMIC: i32 = 2;
pub const LLMC_SMOOTH_MULTIPLY: i32 = 1;
pub const LLMC_SMOOTH_DIVIDE: i32 = 2;
pub const LLMC_SMOOTH_DIVIDE_PLUS_ONE: i32 = 3;
pub const LLMC_METHOD_RTN: i32 = 1;
pub const LLMC_METHOD_GPTQ: i32 = 2;
pub const LLMC_DAMPENING_RELATIVE: i32 = 1;
pub const LLMC_DAMPENING_MEAN: i32 = 2;
pub const LLMC_PART_CODES: i32 = 1;
pub const LLMC_PART_SCALES: i32 = 2;
pub const LLMC_PART_ZERO_POINTS: i32 = 3;
pub const LLMC_PART_ORDER: i32 = 4;
pub const LLMC_ACTIVATION_INPUT: i32 = 1;
pub const LLMC_ACTIVATION_OUTPUT: i32 = 2;

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

#[repr(C)]
pub struct llmc_model {
    _private: [u8; 0],
}

#[repr(C)]
pub struct llmc_gram {
    _private: [u8; 0],
}

#[repr(C)]
pub struct llmc_scheme {
    _private: [u8; 0],
}

#[repr(C)]
pub struct llmc_matrix {
    _private: [u8; 0],
}

#[repr(C)]
pub struct llmc_packed {
    _private: [u8; 0],
}

#[repr(C)]
pub struct llmc_writer {
    _private: [u8; 0],
}

pub type llmc_progress_fn = Option<unsafe extern "C" fn(progress: *const llmc_progress, user_data: *mut c_void)>;

pub type llmc_log_fn = Option<unsafe extern "C" fn(level: i32, line: *const c_char, user_data: *mut c_void)>;

pub type llmc_read_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, tensor: i64, offset: i64, bytes: i64, to: *mut c_void) -> i32>;

pub type llmc_quantize_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, job: *const llmc_matrix_job) -> i32>;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_progress {
    pub stage: *const c_char,
    pub layer: *const c_char,
    pub step: i64,
    pub steps: i64,
    pub relative_error: f64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
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
    pub cuda_module: *const c_char,
    pub memory_limit: i64,
    pub device_memory_limit: i64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_source_tensor {
    pub struct_size: u32,
    pub dtype: i32,
    pub name: *const c_char,
    pub shape: *const i64,
    pub ndim: i32,
    pub reserved: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_tensor_source {
    pub struct_size: u32,
    pub reserved: i32,
    pub config_json: *const c_char,
    pub tensors: *const llmc_source_tensor,
    pub num_tensors: i64,
    pub read: llmc_read_fn,
    pub user_data: *mut c_void,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
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
    pub source: *const llmc_tensor_source,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_report_facts {
    pub struct_size: u32,
    pub reserved: i32,
    pub linears: i64,
    pub samples: i64,
    pub tokens: i64,
    pub bytes_before: i64,
    pub bytes_after: i64,
    pub peak_memory: i64,
    pub seconds: f64,
    pub calibration_seconds: f64,
    pub quantization_seconds: f64,
    pub writing_seconds: f64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_linear_facts {
    pub struct_size: u32,
    pub reserved: i32,
    pub name: *const c_char,
    pub scheme: *const c_char,
    pub method: *const c_char,
    pub note: *const c_char,
    pub relative_error: f64,
    pub loss: f64,
    pub dampening: f64,
    pub seconds: f64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_tensor {
    pub struct_size: u32,
    pub dtype: i32,
    pub data: *mut c_void,
    pub shape: *const i64,
    pub strides: *const i64,
    pub byte_offset: i64,
    pub stream: *mut c_void,
    pub ndim: i32,
    pub device_type: i32,
    pub device_index: i32,
    pub reserved: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_matrix_job {
    pub struct_size: u32,
    pub num_bits: i32,
    pub module: *const c_char,
    pub weight: *const llmc_tensor,
    pub scales: *const llmc_tensor,
    pub zero_points: *const llmc_tensor,
    pub codes: *const llmc_tensor,
    pub gram: *const llmc_tensor,
    pub channel_min: *const f32,
    pub channel_max: *const f32,
    pub sum_absolute: *const f64,
    pub sum_squares: *const f64,
    pub tokens: i64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_modifier {
    pub struct_size: u32,
    pub needs: i32,
    pub r#type: *const c_char,
    pub quantize: llmc_quantize_fn,
    pub user_data: *mut c_void,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_gram_data {
    pub struct_size: u32,
    pub has_gram: i32,
    pub channels: i64,
    pub tokens: i64,
    pub samples: i64,
    pub gram: *mut f32,
    pub minimum: *mut f32,
    pub maximum: *mut f32,
    pub sum_absolute: *mut f64,
    pub sum_squares: *mut f64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_smooth_options {
    pub struct_size: u32,
    pub algorithm: i32,
    pub compat: i32,
    pub strength_set: i32,
    pub strength: f64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_scheme_options {
    pub struct_size: u32,
    pub method: i32,
    pub scheme: *const c_char,
    pub compat: i32,
    pub rounding: i32,
    pub activation_order: i32,
    pub dampening: i32,
    pub dampening_frac: f64,
    pub block_size: i64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_matrix_facts {
    pub struct_size: u32,
    pub method: i32,
    pub rows: i64,
    pub columns: i64,
    pub loss: f64,
    pub relative_error: f64,
    pub dampening: f64,
    pub global_scale: f64,
    pub scheme: *const c_char,
    pub format: *const c_char,
    pub note: *const c_char,
    pub model_dtype: i32,
    pub reserved: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_writer_options {
    pub struct_size: u32,
    pub compat: i32,
    pub output_dir: *const c_char,
    pub config_json: *const c_char,
    pub max_shard_bytes: i64,
    pub overwrite: i32,
    pub reserved: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
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
#[derive(Clone, Copy, Debug)]
pub struct llmc_forward_options {
    pub struct_size: u32,
    pub dtype: i32,
    pub model_dir: *const c_char,
    pub input_ids: *const c_char,
    pub output: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_verify_options {
    pub struct_size: u32,
    pub reserved: i32,
    pub model_dir: *const c_char,
    pub source_dir: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_inspect_options {
    pub struct_size: u32,
    pub reserved: i32,
    pub model_dir: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct llmc_diff_options {
    pub struct_size: u32,
    pub reserved: i32,
    pub a_dir: *const c_char,
    pub b_dir: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
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
    pub fn llmc_report_info(report: *const llmc_report, facts: *mut llmc_report_facts, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_report_count(report: *const llmc_report) -> i64;
    pub fn llmc_report_linear(report: *const llmc_report, index: i64, facts: *mut llmc_linear_facts, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_tensor_from_dlpack(dl_tensor: *const c_void, tensor: *mut llmc_tensor, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_model_open(session: *mut llmc_session, model_dir: *const c_char, model: *mut *mut llmc_model, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_model_open_source(session: *mut llmc_session, source: *const llmc_tensor_source, model: *mut *mut llmc_model, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_model_free(model: *mut llmc_model);
    pub fn llmc_model_add_token_ids(model: *mut llmc_model, token_ids: *const i32, sequence_starts: *const i64, num_sequences: i64, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_model_add_data(model: *mut llmc_model, data: *const llmc_oneshot_options, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_model_save_statistics(model: *mut llmc_model, folder: *const c_char, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_model_load_statistics(model: *mut llmc_model, folder: *const c_char, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_model_quantize(model: *mut llmc_model, options: *const llmc_oneshot_options, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_model_save(model: *mut llmc_model, report: *mut *mut llmc_report, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_session_add_modifier(session: *mut llmc_session, modifier: *const llmc_modifier, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_gram_create(channels: i64, parts: i32, gram: *mut *mut llmc_gram, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_gram_free(gram: *mut llmc_gram);
    pub fn llmc_gram_add(session: *mut llmc_session, gram: *mut llmc_gram, values: *const llmc_tensor, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_gram_merge(into: *mut llmc_gram, from: *const llmc_gram, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_gram_save(gram: *const llmc_gram, path: *const c_char, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_gram_load(path: *const c_char, gram: *mut *mut llmc_gram, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_gram_read(gram: *const llmc_gram, data: *mut llmc_gram_data, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_smooth_scales(gram: *const llmc_gram, weights: *const llmc_tensor, count: i32, options: *const llmc_smooth_options, scales: *mut f32, channels: i64, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_smooth_apply(tensor: *mut llmc_tensor, scales: *const f32, channels: i64, operation: i32, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_scheme_create(options: *const llmc_scheme_options, scheme: *mut *mut llmc_scheme, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_scheme_free(scheme: *mut llmc_scheme);
    pub fn llmc_scheme_format(scheme: *const llmc_scheme) -> *const c_char;
    pub fn llmc_quantize_matrix(session: *mut llmc_session, scheme: *const llmc_scheme, weight: *const llmc_tensor, gram: *const llmc_gram, global_scale: *const f32, matrix: *mut *mut llmc_matrix, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_global_scale(session: *mut llmc_session, scheme: *const llmc_scheme, weights: *const llmc_tensor, count: i32, gram: *const llmc_gram, global_scale: *mut f32, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_matrix_create(scheme: *const llmc_scheme, codes: *const llmc_tensor, scales: *const llmc_tensor, zero_points: *const llmc_tensor, global_scale: *const f32, model_dtype: i32, matrix: *mut *mut llmc_matrix, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_matrix_free(matrix: *mut llmc_matrix);
    pub fn llmc_matrix_info(matrix: *const llmc_matrix, facts: *mut llmc_matrix_facts, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_matrix_part(matrix: *const llmc_matrix, part: i32, tensor: *mut llmc_tensor, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_matrix_dequantize(session: *mut llmc_session, matrix: *const llmc_matrix, values: *mut llmc_tensor, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_pack(session: *mut llmc_session, matrix: *const llmc_matrix, packed: *mut *mut llmc_packed, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_packed_free(packed: *mut llmc_packed);
    pub fn llmc_packed_count(packed: *const llmc_packed) -> i32;
    pub fn llmc_packed_tensor(packed: *const llmc_packed, index: i32, name: *mut *const c_char, tensor: *mut llmc_tensor, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_unpack(session: *mut llmc_session, scheme: *const llmc_scheme, names: *const *const c_char, tensors: *const llmc_tensor, count: i32, model_dtype: i32, matrix: *mut *mut llmc_matrix, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_writer_create(options: *const llmc_writer_options, writer: *mut *mut llmc_writer, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_writer_free(writer: *mut llmc_writer);
    pub fn llmc_writer_plan_tensor(writer: *mut llmc_writer, name: *const c_char, dtype: i32, shape: *const i64, ndim: i32, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_writer_plan_matrix(writer: *mut llmc_writer, module: *const c_char, scheme: *const llmc_scheme, model_dtype: i32, rows: i64, columns: i64, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_writer_add_tensor(session: *mut llmc_session, writer: *mut llmc_writer, name: *const c_char, values: *const llmc_tensor, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_writer_add_matrix(session: *mut llmc_session, writer: *mut llmc_writer, module: *const c_char, matrix: *const llmc_matrix, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_writer_add_range(writer: *mut llmc_writer, module: *const c_char, activation: i32, minimum: f32, maximum: f32, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_writer_add_file(writer: *mut llmc_writer, file_name: *const c_char, bytes: *const c_void, count: i64, error: *mut *mut llmc_error) -> llmc_status;
    pub fn llmc_writer_finish(session: *mut llmc_session, writer: *mut llmc_writer, error: *mut *mut llmc_error) -> llmc_status;
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
    assert!(size_of::<llmc_session_options>() == 80 && align_of::<llmc_session_options>() == 8);
    assert!(std::mem::offset_of!(llmc_session_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_session_options, device_type) == 4);
    assert!(std::mem::offset_of!(llmc_session_options, device_index) == 8);
    assert!(std::mem::offset_of!(llmc_session_options, threads) == 12);
    assert!(std::mem::offset_of!(llmc_session_options, cpu_isa) == 16);
    assert!(std::mem::offset_of!(llmc_session_options, progress) == 24);
    assert!(std::mem::offset_of!(llmc_session_options, progress_user_data) == 32);
    assert!(std::mem::offset_of!(llmc_session_options, log) == 40);
    assert!(std::mem::offset_of!(llmc_session_options, log_user_data) == 48);
    assert!(std::mem::offset_of!(llmc_session_options, cuda_module) == 56);
    assert!(std::mem::offset_of!(llmc_session_options, memory_limit) == 64);
    assert!(std::mem::offset_of!(llmc_session_options, device_memory_limit) == 72);
    assert!(size_of::<llmc_source_tensor>() == 32 && align_of::<llmc_source_tensor>() == 8);
    assert!(std::mem::offset_of!(llmc_source_tensor, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_source_tensor, dtype) == 4);
    assert!(std::mem::offset_of!(llmc_source_tensor, name) == 8);
    assert!(std::mem::offset_of!(llmc_source_tensor, shape) == 16);
    assert!(std::mem::offset_of!(llmc_source_tensor, ndim) == 24);
    assert!(std::mem::offset_of!(llmc_source_tensor, reserved) == 28);
    assert!(size_of::<llmc_tensor_source>() == 48 && align_of::<llmc_tensor_source>() == 8);
    assert!(std::mem::offset_of!(llmc_tensor_source, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_tensor_source, reserved) == 4);
    assert!(std::mem::offset_of!(llmc_tensor_source, config_json) == 8);
    assert!(std::mem::offset_of!(llmc_tensor_source, tensors) == 16);
    assert!(std::mem::offset_of!(llmc_tensor_source, num_tensors) == 24);
    assert!(std::mem::offset_of!(llmc_tensor_source, read) == 32);
    assert!(std::mem::offset_of!(llmc_tensor_source, user_data) == 40);
    assert!(size_of::<llmc_oneshot_options>() == 176 && align_of::<llmc_oneshot_options>() == 8);
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
    assert!(std::mem::offset_of!(llmc_oneshot_options, source) == 168);
    assert!(size_of::<llmc_report_facts>() == 88 && align_of::<llmc_report_facts>() == 8);
    assert!(std::mem::offset_of!(llmc_report_facts, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_report_facts, reserved) == 4);
    assert!(std::mem::offset_of!(llmc_report_facts, linears) == 8);
    assert!(std::mem::offset_of!(llmc_report_facts, samples) == 16);
    assert!(std::mem::offset_of!(llmc_report_facts, tokens) == 24);
    assert!(std::mem::offset_of!(llmc_report_facts, bytes_before) == 32);
    assert!(std::mem::offset_of!(llmc_report_facts, bytes_after) == 40);
    assert!(std::mem::offset_of!(llmc_report_facts, peak_memory) == 48);
    assert!(std::mem::offset_of!(llmc_report_facts, seconds) == 56);
    assert!(std::mem::offset_of!(llmc_report_facts, calibration_seconds) == 64);
    assert!(std::mem::offset_of!(llmc_report_facts, quantization_seconds) == 72);
    assert!(std::mem::offset_of!(llmc_report_facts, writing_seconds) == 80);
    assert!(size_of::<llmc_linear_facts>() == 72 && align_of::<llmc_linear_facts>() == 8);
    assert!(std::mem::offset_of!(llmc_linear_facts, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_linear_facts, reserved) == 4);
    assert!(std::mem::offset_of!(llmc_linear_facts, name) == 8);
    assert!(std::mem::offset_of!(llmc_linear_facts, scheme) == 16);
    assert!(std::mem::offset_of!(llmc_linear_facts, method) == 24);
    assert!(std::mem::offset_of!(llmc_linear_facts, note) == 32);
    assert!(std::mem::offset_of!(llmc_linear_facts, relative_error) == 40);
    assert!(std::mem::offset_of!(llmc_linear_facts, loss) == 48);
    assert!(std::mem::offset_of!(llmc_linear_facts, dampening) == 56);
    assert!(std::mem::offset_of!(llmc_linear_facts, seconds) == 64);
    assert!(size_of::<llmc_tensor>() == 64 && align_of::<llmc_tensor>() == 8);
    assert!(std::mem::offset_of!(llmc_tensor, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_tensor, dtype) == 4);
    assert!(std::mem::offset_of!(llmc_tensor, data) == 8);
    assert!(std::mem::offset_of!(llmc_tensor, shape) == 16);
    assert!(std::mem::offset_of!(llmc_tensor, strides) == 24);
    assert!(std::mem::offset_of!(llmc_tensor, byte_offset) == 32);
    assert!(std::mem::offset_of!(llmc_tensor, stream) == 40);
    assert!(std::mem::offset_of!(llmc_tensor, ndim) == 48);
    assert!(std::mem::offset_of!(llmc_tensor, device_type) == 52);
    assert!(std::mem::offset_of!(llmc_tensor, device_index) == 56);
    assert!(std::mem::offset_of!(llmc_tensor, reserved) == 60);
    assert!(size_of::<llmc_matrix_job>() == 96 && align_of::<llmc_matrix_job>() == 8);
    assert!(std::mem::offset_of!(llmc_matrix_job, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_matrix_job, num_bits) == 4);
    assert!(std::mem::offset_of!(llmc_matrix_job, module) == 8);
    assert!(std::mem::offset_of!(llmc_matrix_job, weight) == 16);
    assert!(std::mem::offset_of!(llmc_matrix_job, scales) == 24);
    assert!(std::mem::offset_of!(llmc_matrix_job, zero_points) == 32);
    assert!(std::mem::offset_of!(llmc_matrix_job, codes) == 40);
    assert!(std::mem::offset_of!(llmc_matrix_job, gram) == 48);
    assert!(std::mem::offset_of!(llmc_matrix_job, channel_min) == 56);
    assert!(std::mem::offset_of!(llmc_matrix_job, channel_max) == 64);
    assert!(std::mem::offset_of!(llmc_matrix_job, sum_absolute) == 72);
    assert!(std::mem::offset_of!(llmc_matrix_job, sum_squares) == 80);
    assert!(std::mem::offset_of!(llmc_matrix_job, tokens) == 88);
    assert!(size_of::<llmc_modifier>() == 32 && align_of::<llmc_modifier>() == 8);
    assert!(std::mem::offset_of!(llmc_modifier, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_modifier, needs) == 4);
    assert!(std::mem::offset_of!(llmc_modifier, r#type) == 8);
    assert!(std::mem::offset_of!(llmc_modifier, quantize) == 16);
    assert!(std::mem::offset_of!(llmc_modifier, user_data) == 24);
    assert!(size_of::<llmc_gram_data>() == 72 && align_of::<llmc_gram_data>() == 8);
    assert!(std::mem::offset_of!(llmc_gram_data, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_gram_data, has_gram) == 4);
    assert!(std::mem::offset_of!(llmc_gram_data, channels) == 8);
    assert!(std::mem::offset_of!(llmc_gram_data, tokens) == 16);
    assert!(std::mem::offset_of!(llmc_gram_data, samples) == 24);
    assert!(std::mem::offset_of!(llmc_gram_data, gram) == 32);
    assert!(std::mem::offset_of!(llmc_gram_data, minimum) == 40);
    assert!(std::mem::offset_of!(llmc_gram_data, maximum) == 48);
    assert!(std::mem::offset_of!(llmc_gram_data, sum_absolute) == 56);
    assert!(std::mem::offset_of!(llmc_gram_data, sum_squares) == 64);
    assert!(size_of::<llmc_smooth_options>() == 24 && align_of::<llmc_smooth_options>() == 8);
    assert!(std::mem::offset_of!(llmc_smooth_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_smooth_options, algorithm) == 4);
    assert!(std::mem::offset_of!(llmc_smooth_options, compat) == 8);
    assert!(std::mem::offset_of!(llmc_smooth_options, strength_set) == 12);
    assert!(std::mem::offset_of!(llmc_smooth_options, strength) == 16);
    assert!(size_of::<llmc_scheme_options>() == 48 && align_of::<llmc_scheme_options>() == 8);
    assert!(std::mem::offset_of!(llmc_scheme_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_scheme_options, method) == 4);
    assert!(std::mem::offset_of!(llmc_scheme_options, scheme) == 8);
    assert!(std::mem::offset_of!(llmc_scheme_options, compat) == 16);
    assert!(std::mem::offset_of!(llmc_scheme_options, rounding) == 20);
    assert!(std::mem::offset_of!(llmc_scheme_options, activation_order) == 24);
    assert!(std::mem::offset_of!(llmc_scheme_options, dampening) == 28);
    assert!(std::mem::offset_of!(llmc_scheme_options, dampening_frac) == 32);
    assert!(std::mem::offset_of!(llmc_scheme_options, block_size) == 40);
    assert!(size_of::<llmc_matrix_facts>() == 88 && align_of::<llmc_matrix_facts>() == 8);
    assert!(std::mem::offset_of!(llmc_matrix_facts, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_matrix_facts, method) == 4);
    assert!(std::mem::offset_of!(llmc_matrix_facts, rows) == 8);
    assert!(std::mem::offset_of!(llmc_matrix_facts, columns) == 16);
    assert!(std::mem::offset_of!(llmc_matrix_facts, loss) == 24);
    assert!(std::mem::offset_of!(llmc_matrix_facts, relative_error) == 32);
    assert!(std::mem::offset_of!(llmc_matrix_facts, dampening) == 40);
    assert!(std::mem::offset_of!(llmc_matrix_facts, global_scale) == 48);
    assert!(std::mem::offset_of!(llmc_matrix_facts, scheme) == 56);
    assert!(std::mem::offset_of!(llmc_matrix_facts, format) == 64);
    assert!(std::mem::offset_of!(llmc_matrix_facts, note) == 72);
    assert!(std::mem::offset_of!(llmc_matrix_facts, model_dtype) == 80);
    assert!(std::mem::offset_of!(llmc_matrix_facts, reserved) == 84);
    assert!(size_of::<llmc_writer_options>() == 40 && align_of::<llmc_writer_options>() == 8);
    assert!(std::mem::offset_of!(llmc_writer_options, struct_size) == 0);
    assert!(std::mem::offset_of!(llmc_writer_options, compat) == 4);
    assert!(std::mem::offset_of!(llmc_writer_options, output_dir) == 8);
    assert!(std::mem::offset_of!(llmc_writer_options, config_json) == 16);
    assert!(std::mem::offset_of!(llmc_writer_options, max_shard_bytes) == 24);
    assert!(std::mem::offset_of!(llmc_writer_options, overwrite) == 32);
    assert!(std::mem::offset_of!(llmc_writer_options, reserved) == 36);
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
