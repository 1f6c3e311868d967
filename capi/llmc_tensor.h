/* llmc, tensor level: bring your own forward pass. You hand over inputs and weights, matrix by matrix; llmc
 * collects statistics, quantizes, packs and writes a compressed-tensors folder. The same parts as
 * llmc_oneshot, so the same bytes. The rules of llmc.h hold. examples/own_forward.c is a whole program.
 *
 *   llmc_gram *gram = NULL; llmc_scheme *scheme = NULL; llmc_matrix *matrix = NULL; llmc_writer *writer = NULL;
 *   llmc_gram_create(channels, LLMC_GRAM_ALL, &gram, &error);
 *   for each batch: llmc_gram_add(session, gram, &x, &error);     x [.., channels]: what the Linear reads
 *   llmc_scheme_create(&scheme_options, &scheme, &error);                           "W4A16", GPTQ
 *   llmc_quantize_matrix(session, scheme, &weight, gram, NULL, &matrix, &error);    weight [rows, channels]
 *   llmc_writer_create(&writer_options, &writer, &error);
 *   llmc_writer_plan_matrix(writer, "fc1", scheme, LLMC_DTYPE_BFLOAT16, rows, channels, &error);
 *   llmc_writer_add_matrix(session, writer, "fc1", matrix, &error);
 *   llmc_writer_finish(session, writer, &error);
 *
 * Tensors.  A llmc_tensor describes memory of yours; llmc reads it during the call and keeps nothing of it.
 *           Contiguous memory (strides NULL, or those of a dense tensor) that is aligned to its elements is
 *           used in place; anything else is copied row by row first. Memory of a GPU is taken by calls with
 *           a session on that GPU: contiguous and aligned. They wait for what was queued on its stream, and
 *           are done with the memory when they return; LLMC_UNSUPPORTED otherwise.
 * Threads.  Grams and writers: one call at a time (a second one returns LLMC_INVALID_ARGUMENT). Schemes,
 *           matrices and packs are immutable: any number of threads and sessions may use one. Nothing here
 *           outlives or depends on the session a call ran on.
 * Cancel.   llmc_session_cancel ends a call that takes a session before it changes anything where that is
 *           possible, and between pieces of its work.
 * Failures. A call that fails leaves what it was given as it was; where memory or the disk fail half way
 *           through a llmc_gram_add or a writer's call, the object says so in every later call and can only
 *           be freed.
 * Bytes.    They depend on the inputs, their split into calls (llmc_gram_add) and the session's instruction
 *           set; not on threads.
 */
#ifndef LLMC_TENSOR_H
#define LLMC_TENSOR_H

#include "llmc.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- tensors ---- */

/* Numbers are never reused. */
#define LLMC_DTYPE_FLOAT32 1
#define LLMC_DTYPE_BFLOAT16 2
#define LLMC_DTYPE_FLOAT16 3
#define LLMC_DTYPE_FLOAT64 4
#define LLMC_DTYPE_FLOAT8_E4M3 5 /* e4m3fn: no infinity */
#define LLMC_DTYPE_FLOAT8_E5M2 6
#define LLMC_DTYPE_FLOAT8_E8M0 7
#define LLMC_DTYPE_INT8 8
#define LLMC_DTYPE_INT16 9
#define LLMC_DTYPE_INT32 10
#define LLMC_DTYPE_INT64 11
#define LLMC_DTYPE_UINT8 12
#define LLMC_DTYPE_UINT16 13
#define LLMC_DTYPE_UINT32 14
#define LLMC_DTYPE_UINT64 15
#define LLMC_DTYPE_BOOL 16

/* A borrowed tensor. `data` is written to only where a function says so. */
typedef struct llmc_tensor {
  uint32_t struct_size;
  int32_t dtype;          /* LLMC_DTYPE_* */
  void* data;             /* NULL only for tensors without elements */
  const int64_t* shape;   /* [ndim] */
  const int64_t* strides; /* [ndim], in elements, none negative; NULL: row-major and contiguous */
  int64_t byte_offset;    /* of the first element from `data` */
  /* the device's stream (cudaStream_t) that fills the memory, NULL: its default one; NULL on the CPU */
  void* stream;
  int32_t ndim;        /* 0 to 8 */
  int32_t device_type; /* LLMC_DEVICE_CPU or _CUDA */
  int32_t device_index;
  int32_t reserved; /* 0 */
} llmc_tensor;

/* ---- modifiers of yours ---- */

