/* Compresses a model that lies in this program's memory, by a quantizer of this program's own. usage:
 * from_memory OUTPUT
 * A trainer's view of llmc: a small Llama with random weights is handed over tensor by tensor through a
 * callback, its calibration data as token ids, and each matrix comes back through another callback with its
 * nearest 4-bit codes and the gram matrix of its inputs. The callback improves the codes by coordinate
 * descent (one code after another moves to where it makes the output error smallest), and llmc packs, writes
 * and checks the folder. Prints what that gained. Exits with the llmc_status, 0 on success. */
#include <llmc_tensor.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAYERS 2
#define HIDDEN 64
#define MLP 128
#define VOCABULARY 256
#define TENSORS (2 + LAYERS * 9)
#define SEQUENCES 16
#define LENGTH 64

static const char* config =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 64, "
    "\"intermediate_size\": 128, \"num_hidden_layers\": 2, \"num_attention_heads\": 4,"
    " \"num_key_value_heads\": 2, \"vocab_size\": 256, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
    "\"max_position_embeddings\": 256, \"tie_word_embeddings\": true, \"torch_dtype\": \"float32\"}";

typedef struct trainer {
  char names[TENSORS][64];
  int64_t shapes[TENSORS][2];
  float* values[TENSORS];
  llmc_source_tensor tensors[TENSORS];
  int count;
  unsigned random;
  double nearest, own; /* output errors, summed over all matrices */
} trainer;

static float next_number(trainer* t) { /* in [-1, 1) */
  t->random = t->random * 1664525u + 1013904223u;
  return (float)(t->random >> 8) / 8388608.0f - 1.0f;
}

/* columns 0: a norm's weight */
static void add_tensor(trainer* t, const char* name, int64_t rows, int64_t columns) {
  const int64_t count = rows * (columns ? columns : 1);
  llmc_source_tensor* tensor = &t->tensors[t->count];
  float* values = malloc((size_t)count * sizeof *values);
  int64_t i;
  if (!values) exit(LLMC_OUT_OF_MEMORY);
  for (i = 0; i < count; ++i) values[i] = columns ? next_number(t) * 1.7f / sqrtf((float)columns) : 1.0f;
  snprintf(t->names[t->count], sizeof t->names[0], "%s", name);
  t->shapes[t->count][0] = rows;
  t->shapes[t->count][1] = columns;
  t->values[t->count] = values;
  tensor->struct_size = sizeof *tensor;
  tensor->dtype = LLMC_DTYPE_FLOAT32;
  tensor->name = t->names[t->count];
  tensor->shape = t->shapes[t->count];
  tensor->ndim = columns ? 2 : 1;
  ++t->count;
}

static void make_model(trainer* t) {
  static const struct {
    const char* name;
    int64_t rows, columns;
  } parts[] = {{"input_layernorm", HIDDEN, 0},
               {"self_attn.q_proj", HIDDEN, HIDDEN},
               {"self_attn.k_proj", HIDDEN / 2, HIDDEN},
               {"self_attn.v_proj", HIDDEN / 2, HIDDEN},
               {"self_attn.o_proj", HIDDEN, HIDDEN},
               {"post_attention_layernorm", HIDDEN, 0},
               {"mlp.gate_proj", MLP, HIDDEN},
               {"mlp.up_proj", MLP, HIDDEN},
               {"mlp.down_proj", HIDDEN, MLP}};
  int layer;
  size_t p;
  add_tensor(t, "model.embed_tokens.weight", VOCABULARY, HIDDEN);
  for (layer = 0; layer < LAYERS; ++layer)
    for (p = 0; p < sizeof parts / sizeof parts[0]; ++p) {
      char name[64];
      snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, parts[p].name);
      add_tensor(t, name, parts[p].rows, parts[p].columns);
    }
  add_tensor(t, "model.norm.weight", HIDDEN, 0);
}

static int32_t read_bytes(void* user_data, int64_t tensor, int64_t offset, int64_t bytes, void* to) {
  const trainer* t = user_data;
  memcpy(to, (const char*)t->values[tensor] + offset, (size_t)bytes);
  return 0;
}

/* One row of the gram matrix, of which the lower triangle is there, times the errors of one row of the
   weight. */
