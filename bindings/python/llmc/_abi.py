"""The C interface as it is: generated from capi/*.h by bindings/generate.py, do not edit. The headers are its manual."""
from ctypes import CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_double, c_float, c_int8, c_int16, c_int32, c_int64, c_size_t, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p  # noqa: F401

LLMC_VERSION_MAJOR = 0
LLMC_VERSION_MINOR = 1
LLMC_VERSION_PATCH = 0
LLMC_OK = 0
LLMC_INVALID_ARGUMENT = 1
LLMC_NOT_FOUND = 2
LLMC_IO = 3
LLMC_BAD_FILE = 4
LLMC_UNSUPPORTED = 5
LLMC_NUMERIC = 6
LLMC_OUT_OF_MEMORY = 7
LLMC_CANCELLED = 8
LLMC_EXISTS = 9
LLMC_INTERNAL = 10
LLMC_DEFAULT = 0
LLMC_ON = 1
LLMC_OFF = 2
LLMC_DEVICE_CPU = 0
LLMC_DEVICE_CUDA = 1
LLMC_DEVICE_AUTO = 2
LLMC_LOG_WARNING = 1
LLMC_LOG_NOTE = 2
LLMC_COMPAT_VLLM = 1
LLMC_COMPAT_REFERENCE = 2
LLMC_ROUNDING_EXACT = 1
LLMC_ROUNDING_REFERENCE = 2
LLMC_PROPAGATION_SUBLAYER = 1
LLMC_PROPAGATION_LAYER = 2
LLMC_DTYPE_FLOAT32 = 1
LLMC_DTYPE_BFLOAT16 = 2
LLMC_DTYPE_FLOAT16 = 3
LLMC_DTYPE_FLOAT64 = 4
LLMC_DTYPE_FLOAT8_E4M3 = 5
LLMC_DTYPE_FLOAT8_E5M2 = 6
LLMC_DTYPE_FLOAT8_E8M0 = 7
LLMC_DTYPE_INT8 = 8
LLMC_DTYPE_INT16 = 9
LLMC_DTYPE_INT32 = 10
LLMC_DTYPE_INT64 = 11
LLMC_DTYPE_UINT8 = 12
LLMC_DTYPE_UINT16 = 13
LLMC_DTYPE_UINT32 = 14
LLMC_DTYPE_UINT64 = 15
LLMC_DTYPE_BOOL = 16
LLMC_NEEDS_GRAM = 1
LLMC_NEEDS_CHANNELS = 2
LLMC_GRAM_ALL = 0
LLMC_GRAM_CHANNELS = 1
LLMC_SMOOTHING_SMOOTHQUANT = 1
LLMC_SMOOTHING_LOGARITHMIC = 2
LLMC_SMOOTH_MULTIPLY = 1
LLMC_SMOOTH_DIVIDE = 2
LLMC_SMOOTH_DIVIDE_PLUS_ONE = 3
LLMC_METHOD_RTN = 1
LLMC_METHOD_GPTQ = 2
LLMC_DAMPENING_RELATIVE = 1
LLMC_DAMPENING_MEAN = 2
LLMC_PART_CODES = 1
LLMC_PART_SCALES = 2
LLMC_PART_ZERO_POINTS = 3
LLMC_PART_ORDER = 4
LLMC_ACTIVATION_INPUT = 1
LLMC_ACTIVATION_OUTPUT = 2

llmc_log_fn = CFUNCTYPE(None, c_int32, c_char_p, c_void_p)

llmc_read_fn = CFUNCTYPE(c_int32, c_void_p, c_int64, c_int64, c_int64, c_void_p)


class llmc_progress(Structure):
    _fields_ = [
        ("stage", c_char_p),
        ("layer", c_char_p),
        ("step", c_int64),
        ("steps", c_int64),
        ("relative_error", c_double),
    ]

llmc_progress_fn = CFUNCTYPE(None, POINTER(llmc_progress), c_void_p)


class llmc_session_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("device_type", c_int32),
        ("device_index", c_int32),
        ("threads", c_int32),
        ("cpu_isa", c_char_p),
        ("progress", llmc_progress_fn),
        ("progress_user_data", c_void_p),
        ("log", llmc_log_fn),
        ("log_user_data", c_void_p),
        ("cuda_module", c_char_p),
        ("memory_limit", c_int64),
        ("device_memory_limit", c_int64),
    ]


class llmc_source_tensor(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("dtype", c_int32),
        ("name", c_char_p),
        ("shape", POINTER(c_int64)),
        ("ndim", c_int32),
        ("reserved", c_int32),
    ]


