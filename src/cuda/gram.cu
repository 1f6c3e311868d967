// X^T X, the lower triangle, in tiles of 128 x 128 channels. bf16 inputs on tensor cores: products are exact
// in float32, sums of at most one call's tokens stay in registers before they are added to the gram. Both
// operands are X read channel by channel, so both are loaded transposed.
#include "cuda/kernels.hpp"
#include "cuda/language.cuh"

namespace llmc::cuda {
namespace {

constexpr int kTile = 128, kTokens = 32, kStages = 3, kThreads = 256, kPitch = kTile + 8;

struct GramShared {
  alignas(16) uint16_t left[kStages][kTokens][kPitch];   // channels of the tile's rows
  alignas(16) uint16_t right[kStages][kTokens][kPitch];  // and of its columns
};

struct TilePosition {
  int64_t row, column;
};
// Tile `index` of the lower triangle, row by row.
__device__ inline TilePosition tile_position(int64_t index) {
  auto row = static_cast<int64_t>((sqrt(8.0 * static_cast<double>(index) + 1.0) - 1.0) / 2.0);
  while (row * (row + 1) / 2 > index) --row;
  while ((row + 1) * (row + 2) / 2 <= index) ++row;
  return {row, index - row * (row + 1) / 2};
}

__device__ inline void load_tokens(uint16_t (*to)[kPitch],
                                   const Bf16* x,
                                   int64_t first,
                                   int64_t tokens,
                                   int64_t channel,
                                   int64_t width) {
  constexpr int kChunks = kTile / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kTokens * kChunks; i += kThreads) {
    const int token = i / kChunks, offset = i % kChunks * 8;
    const bool there = first + token < tokens && channel + offset < width;
    copy_16_bytes(&to[token][offset], there ? x + (first + token) * width + channel + offset : x,
                  there ? 16 : 0);
  }
}

// Eight warps in 2 x 4: each 64 x 32 of the tile. width: a multiple of 8.
__global__ void __launch_bounds__(kThreads, 2)
    gram_tensor_cores(const Bf16* x, int64_t tokens, int64_t width, float* gram) {
  GramShared& shared = shared_memory<GramShared>();
  const TilePosition tile = tile_position(blockIdx.x);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp,
            top = warp / 4 * 64, left = warp % 4 * 32;
  const int64_t steps = divide_up(tokens, kTokens);
  const auto load = [&](int64_t step) {
    if (step < steps) {
      load_tokens(shared.left[step % kStages], x, step * kTokens, tokens, tile.row * kTile, width);
      load_tokens(shared.right[step % kStages], x, step * kTokens, tokens, tile.column * kTile, width);
    }
    commit_copies();
  };
  for (int stage = 0; stage < kStages - 1; ++stage) load(stage);
  float sums[4][4][4] = {};  // 16-row tiles x 8-column tiles
  for (int64_t step = 0; step < steps; ++step) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    load(step + kStages - 1);
    const auto& rows = shared.left[step % kStages];
    const auto& columns = shared.right[step % kStages];
#pragma unroll
    for (int k = 0; k < kTokens; k += 16) {
      uint32_t b[2][4];
#pragma unroll
      for (int t = 0; t < 2; ++t)
        load_matrices<true>(b[t], &columns[k + lane % 16][left + t * 16 + lane / 16 * 8]);
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        uint32_t a[4];
        load_matrices<true>(a, &rows[k + lane / 16 * 8 + lane % 8][top + r * 16 + lane / 8 % 2 * 8]);
#pragma unroll
        for (int c = 0; c < 4; ++c)
          multiply_add_16x8x16(sums[r][c], a, b[c / 2][c % 2 * 2], b[c / 2][c % 2 * 2 + 1]);
      }
    }
  }
  wait_for_copies<0>();
#pragma unroll
  for (int r = 0; r < 4; ++r)
#pragma unroll
    for (int c = 0; c < 4; ++c)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t row = tile.row * kTile + top + r * 16 + lane / 4 + i / 2 * 8,
                      column = tile.column * kTile + left + c * 8 + lane % 4 * 2 + i % 2;
        if (row < width && column <= row) gram[row * width + column] += sums[r][c][i];
      }
}

// float32 inputs, and widths that 16-byte copies cannot take: 64 x 64 tiles, 4 x 4 sums a thread.
constexpr int kPlainTile = 64, kPlainTokens = 16;
struct PlainGramShared {
  float left[kPlainTokens][kPlainTile], right[kPlainTokens][kPlainTile];
};
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    gram_plainly(const T* x, int64_t tokens, int64_t width, float* gram) {
  PlainGramShared& shared = shared_memory<PlainGramShared>();
  const TilePosition tile = tile_position(blockIdx.x);
  const int row = static_cast<int>(threadIdx.x) / 16 * 4, column = static_cast<int>(threadIdx.x) % 16 * 4;
  float sums[4][4] = {};
  for (int64_t first = 0; first < tokens; first += kPlainTokens) {
    for (int i = static_cast<int>(threadIdx.x); i < kPlainTokens * kPlainTile; i += kThreads) {
      const int token = i / kPlainTile, channel = i % kPlainTile;
      const int64_t left = tile.row * kPlainTile + channel, right = tile.column * kPlainTile + channel;
      const bool there = first + token < tokens;
      shared.left[token][channel] = there && left < width ? to_float(x[(first + token) * width + left])
                                                          : 0.0f;
      shared.right[token][channel] = there && right < width ? to_float(x[(first + token) * width + right])
                                                            : 0.0f;
    }
    __syncthreads();
    for (int token = 0; token < kPlainTokens; ++token)
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j)
          sums[i][j] = fmaf(shared.left[token][row + i], shared.right[token][column + j], sums[i][j]);
    __syncthreads();
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) {
      const int64_t r = tile.row * kPlainTile + row + i, c = tile.column * kPlainTile + column + j;
      if (r < width && c <= r) gram[r * width + c] += sums[i][j];
    }
}

unsigned triangle(int64_t width, int64_t tile) {
  const int64_t tiles = divide_up(width, tile);
  return static_cast<unsigned>(tiles * (tiles + 1) / 2);
}

}  // namespace

void add_to_gram(const void* x,
                 DType dtype,
                 int64_t tokens,
                 int64_t width,
                 float* gram,
                 cudaStream_t stream) {
  if (tokens == 0 || width == 0) return;
  if (dtype == DType::bf16 && width % 8 == 0)
    LLMC_LAUNCH(gram_tensor_cores, triangle(width, kTile), kThreads, sizeof(GramShared), stream,
                static_cast<const Bf16*>(x), tokens, width, gram);
  else if (dtype == DType::bf16)
    LLMC_LAUNCH((gram_plainly<Bf16>), triangle(width, kPlainTile), kThreads, sizeof(PlainGramShared), stream,
                static_cast<const Bf16*>(x), tokens, width, gram);
  else
    LLMC_LAUNCH((gram_plainly<float>), triangle(width, kPlainTile), kThreads, sizeof(PlainGramShared), stream,
                static_cast<const float*>(x), tokens, width, gram);
}

}  // namespace llmc::cuda