#define LLMC_NEEDS_GRAM 1     /* the gram matrix of the matrix's inputs */
#define LLMC_NEEDS_CHANNELS 2 /* their statistics by channel */

/* One matrix of a calibrated run (examples/from_memory.c). Everything is borrowed and valid during the
   callback. A code stands for (code - zero point) * scale. */
typedef struct llmc_matrix_job {
  uint32_t struct_size;
  int32_t num_bits;
  const char* module;        /* "model.layers.0.mlp.up_proj" */
  const llmc_tensor* weight; /* [rows, columns] in the model's dtype */
  /* FLOAT32; [1], [rows, 1], [rows, groups] or [block rows, block columns] */
  const llmc_tensor* scales;
  const llmc_tensor* zero_points; /* INT8, the same shape; NULL when symmetric */
  /* [rows, columns] INT8, FLOAT8_E4M3 or (fp4, one code a byte) UINT8: the nearest codes. Change them in
     place. */
  const llmc_tensor* codes;
  /* FLOAT32 [columns, columns]: the lower triangle of sum(x x^T). NULL unless asked for */
  const llmc_tensor* gram;
  const float* channel_min; /* [columns]; NULL, as the next three, unless asked for */
  const float* channel_max;
  const double* sum_absolute;
  const double* sum_squares;
  int64_t tokens; /* in the statistics */
} llmc_matrix_job;

/* 0: done; anything else ends the run with LLMC_INVALID_ARGUMENT. Called one at a time on the thread that
   called llmc_oneshot. */
typedef int32_t (*llmc_quantize_fn)(void* user_data, const llmc_matrix_job* job);

typedef struct llmc_modifier {
  uint32_t struct_size;
  int32_t needs; /* LLMC_NEEDS_*, or-ed */
  /* its name in recipes, "MyModifier"; it takes targets, ignore, scheme, config_groups as
     QuantizationModifier does */
  const char* type;
  llmc_quantize_fn quantize;
  void* user_data;
} llmc_modifier;

/* Recipes of this session may name the modifier from now on, in runs with calibration data. Codes outside
 * the scheme's range, and codes that hold nothing of a weight (one value everywhere, or an error of 1), end
 * a run with LLMC_INVALID_ARGUMENT. */
LLMC_API llmc_status llmc_session_add_modifier(llmc_session* session,
                                               const llmc_modifier* modifier,
                                               llmc_error** error);

/* ---- statistics of a Linear's inputs ---- */

#define LLMC_GRAM_ALL 0 /* the gram matrix sum(x x^T), 4 * channels^2 bytes, and the channels' statistics */
#define LLMC_GRAM_CHANNELS 1 /* the channels' statistics alone: enough for smoothing and for observers */

typedef struct llmc_gram llmc_gram;
/* Nothing seen yet. One gram serves all Linears that read the same values (q, k, v; gate, up). */
LLMC_API llmc_status llmc_gram_create(int64_t channels, int32_t parts, llmc_gram** gram, llmc_error** error);
LLMC_API void llmc_gram_free(llmc_gram* gram);
/* values: [.., channels] float32, bfloat16 or float16, one token per row; one dimension is one token. Three
 * and more dimensions count the first as samples, others are one sample. Sums are float32, in passes of
 * 4096 tokens. LLMC_NUMERIC for NaN and Inf, with their place; the gram is as before then. */
LLMC_API llmc_status llmc_gram_add(llmc_session* session,
                                   llmc_gram* gram,
                                   const llmc_tensor* values,
                                   llmc_error** error);
/* As if `from`'s values had been added to `into` after its own: the same gram bits when each was filled by
   calls of at most 4096 tokens and `from` by one. */
LLMC_API llmc_status llmc_gram_merge(llmc_gram* into, const llmc_gram* from, llmc_error** error);
/* A file of llmc's own (safetensors with a checksum). Saving replaces `path` in one step; loading refuses
   what is damaged with LLMC_BAD_FILE. */
LLMC_API llmc_status llmc_gram_save(const llmc_gram* gram, const char* path, llmc_error** error);
LLMC_API llmc_status llmc_gram_load(const char* path, llmc_gram** gram, llmc_error** error);

