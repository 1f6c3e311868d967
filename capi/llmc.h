/* llmc: compresses large language models in one shot. The C interface.
 *
 *   llmc_session *session = NULL; llmc_error *error = NULL; llmc_report *report = NULL;
 *   llmc_oneshot_options options = {0};
 *   options.struct_size = sizeof options;
 *   options.model_dir = "Llama-3-8B"; options.recipe = "w4a16.yaml"; options.dataset = "chats.jsonl";
 *   options.output_dir = "Llama-3-8B-W4A16";
 *   if (llmc_session_create(NULL, &session, &error) || llmc_oneshot(session, &options, &report, &error))
 *     fprintf(stderr, "%s\n", llmc_error_message(error));
 *
 * Errors.    A function that can fail returns llmc_status, LLMC_OK (0) on success. `error`, the last
 *            parameter, may be NULL; otherwise it is always written: NULL on success, an object to be freed
 *            with llmc_error_free on failure. Other results are written on success and set to NULL on
 *            failure. A message is one line: place, thing, what was got, what was wanted.
 * Options.   Every options struct starts with struct_size = sizeof of the struct you compiled against; all
 *            else zero means default. NULL instead of a struct means all defaults where the function says
 *            so. A larger struct from a newer header works as long as what this library does not know is
 *            zero. Switches are tri-state: LLMC_DEFAULT, LLMC_ON, LLMC_OFF.
 * Ownership. What _create, _oneshot and the like give, the matching _free takes; NULL is fine for every
 *            _free. `const char *` results are borrowed: valid until the object they came from is freed.
 *            Strings are UTF-8 and are copied by the library before a call returns.
 * Threads.   Sessions are independent. One call at a time per session (a second one returns
 *            LLMC_INVALID_ARGUMENT); llmc_session_cancel is the exception: any thread, any callback, a
 *            signal handler. Errors and reports are immutable: any number of threads may read one.
 * Callbacks. Run on the thread that called llmc, one at a time, with no lock held. Inside one,
 *            llmc_session_cancel and calls that take no session are allowed. A callback must not throw or
 *            longjmp; an exception that does reach llmc ends the call with LLMC_INTERNAL.
 * Guest.     The library prints nothing, never exits, installs no signal handler, reads no environment
 *            variable, and keeps no global mutable state. On a processor with AMX it asks the kernel once
 *            for the right to use it (arch_prctl), which lasts for the process. One exception: when memory
 *            runs out in the text module (tokenizer, chat template, data set), which is Rust, the process ends.
 * Fork.      After fork() a child may free its sessions; its calls run on the calling thread alone. Create
 *            new sessions there to use all cores.
 */
#ifndef LLMC_H
#define LLMC_H

#include <stdint.h>

#if defined(_WIN32)
#define LLMC_API
#else
#define LLMC_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define LLMC_VERSION_MAJOR 0
#define LLMC_VERSION_MINOR 1
#define LLMC_VERSION_PATCH 0

/* ---- status ---- */

/* A typedef, not an enum: a value from a newer library is still well-defined. Numbers are never reused. */
typedef int32_t llmc_status;
#define LLMC_OK 0
#define LLMC_INVALID_ARGUMENT 1 /* a caller's or recipe's mistake */
#define LLMC_NOT_FOUND 2        /* a file, folder or tensor that is not there */
#define LLMC_IO 3               /* the operating system refused: disk full, permission, read error */
#define LLMC_BAD_FILE 4         /* a file that breaks its own format */
#define LLMC_UNSUPPORTED 5      /* a valid request that this build cannot serve */
#define LLMC_NUMERIC 6          /* NaN or Inf where a finite number is needed */
#define LLMC_OUT_OF_MEMORY 7
#define LLMC_CANCELLED 8
#define LLMC_EXISTS 9    /* the output is already there */
#define LLMC_INTERNAL 10 /* a bug in llmc */

/* "LLMC_IO" for 3; "LLMC_UNKNOWN" for a number this library does not know. Static text. */
LLMC_API const char* llmc_status_name(llmc_status status);

/* "0.1.0": of the library that is loaded, which may be newer than this header. Static text. */
LLMC_API const char* llmc_version(void);

/* Comma-separated parts: "cpu"; "text" where tokenizer and data sets were built in; "cuda" where this build's
 * libllmc_cuda.so lies beside libllmc.so (whether it finds a GPU is known when a session is created). Static
 * text. */
LLMC_API const char* llmc_features(void);

/* ---- errors ---- */

typedef struct llmc_error llmc_error;
LLMC_API llmc_status llmc_error_status(const llmc_error* error); /* LLMC_OK for NULL */
/* one line; "" for NULL. Never use it as a format string. */
LLMC_API const char* llmc_error_message(const llmc_error* error);
LLMC_API void llmc_error_free(llmc_error* error);

/* ---- sessions ---- */

#define LLMC_DEFAULT 0
#define LLMC_ON 1
#define LLMC_OFF 2