class llmc_tensor_source(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("config_json", c_char_p),
        ("tensors", POINTER(llmc_source_tensor)),
        ("num_tensors", c_int64),
        ("read", llmc_read_fn),
        ("user_data", c_void_p),
    ]


class llmc_oneshot_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("compat", c_int32),
        ("model_dir", c_char_p),
        ("output_dir", c_char_p),
        ("recipe", c_char_p),
        ("scheme", c_char_p),
        ("stage", c_char_p),
        ("dataset", c_char_p),
        ("tokenizer_dir", c_char_p),
        ("text_column", c_char_p),
        ("template_date", c_char_p),
        ("token_ids", POINTER(c_int32)),
        ("sequence_starts", POINTER(c_int64)),
        ("num_sequences", c_int64),
        ("num_calibration_samples", c_int64),
        ("max_seq_length", c_int64),
        ("shuffle_seed", c_uint64),
        ("max_shard_bytes", c_int64),
        ("shuffle", c_int32),
        ("concatenate_data", c_int32),
        ("rounding", c_int32),
        ("propagation", c_int32),
        ("save_compressed", c_int32),
        ("tie_word_embeddings", c_int32),
        ("overwrite", c_int32),
        ("reserved", c_int32),
        ("source", POINTER(llmc_tensor_source)),
    ]


class llmc_report_facts(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("linears", c_int64),
        ("samples", c_int64),
        ("tokens", c_int64),
        ("bytes_before", c_int64),
        ("bytes_after", c_int64),
        ("peak_memory", c_int64),
        ("seconds", c_double),
        ("calibration_seconds", c_double),
        ("quantization_seconds", c_double),
        ("writing_seconds", c_double),
    ]


class llmc_linear_facts(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("name", c_char_p),
        ("scheme", c_char_p),
        ("method", c_char_p),
        ("note", c_char_p),
        ("relative_error", c_double),
        ("loss", c_double),
        ("dampening", c_double),
        ("seconds", c_double),
    ]


class llmc_tensor(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("dtype", c_int32),
        ("data", c_void_p),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_int64),
        ("stream", c_void_p),
        ("ndim", c_int32),
        ("device_type", c_int32),
        ("device_index", c_int32),
        ("reserved", c_int32),
    ]


class llmc_matrix_job(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("num_bits", c_int32),
        ("module", c_char_p),
        ("weight", POINTER(llmc_tensor)),
        ("scales", POINTER(llmc_tensor)),
        ("zero_points", POINTER(llmc_tensor)),
        ("codes", POINTER(llmc_tensor)),
        ("gram", POINTER(llmc_tensor)),
        ("channel_min", POINTER(c_float)),
        ("channel_max", POINTER(c_float)),
        ("sum_absolute", POINTER(c_double)),
        ("sum_squares", POINTER(c_double)),
        ("tokens", c_int64),
    ]

llmc_quantize_fn = CFUNCTYPE(c_int32, c_void_p, POINTER(llmc_matrix_job))


class llmc_modifier(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("needs", c_int32),
        ("type", c_char_p),
        ("quantize", llmc_quantize_fn),
        ("user_data", c_void_p),
    ]


class llmc_gram_data(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("has_gram", c_int32),
        ("channels", c_int64),
        ("tokens", c_int64),
        ("samples", c_int64),
        ("gram", POINTER(c_float)),
        ("minimum", POINTER(c_float)),
        ("maximum", POINTER(c_float)),
        ("sum_absolute", POINTER(c_double)),
        ("sum_squares", POINTER(c_double)),
    ]


class llmc_smooth_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("algorithm", c_int32),
        ("compat", c_int32),
        ("strength_set", c_int32),
        ("strength", c_double),
    ]


class llmc_scheme_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("method", c_int32),
        ("scheme", c_char_p),
        ("compat", c_int32),
        ("rounding", c_int32),
        ("activation_order", c_int32),
        ("dampening", c_int32),
        ("dampening_frac", c_double),
        ("block_size", c_int64),
    ]


class llmc_matrix_facts(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("method", c_int32),
        ("rows", c_int64),
        ("columns", c_int64),
        ("loss", c_double),
        ("relative_error", c_double),
        ("dampening", c_double),
        ("global_scale", c_double),
        ("scheme", c_char_p),
        ("format", c_char_p),
        ("note", c_char_p),
        ("model_dtype", c_int32),
        ("reserved", c_int32),
    ]