/* What to copy out. Pointers may be NULL; each array has `channels` entries, `gram` channels * channels. */
typedef struct llmc_gram_data {
  uint32_t struct_size;
  int32_t has_gram;     /* written: LLMC_ON, or LLMC_OFF for LLMC_GRAM_CHANNELS */
  int64_t channels;     /* in: the room in your arrays, when any is given; written: the gram's */
  int64_t tokens;       /* written */
  int64_t samples;      /* written */
  float* gram;          /* [channels, channels], symmetric: sum over tokens of x_i * x_j */
  float* minimum;       /* [channels]; +infinity before the first token */
  float* maximum;       /* -infinity before the first token */
  double* sum_absolute; /* sum over tokens of |x_i| */
  double* sum_squares;
} llmc_gram_data;
/* LLMC_INVALID_ARGUMENT when an array is given and data->channels is not the gram's, or `gram` is asked of a
   gram without one. */
LLMC_API llmc_status llmc_gram_read(const llmc_gram* gram, llmc_gram_data* data, llmc_error** error);

/* ---- smoothing ---- */

#define LLMC_SMOOTHING_SMOOTHQUANT 1 /* range(x)^strength / (2 max|w|)^(1 - strength); the default */
#define LLMC_SMOOTHING_LOGARITHMIC 2 /* range(x) / log2(2 + range(x)) */

typedef struct llmc_smooth_options {
  uint32_t struct_size;
  int32_t algorithm;    /* LLMC_SMOOTHING_* */
  int32_t compat;       /* LLMC_COMPAT_*; reference: every step is rounded to the first weight's dtype */
  int32_t strength_set; /* LLMC_ON: strength counts; default: 0.5 */
  double strength;      /* 0 to 1 */
} llmc_smooth_options;
/* scales: [channels] of the gram. weights: [count] tensors [rows, channels], all that read the values.
   `options` may be NULL. */
LLMC_API llmc_status llmc_smooth_scales(const llmc_gram* gram,
                                        const llmc_tensor* weights,
                                        int32_t count,
                                        const llmc_smooth_options* options,
                                        float* scales,
                                        int64_t channels,
                                        llmc_error** error);

#define LLMC_SMOOTH_MULTIPLY 1        /* weights that read the values: w * s */
#define LLMC_SMOOTH_DIVIDE 2          /* weight and bias of the norm that makes them: w / s */
#define LLMC_SMOOTH_DIVIDE_PLUS_ONE 3 /* weight of a norm that multiplies by 1 + w: (1 + w) / s - 1 */
/* Changes `tensor` [.., channels] in place, rounded once to its dtype. It must be contiguous; float32,
   bfloat16 or float16. */
LLMC_API llmc_status llmc_smooth_apply(llmc_tensor* tensor,
                                       const float* scales,
                                       int64_t channels,
                                       int32_t operation,
                                       llmc_error** error);

/* ---- schemes ---- */

#define LLMC_METHOD_RTN 1         /* rounding to nearest; the default */
#define LLMC_METHOD_GPTQ 2        /* needs a gram */
#define LLMC_DAMPENING_RELATIVE 1 /* H_ii += frac * H_ii; the default */
#define LLMC_DAMPENING_MEAN 2     /* H_ii += frac * mean(diag H); the default of LLMC_COMPAT_REFERENCE */

/* `scheme` is required; what belongs to GPTQ must be 0 with LLMC_METHOD_RTN. */
typedef struct llmc_scheme_options {
  uint32_t struct_size;
  int32_t method; /* LLMC_METHOD_* */
  /* a preset ("W4A16", "NVFP4", ...), or YAML or JSON text: an entry of config_groups, or the arguments of its
   * weights alone, {"num_bits": 4, "group_size": 32, "strategy": "group", "symmetric": false} */
  const char* scheme;
  int32_t compat;           /* LLMC_COMPAT_* */
  int32_t rounding;         /* LLMC_ROUNDING_*; default by compat */
  int32_t activation_order; /* GPTQ: LLMC_ON, LLMC_OFF; default: what the scheme says, else on */
  int32_t dampening;        /* GPTQ: LLMC_DAMPENING_* */
  double dampening_frac;    /* GPTQ: 0: 0.01; otherwise above 0 and at most 1 */
  int64_t block_size;       /* GPTQ: 0: 128 */
} llmc_scheme_options;

typedef struct llmc_scheme llmc_scheme;
/* Read and checked once, used for any number of matrices. */
LLMC_API llmc_status llmc_scheme_create(const llmc_scheme_options* options,
                                        llmc_scheme** scheme,
                                        llmc_error** error);