#define LLMC_DEVICE_CPU 0
#define LLMC_DEVICE_CUDA 1 /* needs libllmc_cuda.so, NVIDIA's driver and a GPU from sm_80 on */
#define LLMC_DEVICE_AUTO 2 /* CUDA where it works; otherwise the CPU, and a note in the report says why */

/* How far the run is: `step` of `steps` over the whole call. `relative_error` is the mean of the last
 * finished layer, 0 while unknown. Strings are valid during the callback. The struct is final: it has no
 * struct_size, so it never grows; more facts would come by a callback of their own. */
typedef struct llmc_progress {
  const char* stage; /* "survey", "calibrate", "quantize" */
  const char* layer; /* "model.layers.3" */
  int64_t step;
  int64_t steps;
  double relative_error;
} llmc_progress;

#define LLMC_LOG_WARNING 1
#define LLMC_LOG_NOTE 2

typedef void (*llmc_progress_fn)(const llmc_progress* progress, void* user_data);
typedef void (*llmc_log_fn)(int32_t level, const char* line, void* user_data);

typedef struct llmc_session_options {
  uint32_t struct_size;
  int32_t device_type;  /* LLMC_DEVICE_CPU, _CUDA or _AUTO */
  int32_t device_index; /* of the GPU */
  int32_t threads;      /* 0: the cores this process may use. Results do not depend on it. */
  /* NULL: the best this processor has; or "sse4", "avx2", "avx512", "avx512_bf16", "amx_bf16": pins the
   * arithmetic, so that the bytes of a calibrated run repeat on another machine */
  const char* cpu_isa;
  llmc_progress_fn progress;
  void* progress_user_data;
  llmc_log_fn log;
  void* log_user_data;
  const char* cuda_module; /* path of libllmc_cuda.so; NULL: beside libllmc.so */
  /* bytes that the session's own tensors may take during a llmc_oneshot or a call of a model (what else the
   * process holds does not count): looked at between steps; beyond it the call ends with LLMC_OUT_OF_MEMORY and
   * leaves nothing. 0: no limit */
  int64_t memory_limit;
  /* bytes of the GPU's memory to use; values that wait go to the host when it is nearly full.
   * 0: all that is free */
  int64_t device_memory_limit;
} llmc_session_options;

typedef struct llmc_session llmc_session;
/* `options` may be NULL. Starts the session's threads. */
LLMC_API llmc_status llmc_session_create(const llmc_session_options* options,
                                         llmc_session** session,
                                         llmc_error** error);
LLMC_API void llmc_session_free(llmc_session* session);
/* "cpu amx_bf16, 8 threads". Borrowed. */
LLMC_API const char* llmc_session_device(const llmc_session* session);
/* Makes the running call, or else the next one, return LLMC_CANCELLED, also while it reads a data set (looked
 * at before every row); nothing appears under the output
 * name. A call uses the request up, however it ends: one that comes after the last look at the flag has no
 * effect. Lock-free. */
LLMC_API void llmc_session_cancel(llmc_session* session);

/* ---- the main job ---- */

#define LLMC_COMPAT_VLLM 1 /* the default: what vLLM loads and means the same */
/* llm-compressor's arithmetic and config, byte for byte wherever arithmetic allows */
#define LLMC_COMPAT_REFERENCE 2
#define LLMC_ROUNDING_EXACT 1       /* quotients in float32 against the stored scale */
#define LLMC_ROUNDING_REFERENCE 2   /* quotients rounded to the weight's dtype first */
#define LLMC_PROPAGATION_SUBLAYER 1 /* each set of Linears sees the error made before it; one forward */
#define LLMC_PROPAGATION_LAYER 2    /* statistics of a layer from its unquantized form; two forwards */

/* A model that lies in no folder: in the memory of a trainer, say. */
typedef struct llmc_source_tensor {
  uint32_t struct_size;
  int32_t dtype;        /* LLMC_DTYPE_* (llmc_tensor.h) */
  const char* name;     /* "model.layers.0.mlp.up_proj.weight" */
  const int64_t* shape; /* [ndim] */
  int32_t ndim;
  int32_t reserved; /* 0 */
} llmc_source_tensor;

/* Writes bytes [offset, offset + bytes) of tensors[tensor], row-major and little-endian, to `to`: the same
 * bytes every time it is asked. 0: done; anything else ends the call with LLMC_IO. Called one at a time,
 * from the calling thread or another one of llmc's. */
typedef int32_t (*llmc_read_fn)(void* user_data, int64_t tensor, int64_t offset, int64_t bytes, void* to);

typedef struct llmc_tensor_source {
  uint32_t struct_size;
  int32_t reserved;                  /* 0 */
  const char* config_json;           /* the text of config.json */
  const llmc_source_tensor* tensors; /* [num_tensors]; the output keeps their order */
  int64_t num_tensors;
  llmc_read_fn read;
  void* user_data;
} llmc_tensor_source;

/* A folder in, a folder out. model_dir (or source), output_dir and one of recipe and scheme are required;
   recipes that calibrate need dataset or token_ids. */