class llmc_writer_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("compat", c_int32),
        ("output_dir", c_char_p),
        ("config_json", c_char_p),
        ("max_shard_bytes", c_int64),
        ("overwrite", c_int32),
        ("reserved", c_int32),
    ]


class llmc_eval_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("dtype", c_int32),
        ("model_dir", c_char_p),
        ("reference_dir", c_char_p),
        ("text", c_char_p),
        ("tokenizer_dir", c_char_p),
        ("window", c_int64),
    ]


class llmc_forward_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("dtype", c_int32),
        ("model_dir", c_char_p),
        ("input_ids", c_char_p),
        ("output", c_char_p),
    ]


class llmc_verify_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("model_dir", c_char_p),
        ("source_dir", c_char_p),
    ]


class llmc_inspect_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("model_dir", c_char_p),
    ]


class llmc_diff_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_int32),
        ("a_dir", c_char_p),
        ("b_dir", c_char_p),
    ]


class llmc_dequantize_options(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("overwrite", c_int32),
        ("model_dir", c_char_p),
        ("output_dir", c_char_p),
        ("max_shard_bytes", c_int64),
    ]


# name: result, parameters
FUNCTIONS = {
    "llmc_status_name": (c_char_p, [c_int32]),
    "llmc_version": (c_char_p, []),
    "llmc_features": (c_char_p, []),
    "llmc_error_status": (c_int32, [c_void_p]),
    "llmc_error_message": (c_char_p, [c_void_p]),
    "llmc_error_free": (None, [c_void_p]),
    "llmc_session_create": (c_int32, [POINTER(llmc_session_options), POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_session_free": (None, [c_void_p]),
    "llmc_session_device": (c_char_p, [c_void_p]),
    "llmc_session_cancel": (None, [c_void_p]),
    "llmc_oneshot": (c_int32, [c_void_p, POINTER(llmc_oneshot_options), POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_report_json": (c_char_p, [c_void_p]),
    "llmc_report_free": (None, [c_void_p]),
    "llmc_report_info": (c_int32, [c_void_p, POINTER(llmc_report_facts), POINTER(c_void_p)]),
    "llmc_report_count": (c_int64, [c_void_p]),
    "llmc_report_linear": (c_int32, [c_void_p, c_int64, POINTER(llmc_linear_facts), POINTER(c_void_p)]),
    "llmc_tensor_from_dlpack": (c_int32, [c_void_p, POINTER(llmc_tensor), POINTER(c_void_p)]),
    "llmc_model_open": (c_int32, [c_void_p, c_char_p, POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_model_open_source": (c_int32, [c_void_p, POINTER(llmc_tensor_source), POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_model_free": (None, [c_void_p]),
    "llmc_model_add_token_ids": (c_int32, [c_void_p, POINTER(c_int32), POINTER(c_int64), c_int64, POINTER(c_void_p)]),
    "llmc_model_add_data": (c_int32, [c_void_p, POINTER(llmc_oneshot_options), POINTER(c_void_p)]),
    "llmc_model_save_statistics": (c_int32, [c_void_p, c_char_p, POINTER(c_void_p)]),
    "llmc_model_load_statistics": (c_int32, [c_void_p, c_char_p, POINTER(c_void_p)]),
    "llmc_model_quantize": (c_int32, [c_void_p, POINTER(llmc_oneshot_options), POINTER(c_void_p)]),
    "llmc_model_save": (c_int32, [c_void_p, POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_session_add_modifier": (c_int32, [c_void_p, POINTER(llmc_modifier), POINTER(c_void_p)]),
    "llmc_gram_create": (c_int32, [c_int64, c_int32, POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_gram_free": (None, [c_void_p]),
    "llmc_gram_add": (c_int32, [c_void_p, c_void_p, POINTER(llmc_tensor), POINTER(c_void_p)]),
    "llmc_gram_merge": (c_int32, [c_void_p, c_void_p, POINTER(c_void_p)]),
    "llmc_gram_save": (c_int32, [c_void_p, c_char_p, POINTER(c_void_p)]),
    "llmc_gram_load": (c_int32, [c_char_p, POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_gram_read": (c_int32, [c_void_p, POINTER(llmc_gram_data), POINTER(c_void_p)]),
    "llmc_smooth_scales": (c_int32, [c_void_p, POINTER(llmc_tensor), c_int32, POINTER(llmc_smooth_options), POINTER(c_float), c_int64, POINTER(c_void_p)]),
    "llmc_smooth_apply": (c_int32, [POINTER(llmc_tensor), POINTER(c_float), c_int64, c_int32, POINTER(c_void_p)]),
    "llmc_scheme_create": (c_int32, [POINTER(llmc_scheme_options), POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_scheme_free": (None, [c_void_p]),
    "llmc_scheme_format": (c_char_p, [c_void_p]),
    "llmc_quantize_matrix": (c_int32, [c_void_p, c_void_p, POINTER(llmc_tensor), c_void_p, POINTER(c_float), POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_global_scale": (c_int32, [c_void_p, c_void_p, POINTER(llmc_tensor), c_int32, c_void_p, POINTER(c_float), POINTER(c_void_p)]),
    "llmc_matrix_create": (c_int32, [c_void_p, POINTER(llmc_tensor), POINTER(llmc_tensor), POINTER(llmc_tensor), POINTER(c_float), c_int32, POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_matrix_free": (None, [c_void_p]),
    "llmc_matrix_info": (c_int32, [c_void_p, POINTER(llmc_matrix_facts), POINTER(c_void_p)]),
    "llmc_matrix_part": (c_int32, [c_void_p, c_int32, POINTER(llmc_tensor), POINTER(c_void_p)]),
    "llmc_matrix_dequantize": (c_int32, [c_void_p, c_void_p, POINTER(llmc_tensor), POINTER(c_void_p)]),
    "llmc_pack": (c_int32, [c_void_p, c_void_p, POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_packed_free": (None, [c_void_p]),
    "llmc_packed_count": (c_int32, [c_void_p]),
    "llmc_packed_tensor": (c_int32, [c_void_p, c_int32, POINTER(c_char_p), POINTER(llmc_tensor), POINTER(c_void_p)]),
    "llmc_unpack": (c_int32, [c_void_p, c_void_p, POINTER(c_char_p), POINTER(llmc_tensor), c_int32, c_int32, POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_writer_create": (c_int32, [POINTER(llmc_writer_options), POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_writer_free": (None, [c_void_p]),
    "llmc_writer_plan_tensor": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int64), c_int32, POINTER(c_void_p)]),
    "llmc_writer_plan_matrix": (c_int32, [c_void_p, c_char_p, c_void_p, c_int32, c_int64, c_int64, POINTER(c_void_p)]),
    "llmc_writer_add_tensor": (c_int32, [c_void_p, c_void_p, c_char_p, POINTER(llmc_tensor), POINTER(c_void_p)]),
    "llmc_writer_add_matrix": (c_int32, [c_void_p, c_void_p, c_char_p, c_void_p, POINTER(c_void_p)]),
    "llmc_writer_add_range": (c_int32, [c_void_p, c_char_p, c_int32, c_float, c_float, POINTER(c_void_p)]),
    "llmc_writer_add_file": (c_int32, [c_void_p, c_char_p, c_void_p, c_int64, POINTER(c_void_p)]),
    "llmc_writer_finish": (c_int32, [c_void_p, c_void_p, POINTER(c_void_p)]),
    "llmc_eval": (c_int32, [c_void_p, POINTER(llmc_eval_options), POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_forward": (c_int32, [c_void_p, POINTER(llmc_forward_options), POINTER(c_void_p)]),
    "llmc_verify": (c_int32, [c_void_p, POINTER(llmc_verify_options), POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_inspect": (c_int32, [c_void_p, POINTER(llmc_inspect_options), POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_diff": (c_int32, [c_void_p, POINTER(llmc_diff_options), POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_dequantize": (c_int32, [c_void_p, POINTER(llmc_dequantize_options), POINTER(c_void_p), POINTER(c_void_p)]),
    "llmc_json_free": (None, [c_void_p]),
}

# What the C compiler says on 64-bit machines: size, {field: offset}
LAYOUT = {
    llmc_progress: (40, {'stage': 0, 'layer': 8, 'step': 16, 'steps': 24, 'relative_error': 32}),
    llmc_session_options: (80, {'struct_size': 0, 'device_type': 4, 'device_index': 8, 'threads': 12, 'cpu_isa': 16, 'progress': 24, 'progress_user_data': 32, 'log': 40, 'log_user_data': 48, 'cuda_module': 56, 'memory_limit': 64, 'device_memory_limit': 72}),
    llmc_source_tensor: (32, {'struct_size': 0, 'dtype': 4, 'name': 8, 'shape': 16, 'ndim': 24, 'reserved': 28}),
    llmc_tensor_source: (48, {'struct_size': 0, 'reserved': 4, 'config_json': 8, 'tensors': 16, 'num_tensors': 24, 'read': 32, 'user_data': 40}),
    llmc_oneshot_options: (176, {'struct_size': 0, 'compat': 4, 'model_dir': 8, 'output_dir': 16, 'recipe': 24, 'scheme': 32, 'stage': 40, 'dataset': 48, 'tokenizer_dir': 56, 'text_column': 64, 'template_date': 72, 'token_ids': 80, 'sequence_starts': 88, 'num_sequences': 96, 'num_calibration_samples': 104, 'max_seq_length': 112, 'shuffle_seed': 120, 'max_shard_bytes': 128, 'shuffle': 136, 'concatenate_data': 140, 'rounding': 144, 'propagation': 148, 'save_compressed': 152, 'tie_word_embeddings': 156, 'overwrite': 160, 'reserved': 164, 'source': 168}),
    llmc_report_facts: (88, {'struct_size': 0, 'reserved': 4, 'linears': 8, 'samples': 16, 'tokens': 24, 'bytes_before': 32, 'bytes_after': 40, 'peak_memory': 48, 'seconds': 56, 'calibration_seconds': 64, 'quantization_seconds': 72, 'writing_seconds': 80}),
    llmc_linear_facts: (72, {'struct_size': 0, 'reserved': 4, 'name': 8, 'scheme': 16, 'method': 24, 'note': 32, 'relative_error': 40, 'loss': 48, 'dampening': 56, 'seconds': 64}),
    llmc_tensor: (64, {'struct_size': 0, 'dtype': 4, 'data': 8, 'shape': 16, 'strides': 24, 'byte_offset': 32, 'stream': 40, 'ndim': 48, 'device_type': 52, 'device_index': 56, 'reserved': 60}),
    llmc_matrix_job: (96, {'struct_size': 0, 'num_bits': 4, 'module': 8, 'weight': 16, 'scales': 24, 'zero_points': 32, 'codes': 40, 'gram': 48, 'channel_min': 56, 'channel_max': 64, 'sum_absolute': 72, 'sum_squares': 80, 'tokens': 88}),
    llmc_modifier: (32, {'struct_size': 0, 'needs': 4, 'type': 8, 'quantize': 16, 'user_data': 24}),
    llmc_gram_data: (72, {'struct_size': 0, 'has_gram': 4, 'channels': 8, 'tokens': 16, 'samples': 24, 'gram': 32, 'minimum': 40, 'maximum': 48, 'sum_absolute': 56, 'sum_squares': 64}),
    llmc_smooth_options: (24, {'struct_size': 0, 'algorithm': 4, 'compat': 8, 'strength_set': 12, 'strength': 16}),
    llmc_scheme_options: (48, {'struct_size': 0, 'method': 4, 'scheme': 8, 'compat': 16, 'rounding': 20, 'activation_order': 24, 'dampening': 28, 'dampening_frac': 32, 'block_size': 40}),
    llmc_matrix_facts: (88, {'struct_size': 0, 'method': 4, 'rows': 8, 'columns': 16, 'loss': 24, 'relative_error': 32, 'dampening': 40, 'global_scale': 48, 'scheme': 56, 'format': 64, 'note': 72, 'model_dtype': 80, 'reserved': 84}),
    llmc_writer_options: (40, {'struct_size': 0, 'compat': 4, 'output_dir': 8, 'config_json': 16, 'max_shard_bytes': 24, 'overwrite': 32, 'reserved': 36}),
    llmc_eval_options: (48, {'struct_size': 0, 'dtype': 4, 'model_dir': 8, 'reference_dir': 16, 'text': 24, 'tokenizer_dir': 32, 'window': 40}),
    llmc_forward_options: (32, {'struct_size': 0, 'dtype': 4, 'model_dir': 8, 'input_ids': 16, 'output': 24}),
    llmc_verify_options: (24, {'struct_size': 0, 'reserved': 4, 'model_dir': 8, 'source_dir': 16}),
    llmc_inspect_options: (16, {'struct_size': 0, 'reserved': 4, 'model_dir': 8}),
    llmc_diff_options: (24, {'struct_size': 0, 'reserved': 4, 'a_dir': 8, 'b_dir': 16}),
    llmc_dequantize_options: (32, {'struct_size': 0, 'overwrite': 4, 'model_dir': 8, 'output_dir': 16, 'max_shard_bytes': 24}),
}