LLMC_API void llmc_scheme_free(llmc_scheme* scheme);
/* "pack-quantized": how its matrices lie on disk. "" for NULL. Borrowed. */
LLMC_API const char* llmc_scheme_format(const llmc_scheme* scheme);

/* ---- one matrix ---- */

typedef struct llmc_matrix llmc_matrix;
/* weight: [rows, columns] float32, bfloat16 or float16; its dtype is the model's. gram: of the inputs,
 * [columns] channels; GPTQ needs it, observers that weigh channels use it, otherwise it may be NULL.
 * global_scale: NVFP4's, for weights that a server fuses (llmc_global_scale); NULL: the weight's own.
 * LLMC_NUMERIC for NaN and Inf. A Hessian that cannot be factored is no error: llmc_matrix_info tells the
 * method that was used, and why. */
LLMC_API llmc_status llmc_quantize_matrix(llmc_session* session,
                                          const llmc_scheme* scheme,
                                          const llmc_tensor* weight,
                                          const llmc_gram* gram,
                                          const float* global_scale,
                                          llmc_matrix** matrix,
                                          llmc_error** error);
/* One global scale for [count] weights that a server fuses into one layer (q, k, v; gate, up). Schemes with
   strategy tensor_group alone. */
LLMC_API llmc_status llmc_global_scale(llmc_session* session,
                                       const llmc_scheme* scheme,
                                       const llmc_tensor* weights,
                                       int32_t count,
                                       const llmc_gram* gram,
                                       float* global_scale,
                                       llmc_error** error);
/* From parts made elsewhere; they are copied. zero_points and global_scale: NULL where the scheme has none.
   model_dtype: of the weight that the codes stand for. */
LLMC_API llmc_status llmc_matrix_create(const llmc_scheme* scheme,
                                        const llmc_tensor* codes,
                                        const llmc_tensor* scales,
                                        const llmc_tensor* zero_points,
                                        const float* global_scale,
                                        int32_t model_dtype,
                                        llmc_matrix** matrix,
                                        llmc_error** error);
LLMC_API void llmc_matrix_free(llmc_matrix* matrix);

typedef struct llmc_matrix_facts {
  uint32_t struct_size;
  int32_t method; /* LLMC_METHOD_* that was used; 0: made by llmc_matrix_create or llmc_unpack */
  int64_t rows;
  int64_t columns;
  double loss; /* GPTQ: sum of squared output errors per token; 0 otherwise */
  /* GPTQ: root of (output error / output energy) over sampled rows; RTN: ||W - Q|| / ||W|| */
  double relative_error;
  double dampening;    /* GPTQ: the fraction that worked; 0 otherwise */
  double global_scale; /* NVFP4; 0: none */
  const char* scheme;  /* "int4 group 128" */
  const char* format;  /* "pack-quantized" */
  const char* note;    /* why the method fell back or the dampening rose; "" otherwise */
  int32_t model_dtype; /* LLMC_DTYPE_* */
  int32_t reserved;
} llmc_matrix_facts;
/* Fills `facts`, whose struct_size must be set; its strings are borrowed from the matrix. */
LLMC_API llmc_status llmc_matrix_info(const llmc_matrix* matrix,
                                      llmc_matrix_facts* facts,
                                      llmc_error** error);

/* [rows, columns]: INT8, FLOAT8_E4M3, or UINT8 with one fp4 number (E2M1, sign in bit 3) each */
#define LLMC_PART_CODES 1
/* tensor [1]; channel [rows, 1]; group [rows, columns / g]; block [ceil, ceil]: model dtype, FLOAT8_E4M3
 * (NVFP4) or UINT8 exponents (MX) */
#define LLMC_PART_SCALES 2
#define LLMC_PART_ZERO_POINTS 3 /* INT8, the scales' shape; asymmetric schemes */
#define LLMC_PART_ORDER 4       /* INT32 [columns]: which column GPTQ visited i-th; with activation order */
/* A view into the matrix, valid until it is freed; not to be written to. `tensor`: struct_size must be set.
   LLMC_NOT_FOUND: the matrix has no such part. */
LLMC_API llmc_status llmc_matrix_part(const llmc_matrix* matrix,
                                      int32_t part,
                                      llmc_tensor* tensor,
                                      llmc_error** error);
/* values: contiguous [rows, columns] float32, bfloat16 or float16, aligned, written: the weight as a server
   sees it. */
LLMC_API llmc_status llmc_matrix_dequantize(llmc_session* session,
                                            const llmc_matrix* matrix,
                                            llmc_tensor* values,
                                            llmc_error** error);

