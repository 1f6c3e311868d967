// Causal attention over packed sequences (FlashAttention-2, arXiv 2307.08691): a block takes 64 queries of
// one head and walks over its keys with an online softmax, on tensor cores. Grouped heads, sliding windows
// and soft caps are masks and maps on the scores. Odd head sizes and float32 values take the plain kernel
// below.
#include "cuda/kernels.hpp"
#include "cuda/language.cuh"

namespace llmc::cuda {
namespace {

constexpr int kQueries = 64, kWarps = 4, kThreads = kWarps * kWarp;
constexpr float kLog2E = 1.44269504088896341f;

// kWidth: the head's channels, rounded up to what there is a kernel for; zeros fill the rest. Rows are 16
// bytes longer: no two rows of a matrix share a bank.
template <int kWidth, int kKeys>
struct AttentionShared {
  static constexpr int kPitch = kWidth + 8;
  alignas(16) uint16_t queries[kQueries][kPitch];
  alignas(16) uint16_t keys[2][kKeys][kPitch];
  alignas(16) uint16_t values[2][kKeys][kPitch];
};

// `rows` rows of one head from token `first` on; rows beyond `end` and channels beyond the head are zeros.
template <int kWidth, int kRows>
__device__ inline void load_rows(uint16_t (*to)[kWidth + 8],
                                 const Bf16* from,
                                 int64_t first,
                                 int64_t end,
                                 int heads,
                                 int head,
                                 int head_dim) {
  constexpr int kChunks = kWidth / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kChunks; i += kThreads) {
    const int row = i / kChunks, channel = i % kChunks * 8;
    const bool there = first + row < end && channel < head_dim;
    copy_16_bytes(&to[row][channel],
                  there ? from + ((first + row) * heads + head) * head_dim + channel : from, there ? 16 : 0);
  }
}

template <int kWidth, int kKeys>
__global__ void __launch_bounds__(kThreads) attend_tiles(AttentionProblem p) {
  using Shared = AttentionShared<kWidth, kKeys>;
  constexpr int kKeyTiles = kKeys / 8, kChannelTiles = kWidth / 8;
  Shared& shared = shared_memory<Shared>();
  const AttentionTile tile = p.tiles[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), kv_head = head / (p.heads / p.kv_heads),
            warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int group = lane / 4, member = lane % 4;
  const int64_t end = least(tile.query + kQueries, tile.sequence_end);  // causal: later keys are masked
  const int64_t oldest = p.window > 0 && tile.query - p.window + 1 > tile.sequence_begin
      ? tile.query - p.window + 1
      : tile.sequence_begin;
  const auto* const q = static_cast<const Bf16*>(p.queries);
  const int64_t shift = tile.shift * p.kv_heads * p.head_dim;  // keys and values count as the queries do
  const auto* const k = static_cast<const Bf16*>(p.keys) + shift;
  const auto* const v = static_cast<const Bf16*>(p.values) + shift;

  const auto load_keys = [&](int stage, int64_t first) {
    load_rows<kWidth, kKeys>(shared.keys[stage], k, first, end, p.kv_heads, kv_head, p.head_dim);
    load_rows<kWidth, kKeys>(shared.values[stage], v, first, end, p.kv_heads, kv_head, p.head_dim);
    commit_copies();
  };
  load_rows<kWidth, kQueries>(shared.queries, q, tile.query, tile.sequence_end, p.heads, head, p.head_dim);
  load_keys(0, oldest);

  float out[kChannelTiles][4] = {}, top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  int stage = 0;
  for (int64_t first = oldest; first < end; first += kKeys, stage ^= 1) {
    if (first + kKeys < end) {
      load_keys(stage ^ 1, first + kKeys);
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
    __syncthreads();

    float scores[kKeyTiles][4] = {};  // rows group, group + 8; keys 8 * tile + 2 * member, + 1
#pragma unroll
    for (int step = 0; step < kWidth / 16; ++step) {
      uint32_t a[4];
      load_matrices<false>(a, &shared.queries[warp * 16 + lane % 16][step * 16 + lane / 16 * 8]);
#pragma unroll
      for (int t = 0; t < kKeyTiles; t += 2) {
        uint32_t b[4];
        load_matrices<false>(
            b, &shared.keys[stage][t * 8 + lane / 16 * 8 + lane % 8][step * 16 + lane / 8 % 2 * 8]);
        multiply_add_16x8x16(scores[t], a, b[0], b[1]);
        multiply_add_16x8x16(scores[t + 1], a, b[2], b[3]);
      }
    }

    // Scores times log2(e), for exp2; keys that a query must not see become -inf.
    const int64_t query = tile.query + warp * 16 + group;
    float highest[2] = {top[0], top[1]};
#pragma unroll
    for (int t = 0; t < kKeyTiles; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int64_t behind = query + i / 2 * 8 - (first + t * 8 + member * 2 + i % 2);
        float score = scores[t][i] * p.scale;
        if (p.soft_cap > 0) score = p.soft_cap * tanhf(score / p.soft_cap);
        const bool seen = behind >= 0 && (p.window == 0 || behind < p.window);
        scores[t][i] = seen ? score * kLog2E : -INFINITY;
        highest[i / 2] = fmaxf(highest[i / 2], scores[t][i]);
      }
    float shift[2], correction[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      highest[r] = fmaxf(highest[r], __shfl_xor_sync(kAllLanes, highest[r], 1));
      highest[r] = fmaxf(highest[r], __shfl_xor_sync(kAllLanes, highest[r], 2));
      shift[r] = highest[r] == -INFINITY ? 0.0f : highest[r];  // a row that has seen no key yet
      correction[r] = exp2f(top[r] - shift[r]);
      top[r] = highest[r];
      total[r] *= correction[r];
    }
#pragma unroll
    for (int t = 0; t < kKeyTiles; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[t][i] = exp2f(scores[t][i] - shift[i / 2]);
        total[i / 2] += scores[t][i];
      }
#pragma unroll
    for (int t = 0; t < kChannelTiles; ++t)
#pragma unroll
      for (int i = 0; i < 4; ++i) out[t][i] *= correction[i / 2];

#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
      const float(&left)[4] = scores[2 * step];
      const float(&right)[4] = scores[2 * step + 1];
      const uint32_t a[4] = {pack_bf16(left[0], left[1]), pack_bf16(left[2], left[3]),
                             pack_bf16(right[0], right[1]), pack_bf16(right[2], right[3])};
#pragma unroll
      for (int t = 0; t < kChannelTiles; t += 2) {
        uint32_t b[4];
        load_matrices<true>(b, &shared.values[stage][step * 16 + lane % 16][t * 8 + lane / 16 * 8]);
        multiply_add_16x8x16(out[t], a, b[0], b[1]);
        multiply_add_16x8x16(out[t + 1], a, b[2], b[3]);
      }
    }
    __syncthreads();  // before the next load overwrites this stage
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    total[r] += __shfl_xor_sync(kAllLanes, total[r], 1);
    total[r] += __shfl_xor_sync(kAllLanes, total[r], 2);
    const int64_t query = tile.query + warp * 16 + group + r * 8;
    if (query >= tile.sequence_end) continue;
    auto* const row = static_cast<Bf16*>(p.out) + (query * p.heads + head) * p.head_dim;
#pragma unroll
    for (int t = 0; t < kChannelTiles; ++t) {
      const int channel = t * 8 + member * 2;
      if (channel < p.head_dim)
        *reinterpret_cast<uint32_t*>(row + channel) = pack_bf16(out[t][2 * r] / total[r],
                                                                out[t][2 * r + 1] / total[r]);
    }
  }
}

// One warp per query and head; lane l holds channels l, l + 32, ...
constexpr int kPlainChannels = 16;
template <class T>
__global__ void __launch_bounds__(kThreads, 2) attend_plainly(AttentionProblem p) {
  const AttentionTile tile = p.tiles[blockIdx.x];
  const int head = static_cast<int>(blockIdx.y), kv_head = head / (p.heads / p.kv_heads),
            warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int64_t query = tile.query + warp; query < least(tile.query + kQueries, tile.sequence_end);
       query += kWarps) {
    const T* const q = static_cast<const T*>(p.queries) + (query * p.heads + head) * p.head_dim;
    const int64_t oldest = p.window > 0 && query - p.window + 1 > tile.sequence_begin ? query - p.window + 1
                                                                                      : tile.sequence_begin;
    float mine[kPlainChannels], sums[kPlainChannels] = {}, top = -INFINITY, total = 0;
#pragma unroll
    for (int i = 0; i < kPlainChannels; ++i)
      mine[i] = lane + i * kWarp < p.head_dim ? to_float(q[lane + i * kWarp]) : 0.0f;
    for (int64_t key = oldest; key <= query; ++key) {
      const int64_t row = ((key + tile.shift) * p.kv_heads + kv_head) * p.head_dim;
      const T* const k = static_cast<const T*>(p.keys) + row;
      const T* const v = static_cast<const T*>(p.values) + row;
      float score = 0;
#pragma unroll
      for (int i = 0; i < kPlainChannels; ++i)
        if (lane + i * kWarp < p.head_dim) score = fmaf(mine[i], to_float(k[lane + i * kWarp]), score);
      score = warp_sum(score) * p.scale;
      if (p.soft_cap > 0) score = p.soft_cap * tanhf(score / p.soft_cap);
      const float highest = fmaxf(top, score), correction = exp2f((top - highest) * kLog2E),
                  weight = exp2f((score - highest) * kLog2E);
      top = highest;
      total = total * correction + weight;
#pragma unroll
      for (int i = 0; i < kPlainChannels; ++i)
        if (lane + i * kWarp < p.head_dim)
          sums[i] = fmaf(weight, to_float(v[lane + i * kWarp]), sums[i] * correction);
    }
    T* const out = static_cast<T*>(p.out) + (query * p.heads + head) * p.head_dim;
#pragma unroll
    for (int i = 0; i < kPlainChannels; ++i)
      if (lane + i * kWarp < p.head_dim) out[lane + i * kWarp] = from_float<T>(sums[i] / total);
  }
}