typedef struct llmc_oneshot_options {
  uint32_t struct_size;
  int32_t compat;        /* LLMC_COMPAT_* */
  const char* model_dir; /* config.json and safetensors files; never changed */
  /* must not exist, or be empty, unless overwrite. Appears whole at the end or not at all. */
  const char* output_dir;
  const char* recipe; /* a file (.yaml .yml .json .md) or the text itself */
  /* instead of a recipe: "FP8_DYNAMIC", "W4A16", ...: every Linear but lm_head, rounded to nearest, no data
     */
  const char* scheme;
  const char* stage; /* run only the stages of the recipe whose name starts with it */
  /* JSONL, or a JSON array, of chats, texts or token ids (docs/oneshot-arguments.md); opened when the recipe
   * has been read and the run planned, and only if the recipe needs data */
  const char* dataset;
  const char* tokenizer_dir; /* NULL: model_dir */
  const char* text_column;   /* NULL: "text" */
  /* what a chat template's strftime_now prints, "YYYY-MM-DD"; NULL: a fixed date, never today */
  const char* template_date;
  /* instead of dataset: all sequences one after another, [sequence_starts[num_sequences]] */
  const int32_t* token_ids;
  const int64_t* sequence_starts; /* [num_sequences + 1], the first 0 */
  int64_t num_sequences;
  int64_t num_calibration_samples; /* 0: 512; more than the data set has: all of it */
  int64_t max_seq_length;          /* 0: samples are not cut */
  uint64_t shuffle_seed;
  int64_t max_shard_bytes; /* 0: tensors stay in the files of the input */
  /* LLMC_ON: the order of Python datasets' shuffle(shuffle_seed); default: file order */
  int32_t shuffle;
  int32_t concatenate_data; /* LLMC_ON: samples joined, then cut to multiples of max_seq_length */
  int32_t rounding;         /* LLMC_ROUNDING_*; default by compat */
  int32_t propagation;      /* LLMC_PROPAGATION_*; default by compat */
  /* LLMC_OFF: weights that were rounded to the grid, in the model's own dtype */
  int32_t save_compressed;
  int32_t tie_word_embeddings; /* LLMC_OFF: lm_head gets a tensor of its own */
  int32_t overwrite;           /* LLMC_ON: the finished folder takes the place of what stands there */
  int32_t reserved;            /* 0 */
  /* instead of model_dir; used during the call alone. The output holds no tokenizer or other side files. */
  const llmc_tensor_source* source;
} llmc_oneshot_options;

typedef struct llmc_report llmc_report;
/* `report` may be NULL. */
LLMC_API llmc_status llmc_oneshot(llmc_session* session,
                                  const llmc_oneshot_options* options,
                                  llmc_report** report,
                                  llmc_error** error);

/* The whole report as JSON: totals, notes, and one row per matrix (docs/c-abi.md lists the keys). Borrowed.
   */
LLMC_API const char* llmc_report_json(const llmc_report* report);
LLMC_API void llmc_report_free(llmc_report* report);

/* The same, field by field (since 0.3). Strings are borrowed from the report; struct_size of what is filled
   must be set. */
typedef struct llmc_report_facts {
  uint32_t struct_size;
  int32_t reserved;
  int64_t linears; /* llmc_report_count */
  int64_t samples; /* calibration data used */
  int64_t tokens;
  int64_t bytes_before; /* tensor bytes of the input and of the output */
  int64_t bytes_after;
  int64_t peak_memory; /* bytes; the highest seen between steps */
  double seconds;      /* wall time, and its parts */
  double calibration_seconds;
  double quantization_seconds;
  double writing_seconds;
} llmc_report_facts;
LLMC_API llmc_status llmc_report_info(const llmc_report* report,
                                      llmc_report_facts* facts,
                                      llmc_error** error);

typedef struct llmc_linear_facts {
  uint32_t struct_size;
  int32_t reserved;
  const char* name;   /* "model.layers.0.mlp.up_proj" */
  const char* scheme; /* "int4 group 128" */
  const char* method; /* "GPTQ" or "RTN" */
  const char* note;   /* why the method fell back; "" otherwise */
  /* GPTQ: root of (output error / output energy) over sampled rows; RTN: ||W - Q|| / ||W|| */
  double relative_error;
  double loss;      /* GPTQ: sum of squared output errors per token; 0 otherwise */
  double dampening; /* GPTQ: the fraction that worked; 0 otherwise */
  double seconds;   /* its share of the quantization time */
} llmc_linear_facts;
LLMC_API int64_t llmc_report_count(const llmc_report* report); /* quantized matrices; 0 for NULL */
/* index: 0 to llmc_report_count - 1, in the order they were quantized. */
LLMC_API llmc_status llmc_report_linear(const llmc_report* report,
                                        int64_t index,
                                        llmc_linear_facts* facts,
                                        llmc_error** error);

#ifdef __cplusplus
}
#endif
#endif