/* ---- bytes on disk ---- */

typedef struct llmc_packed llmc_packed;
/* The tensors that the file holds for this matrix: "weight_packed", "weight_scale", ... */
LLMC_API llmc_status llmc_pack(llmc_session* session,
                               const llmc_matrix* matrix,
                               llmc_packed** packed,
                               llmc_error** error);
LLMC_API void llmc_packed_free(llmc_packed* packed);
LLMC_API int32_t llmc_packed_count(const llmc_packed* packed); /* 0 for NULL */
/* name: borrowed. `tensor`: a view, struct_size must be set. Both are valid until `packed` is freed; either
   may be NULL. */
LLMC_API llmc_status llmc_packed_tensor(const llmc_packed* packed,
                                        int32_t index,
                                        const char** name,
                                        llmc_tensor* tensor,
                                        llmc_error** error);
/* The inverse: names[count] and tensors[count] as llmc_packed_tensor gives them, in any order. */
LLMC_API llmc_status llmc_unpack(llmc_session* session,
                                 const llmc_scheme* scheme,
                                 const char* const* names,
                                 const llmc_tensor* tensors,
                                 int32_t count,
                                 int32_t model_dtype,
                                 llmc_matrix** matrix,
                                 llmc_error** error);

/* ---- a compressed folder ---- */

typedef struct llmc_writer_options {
  uint32_t struct_size;
  int32_t compat; /* LLMC_COMPAT_*: how quantization_config is spelled */
  /* must not exist, or be empty, unless overwrite. Appears whole at llmc_writer_finish or not at all. */
  const char* output_dir;
  const char* config_json; /* config.json's text, a JSON object; quantization_config is set in it */
  int64_t max_shard_bytes; /* 0: 20,000,000,000 */
  int32_t overwrite;       /* LLMC_ON: the finished folder takes the place of what stands there */
  int32_t reserved;        /* 0 */
} llmc_writer_options;

typedef struct llmc_writer llmc_writer;
LLMC_API llmc_status llmc_writer_create(const llmc_writer_options* options,
                                        llmc_writer** writer,
                                        llmc_error** error);
LLMC_API void llmc_writer_free(llmc_writer* writer); /* not finished: removes what was written */
/* The whole plan comes before the first _add. A tensor "<module>.weight" with two dimensions that no scheme
   quantizes is put on quantization_config's ignore list. */
LLMC_API llmc_status llmc_writer_plan_tensor(llmc_writer* writer,
                                             const char* name,
                                             int32_t dtype,
                                             const int64_t* shape,
                                             int32_t ndim,
                                             llmc_error** error);
LLMC_API llmc_status llmc_writer_plan_matrix(llmc_writer* writer,
                                             const char* module,
                                             const llmc_scheme* scheme,
                                             int32_t model_dtype,
                                             int64_t rows,
                                             int64_t columns,
                                             llmc_error** error);
/* Every planned tensor once, in any order; its bytes go to disk during the call. LLMC_NUMERIC for NaN and
   Inf. */
LLMC_API llmc_status llmc_writer_add_tensor(llmc_session* session,
                                            llmc_writer* writer,
                                            const char* name,
                                            const llmc_tensor* values,
                                            llmc_error** error);
LLMC_API llmc_status llmc_writer_add_matrix(llmc_session* session,
                                            llmc_writer* writer,
                                            const char* module,
                                            const llmc_matrix* matrix,
                                            llmc_error** error);
#define LLMC_ACTIVATION_INPUT 1
#define LLMC_ACTIVATION_OUTPUT 2
/* For schemes whose activations have a fixed scale ("FP8", "NVFP4"): the range of the module's inputs or
   outputs (llmc_gram_read). */
LLMC_API llmc_status llmc_writer_add_range(llmc_writer* writer,
                                           const char* module,
                                           int32_t activation,
                                           float minimum,
                                           float maximum,
                                           llmc_error** error);
/* Any other file of the folder: tokenizer.json, generation_config.json. */
LLMC_API llmc_status llmc_writer_add_file(llmc_writer* writer,
                                          const char* file_name,
                                          const void* bytes,
                                          int64_t count,
                                          llmc_error** error);
/* Writes config.json, reads everything back, checks it as llmc_verify does, and gives the folder its name. */
LLMC_API llmc_status llmc_writer_finish(llmc_session* session, llmc_writer* writer, llmc_error** error);

#ifdef __cplusplus
}
#endif
#endif