static double gram_times(const float* gram, int64_t n, int64_t row, const double* error) {
  double sum = 0;
  int64_t k;
  for (k = 0; k < n; ++k) sum += (double)(k <= row ? gram[row * n + k] : gram[k * n + row]) * error[k];
  return sum;
}

static double output_error(const float* gram, int64_t n, const double* error) {
  double sum = 0;
  int64_t i;
  for (i = 0; i < n; ++i) sum += error[i] * gram_times(gram, n, i, error);
  return sum;
}

static int32_t improve(void* user_data, const llmc_matrix_job* job) {
  trainer* t = user_data;
  const int64_t rows = job->weight->shape[0], n = job->weight->shape[1], groups = job->scales->shape[1],
                width = n / groups;
  const float* gram = job->gram->data;
  double* error = malloc((size_t)n * sizeof *error);
  int64_t r, i;
  int sweep;
  if (!error) return 1;
  for (r = 0; r < rows; ++r) {
    const float *weight = (const float*)job->weight->data + r * n,
                *scales = (const float*)job->scales->data + r * groups;
    int8_t* codes = (int8_t*)job->codes->data + r * n;
    for (i = 0; i < n; ++i) error[i] = (double)weight[i] - (double)codes[i] * (double)scales[i / width];
    t->nearest += output_error(gram, n, error);
    for (sweep = 0; sweep < 4; ++sweep)
      for (i = 0; i < n; ++i) {
        const double scale = (double)scales[i / width], curvature = (double)gram[i * n + i];
        const double step = curvature > 0 ? floor(gram_times(gram, n, i, error) / (curvature * scale) + 0.5)
                                          : 0,
                     moved = (double)codes[i] + step;
        const int8_t code = (int8_t)(moved < -8 ? -8 : moved > 7 ? 7 : moved);
        error[i] -= (double)(code - codes[i]) * scale;
        codes[i] = code;
      }
    t->own += output_error(gram, n, error);
  }
  free(error);
  return 0;
}

int main(int argc, char** argv) {
  static trainer t;
  static int32_t ids[SEQUENCES * LENGTH];
  static int64_t starts[SEQUENCES + 1];
  llmc_tensor_source source = {0};
  llmc_modifier modifier = {0};
  llmc_oneshot_options job = {0};
  llmc_session* session = NULL;
  llmc_error* error = NULL;
  llmc_status status;
  int i;
  if (argc != 2) {
    fprintf(stderr, "usage: %s OUTPUT\n", argv[0]);
    return LLMC_INVALID_ARGUMENT;
  }
  make_model(&t);
  for (i = 0; i < SEQUENCES * LENGTH; ++i) ids[i] = (int32_t)((next_number(&t) + 1.0f) * VOCABULARY / 2);
  for (i = 0; i <= SEQUENCES; ++i) starts[i] = i * LENGTH;

  source.struct_size = sizeof source;
  source.config_json = config;
  source.tensors = t.tensors;
  source.num_tensors = t.count;
  source.read = read_bytes;
  source.user_data = &t;

  modifier.struct_size = sizeof modifier;
  modifier.type = "DescentModifier";
  modifier.needs = LLMC_NEEDS_GRAM;
  modifier.quantize = improve;
  modifier.user_data = &t;

  job.struct_size = sizeof job;
  job.source = &source;
  job.output_dir = argv[1];
  job.token_ids = ids;
  job.sequence_starts = starts;
  job.num_sequences = SEQUENCES;
  job.recipe =
      "quant_stage: {quant_modifiers: {DescentModifier: {ignore: [lm_head], config_groups: {group_0: "
      "{targets: [Linear], "
      "weights: {num_bits: 4, type: int, symmetric: true, strategy: group, group_size: 32}}}}}}";

  status = llmc_session_create(NULL, &session, &error);
  if (status == LLMC_OK) status = llmc_session_add_modifier(session, &modifier, &error);
  if (status == LLMC_OK) status = llmc_oneshot(session, &job, NULL, &error);
  if (status == LLMC_OK)
    printf("%s: the squared output error is %.3f of what rounding to nearest leaves\n", argv[1],
           t.own / t.nearest);
  else fprintf(stderr, "%s: %s\n", llmc_status_name(status), llmc_error_message(error));

  llmc_error_free(error);
  llmc_session_free(session);
  for (i = 0; i < t.count; ++i) free(t.values[i]);
  return (int)status;
}
