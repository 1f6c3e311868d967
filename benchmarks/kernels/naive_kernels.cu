#include "naive_kernels.hpp"

#include "cuda/language.cuh"

namespace llmc::cuda::naive {
namespace {

__global__ void gram_pairs(const Bf16* x, int64_t tokens, int64_t width, float* gram) {
  const int64_t pair = int64_t{blockIdx.x} * blockDim.x + threadIdx.x, row = pair / width,
                column = pair % width;
  if (row >= width || column > row) return;
  float sum = 0;
  for (int64_t t = 0; t < tokens; ++t)
    sum = fmaf(to_float(x[t * width + row]), to_float(x[t * width + column]), sum);
  gram[row * width + column] += sum;
}

__global__ void one_column(ColumnProblem p, float* current, int column, float low, float high) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (row >= p.rows) return;
  float* const w = current + row * kGptqBlock;
  const float scale = p.scales[row * p.scale_columns + p.scale_column[column]];
  const float q = fminf(fmaxf(rintf(w[column] / scale), low), high), product = round_to_bf16(q * scale);
  const float error = (w[column] - product) / p.inverses[column * kGptqBlock + column];
  p.codes[row * p.columns + p.order[column]] = static_cast<uint8_t>(static_cast<int8_t>(q));
  p.weights[row * p.columns + column] -= product;
  p.loss[row] += static_cast<double>(error) * static_cast<double>(error);
  for (int later = column + 1; later < p.columns; ++later)
    w[later] -= error * p.inverses[column * kGptqBlock + later];
}

__global__ void attend_channels(AttentionProblem p, int64_t tokens) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x, width = int64_t{p.heads} * p.head_dim;
  if (i >= tokens * width) return;
  const int64_t query = i / width, head = i % width / p.head_dim, channel = i % p.head_dim,
                kv_head = head / (p.heads / p.kv_heads);
  const auto* const q = static_cast<const Bf16*>(p.queries) + (query * p.heads + head) * p.head_dim;
  float top = -INFINITY, total = 0, sum = 0;
  for (int64_t key = 0; key <= query; ++key) {  // one sequence
    const auto* const k = static_cast<const Bf16*>(p.keys) + (key * p.kv_heads + kv_head) * p.head_dim;
    float score = 0;
    for (int c = 0; c < p.head_dim; ++c) score = fmaf(to_float(q[c]), to_float(k[c]), score);
    score *= p.scale;
    const float highest = fmaxf(top, score), correction = expf(top - highest), weight = expf(score - highest);
    top = highest;
    total = total * correction + weight;
    sum = sum * correction +
        weight *
            to_float(static_cast<const Bf16*>(p.values)[(key * p.kv_heads + kv_head) * p.head_dim + channel]);
  }
  static_cast<Bf16*>(p.out)[i] = from_float<Bf16>(sum / total);
}

__global__ void group_scales(const Bf16* w, int64_t cells, int64_t group, float* scales) {
  const int64_t cell = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (cell >= cells) return;
  float largest = 0;
  for (int64_t i = 0; i < group; ++i) largest = fmaxf(largest, fabsf(to_float(w[cell * group + i])));
  scales[cell] = round_to_bf16(largest / 7.5f);
}
__global__ void group_codes(const Bf16* w, const float* scales, int64_t count, int64_t group, int8_t* codes) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < count)
    codes[i] = static_cast<int8_t>(fminf(fmaxf(rintf(to_float(w[i]) / scales[i / group]), -8.0f), 7.0f));
}
__global__ void pack_words(const int8_t* codes, int64_t words, uint32_t* out) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= words) return;
  uint32_t word = 0;
  for (int k = 0; k < 8; ++k) word |= static_cast<uint32_t>(codes[i * 8 + k] + 8) << (4 * k);
  out[i] = word;
}

unsigned blocks_for(int64_t count) { return static_cast<unsigned>(divide_up(count, 256)); }

}  // namespace

void add_to_gram(const void* x, int64_t tokens, int64_t width, float* gram, cudaStream_t stream) {
  LLMC_LAUNCH(gram_pairs, blocks_for(width * width), 256, 0, stream, static_cast<const Bf16*>(x), tokens,
              width, gram);
}
void quantize_column_block(const ColumnProblem& p,
                           float* current,
                           float low,
                           float high,
                           cudaStream_t stream) {
  for (int column = 0; column < p.columns; ++column)
    LLMC_LAUNCH(one_column, blocks_for(p.rows), 256, 0, stream, p, current, column, low, high);
}
void attend(const AttentionProblem& p, int64_t tokens, cudaStream_t stream) {
  LLMC_LAUNCH(attend_channels, blocks_for(tokens * p.heads * p.head_dim), 256, 0, stream, p, tokens);
}
void quantize_group_rows(const void* weight,
                         int64_t rows,
                         int64_t columns,
                         int64_t group,
                         float* scales,
                         int8_t* codes,
                         uint32_t* words,
                         cudaStream_t stream) {
  const auto* const w = static_cast<const Bf16*>(weight);
  LLMC_LAUNCH(group_scales, blocks_for(rows * columns / group), 256, 0, stream, w, rows * columns / group,
              group, scales);
  LLMC_LAUNCH(group_codes, blocks_for(rows * columns), 256, 0, stream, w, scales, rows * columns, group,
              codes);
  LLMC_LAUNCH(pack_words, blocks_for(rows * columns / 8), 256, 0, stream, codes, rows * columns / 8, words);
}

}  // namespace llmc::cuda::naive
