/* Compresses a model that llmc knows nothing about: the forward pass is this program's own. usage:
 * own_forward OUTPUT
 * A toy of two matrices, y = fc2(relu(fc1(x))), calibrated, quantized by GPTQ to 4 bits and written as a
 * compressed-tensors folder. Prints how far the compressed model's outputs are from the original's. Exits
 * with the llmc_status, 0 on success. */
#include <llmc_tensor.h>
#include <math.h>
#include <stdio.h>

#define WIDTH 64
#define HIDDEN 128
#define TOKENS 256

static float fc1[HIDDEN * WIDTH], fc2[WIDTH * HIDDEN], bias[WIDTH];
static float x[TOKENS * WIDTH], hidden[TOKENS * HIDDEN], y[TOKENS * WIDTH], expected[TOKENS * WIDTH];

static llmc_error* error = NULL;

static int failed(llmc_status status) {
  if (status != LLMC_OK) fprintf(stderr, "%s: %s\n", llmc_status_name(status), llmc_error_message(error));
  return status != LLMC_OK;
}

static void fill(float* values, int count, float size, unsigned* state) {
  int i;
  for (i = 0; i < count; ++i) {
    *state = *state * 1664525u + 1013904223u;
    values[i] = size * ((float)(*state >> 8) / 8388608.0f - 1.0f);
  }
}

/* out [TOKENS, rows] = in [TOKENS, columns] * weight [rows, columns]^T */
static void linear(const float* in, const float* weight, int rows, int columns, float* out) {
  int t, r, c;
  for (t = 0; t < TOKENS; ++t)
    for (r = 0; r < rows; ++r) {
      float sum = 0;
      for (c = 0; c < columns; ++c) sum += in[t * columns + c] * weight[r * columns + c];
      out[t * rows + r] = sum;
    }
}

static void forward(float* out) {
  int i;
  linear(x, fc1, HIDDEN, WIDTH, hidden);
  for (i = 0; i < TOKENS * HIDDEN; ++i) hidden[i] = hidden[i] > 0 ? hidden[i] : 0;
  linear(hidden, fc2, WIDTH, HIDDEN, out);
  for (i = 0; i < TOKENS * WIDTH; ++i) out[i] += bias[i % WIDTH];
}

static llmc_tensor tensor(float* data, const int64_t* shape, int32_t ndim) {
  llmc_tensor made = {0};
  made.struct_size = sizeof made;
  made.dtype = LLMC_DTYPE_FLOAT32;
  made.data = data;
  made.shape = shape;
  made.ndim = ndim;
  return made;
}

/* Collects what `weight` reads, quantizes it, hands the codes to the writer, and leaves in `weight` what a
   server will compute with. */
static llmc_status compress(llmc_session* session,
                            const llmc_scheme* scheme,
                            llmc_writer* writer,
                            const char* name,
                            float* weight,
                            int rows,
                            int columns,
                            float* inputs) {
  const int64_t weight_shape[2] = {rows, columns}, input_shape[2] = {TOKENS, columns};
  llmc_tensor w = tensor(weight, weight_shape, 2), in = tensor(inputs, input_shape, 2);
  llmc_gram* gram = NULL;
  llmc_matrix* matrix = NULL;
  llmc_matrix_facts facts = {0};
  llmc_status status = llmc_gram_create(columns, LLMC_GRAM_ALL, &gram, &error);
  facts.struct_size = sizeof facts;
  /* as often as there are batches */
  if (status == LLMC_OK) status = llmc_gram_add(session, gram, &in, &error);
  if (status == LLMC_OK) status = llmc_quantize_matrix(session, scheme, &w, gram, NULL, &matrix, &error);
  if (status == LLMC_OK) status = llmc_writer_add_matrix(session, writer, name, matrix, &error);
  if (status == LLMC_OK) status = llmc_matrix_dequantize(session, matrix, &w, &error);
  if (status == LLMC_OK) status = llmc_matrix_info(matrix, &facts, &error);
  if (status == LLMC_OK)
    printf("%s: %s, relative error of its outputs %.3f\n", name, facts.scheme, facts.relative_error);
  llmc_matrix_free(matrix);
  llmc_gram_free(gram);
  return status;
}

static llmc_status run(llmc_session* session, const llmc_scheme* scheme, llmc_writer* writer) {
  const int64_t bias_shape[1] = {WIDTH};
  const llmc_tensor b = tensor(bias, bias_shape, 1);
  llmc_status status = llmc_writer_plan_matrix(writer, "fc1", scheme, LLMC_DTYPE_FLOAT32, HIDDEN, WIDTH,
                                               &error);
  if (status == LLMC_OK)
    status = llmc_writer_plan_matrix(writer, "fc2", scheme, LLMC_DTYPE_FLOAT32, WIDTH, HIDDEN, &error);
  if (status == LLMC_OK)
    status = llmc_writer_plan_tensor(writer, "fc2.bias", LLMC_DTYPE_FLOAT32, bias_shape, 1, &error);
  if (status == LLMC_OK) status = compress(session, scheme, writer, "fc1", fc1, HIDDEN, WIDTH, x);
  if (status == LLMC_OK) forward(y); /* fc2 is calibrated with what the compressed fc1 gives it */
  if (status == LLMC_OK) status = compress(session, scheme, writer, "fc2", fc2, WIDTH, HIDDEN, hidden);
  if (status == LLMC_OK) status = llmc_writer_add_tensor(session, writer, "fc2.bias", &b, &error);
  if (status == LLMC_OK) status = llmc_writer_finish(session, writer, &error);
  return status;
}

int main(int argc, char** argv) {
  llmc_session* session = NULL;
  llmc_scheme* scheme = NULL;
  llmc_writer* writer = NULL;
  llmc_scheme_options how = {0};
  llmc_writer_options where = {0};
  llmc_status status;
  unsigned seed = 1;
  double difference = 0, energy = 0;
  int i;
  if (argc != 2) {
    fprintf(stderr, "usage: %s OUTPUT\n", argv[0]);
    return LLMC_INVALID_ARGUMENT;
  }
  fill(fc1, HIDDEN * WIDTH, 0.2f, &seed);
  fill(fc2, WIDTH * HIDDEN, 0.2f, &seed);
  fill(bias, WIDTH, 0.1f, &seed);
  fill(x, TOKENS * WIDTH, 1.0f, &seed);
  forward(expected);

  how.struct_size = sizeof how;
  how.method = LLMC_METHOD_GPTQ;
  how.scheme = "{num_bits: 4, group_size: 32, strategy: group}";
  where.struct_size = sizeof where;
  where.output_dir = argv[1];
  where.config_json = "{\"model_type\": \"toy\"}";
  status = llmc_session_create(NULL, &session, &error);
  if (status == LLMC_OK) status = llmc_scheme_create(&how, &scheme, &error);
  if (status == LLMC_OK) status = llmc_writer_create(&where, &writer, &error);
  if (status == LLMC_OK) status = run(session, scheme, writer);
  if (!failed(status)) {
    forward(y);
    for (i = 0; i < TOKENS * WIDTH; ++i) {
      difference += (y[i] - expected[i]) * (y[i] - expected[i]);
      energy += expected[i] * expected[i];
    }
    printf("%s: outputs differ by %.1f %%\n", argv[1], 100 * sqrt(difference / energy));
  }
  llmc_writer_free(writer);
  llmc_scheme_free(scheme);
  llmc_session_free(session);
  llmc_error_free(error);
  return (int)status;
}