template <int kWidth, int kKeys>
void launch_tiles(const AttentionProblem& p, dim3 grid, cudaStream_t stream) {
  LLMC_LAUNCH((attend_tiles<kWidth, kKeys>), grid, kThreads, sizeof(AttentionShared<kWidth, kKeys>), stream,
              p);
}

template <class T>
void launch_plainly(const AttentionProblem& p, dim3 grid, cudaStream_t stream) {
  LLMC_LAUNCH((attend_plainly<T>), grid, kThreads, 0, stream, p);
}

}  // namespace

int64_t attention_queries_per_tile() { return kQueries; }
int64_t attention_most_channels() { return kPlainChannels * kWarp; }

void attend(const AttentionProblem& p, DType dtype, cudaStream_t stream) {
  if (p.tile_count == 0) return;
  const dim3 grid(static_cast<unsigned>(p.tile_count), static_cast<unsigned>(p.heads));
  if (dtype == DType::f32) return launch_plainly<float>(p, grid, stream);
  if (p.head_dim % 8 != 0 || p.head_dim > 256) return launch_plainly<Bf16>(p, grid, stream);
  if (p.head_dim <= 64) return launch_tiles<64, 64>(p, grid, stream);
  if (p.head_dim <= 128) return launch_tiles<128, 64>(p, grid, stream);
  launch_tiles<256, 32>(p, grid, stream);
}

}  // namespace llmc::cuda
