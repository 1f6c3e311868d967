/* What the llmc command needs beyond llmc.h. Experimental: these functions may change between releases
 * (version node LLMC_TOOLS). The rules of llmc.h hold. Results are JSON text to be freed with
 * llmc_json_free. */
#ifndef LLMC_TOOLS_H
#define LLMC_TOOLS_H

#include "llmc_tensor.h" /* LLMC_DTYPE_* */

#ifdef __cplusplus
extern "C" {
#endif

/* Perplexity of a text; with reference_dir also the distance to that model. Works on plain and on
 * compressed folders; dynamic activation quantization is emulated. The text is tokenized whole, without
 * special tokens, and cut into independent windows. */
typedef struct llmc_eval_options {
  uint32_t struct_size;
  /* LLMC_DTYPE_FLOAT32 or _BFLOAT16: of the values between nodes; default float32 */
  int32_t dtype;
  const char* model_dir;
  const char* reference_dir; /* NULL: none */
  const char* text;          /* a file */
  const char* tokenizer_dir; /* NULL: model_dir */
  int64_t window;            /* 0: 512 tokens */
} llmc_eval_options;

/* {"perplexity": ..., "tokens": ..., "kl": ..., "top1": ...}; kl (nats per token, reference against model)
 * and top1 (share of equal arg max) only with a reference. */
LLMC_API llmc_status llmc_eval(llmc_session* session,
                               const llmc_eval_options* options,
                               char** json,
                               llmc_error** error);

/* Writes `logits` and `hidden.0` .. `hidden.N` for the `input_ids` [sequences, length] of a safetensors file.
   */
typedef struct llmc_forward_options {
  uint32_t struct_size;
  int32_t dtype; /* as above */
  const char* model_dir;
  const char* input_ids; /* a .safetensors file */
  const char* output;    /* a .safetensors file that does not exist */
} llmc_forward_options;
LLMC_API llmc_status llmc_forward(llmc_session* session,
                                  const llmc_forward_options* options,
                                  llmc_error** error);

/* Is a model folder sound? Decodes every tensor and compares names, dtypes, shapes and values with
 * config.json and, when given, with the unquantized source model. A fault is a result, not an error:
 * LLMC_OK. Works on plain folders too. */
typedef struct llmc_verify_options {
  uint32_t struct_size;
  int32_t reserved; /* 0 */
  const char* model_dir;
  const char* source_dir; /* NULL: no source to compare with */
} llmc_verify_options;
/* {"sound": true, "faults": [{"tensor", "got", "wanted"}], "notes": [...], "tensors": n, "quantized": n,
 * "bytes": n,
 *  "matrices": [{"module", "scheme", "compared", "relative_error", "rounding_error", "allowed_error",
 *  "cosine"}]}; docs/inspection.md explains them. */
LLMC_API llmc_status llmc_verify(llmc_session* session,
                                 const llmc_verify_options* options,
                                 char** json,
                                 llmc_error** error);

/* What lies in a model folder, from headers and config.json alone (fast on folders of any size). */
typedef struct llmc_inspect_options {
  uint32_t struct_size;
  int32_t reserved; /* 0 */
  const char* model_dir;
} llmc_inspect_options;
/* {"model_type", "quant_method", "format", "tensors", "parameters", "bytes", "bits_per_weight", ..., "rows":
   [...], "parts": [...]} */
LLMC_API llmc_status llmc_inspect(llmc_session* session,
                                  const llmc_inspect_options* options,
                                  char** json,
                                  llmc_error** error);

/* How two folders of one model differ: codes, scales, other tensors, config.json. Side files are not looked
   at. */
typedef struct llmc_diff_options {
  uint32_t struct_size;
  int32_t reserved; /* 0 */
  const char* a_dir;
  const char* b_dir;
} llmc_diff_options;
/* {"identical", "codes", "equal_codes", "equal_tensors", "different": [...], "only_a": [...], "only_b":
 * [...],
 *  "config": [{"path", "a", "b"}], "matrices": [{"module", "scheme_a", "scheme_b", "codes", "equal_codes",
 *  "scale_difference", ...}]} */
LLMC_API llmc_status llmc_diff(llmc_session* session,
                               const llmc_diff_options* options,
                               char** json,
                               llmc_error** error);

/* A compressed-tensors folder in, a plain one in the model's dtype out: the weights as a server sees them, no
   scales, no quantization_config. */
typedef struct llmc_dequantize_options {
  uint32_t struct_size;
  int32_t overwrite; /* LLMC_ON: the finished folder takes the place of what stands there */
  const char* model_dir;
  const char* output_dir;
  int64_t max_shard_bytes; /* 0: 20,000,000,000 */
} llmc_dequantize_options;
/* `json` may be NULL: {"matrices", "tensors", "bytes_before", "bytes_after"} */
LLMC_API llmc_status llmc_dequantize(llmc_session* session,
                                     const llmc_dequantize_options* options,
                                     char** json,
                                     llmc_error** error);

LLMC_API void llmc_json_free(char* json);

#ifdef __cplusplus
}
#endif
#endif
