// What observers ask of values: per-channel statistics of activations (SmoothQuant, static scales,
// importance) and the extent of a whole tensor.
#include "cuda/kernels.hpp"
#include "cuda/language.cuh"

namespace llmc::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp, kColumns = 64, kRowThreads = kThreads / kColumns;

struct ChannelShared {
  ChannelSums sums[kRowThreads][kColumns];
};

// One block per 64 channels: rows are dealt to four threads a channel and their sums added in order. into:
// [width].
template <class T>
__global__ void __launch_bounds__(kThreads)
    channel_sums(const T* x, int64_t tokens, int64_t width, ChannelSums* into) {
  ChannelShared& shared = shared_memory<ChannelShared>();
  const int column = static_cast<int>(threadIdx.x) % kColumns,
            part = static_cast<int>(threadIdx.x) / kColumns;
  const int64_t channel = int64_t{blockIdx.x} * kColumns + column;
  ChannelSums sums{INFINITY, -INFINITY, 0, 0};
  if (channel < width)
    for (int64_t t = part; t < tokens; t += kRowThreads) {
      const float value = to_float(x[t * width + channel]);
      sums.min = fminf(sums.min, value);
      sums.max = fmaxf(sums.max, value);
      sums.sum_abs += static_cast<double>(fabsf(value));
      sums.sum_squares += static_cast<double>(value) * static_cast<double>(value);
    }
  shared.sums[part][column] = sums;
  __syncthreads();
  if (part != 0 || channel >= width) return;
  for (int other = 1; other < kRowThreads; ++other) {
    const ChannelSums& more = shared.sums[other][column];
    sums.min = fminf(sums.min, more.min);
    sums.max = fmaxf(sums.max, more.max);
    sums.sum_abs += more.sum_abs;
    sums.sum_squares += more.sum_squares;
  }
  into[channel] = sums;
}

struct ExtentShared {
  float low[kWarps], high[kWarps];
};

// One extent per block, zero included; `bad` becomes the smallest position of a NaN or infinity.
template <class T>
__global__ void __launch_bounds__(kThreads)
    find_extents(const T* x, int64_t count, float2* extents, unsigned long long* bad) {
  ExtentShared& shared = shared_memory<ExtentShared>();
  float low = 0, high = 0;
  unsigned long long first_bad = ~0ull;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * kThreads) {
    const float value = to_float(x[i]);
    if (!(fabsf(value) <= 3.402823466e38f) && first_bad == ~0ull)
      first_bad = static_cast<unsigned long long>(i);
    low = fminf(low, value);
    high = fmaxf(high, value);
  }
  if (first_bad != ~0ull) atomicMin(bad, first_bad);
  low = block_reduce(low, shared.low, 0.0f, [](float v) { return warp_min(v); });
  high = block_reduce(high, shared.high, 0.0f, [](float v) { return warp_max(v); });
  if (threadIdx.x == 0) extents[blockIdx.x] = float2{low, high};
}

}  // namespace

void collect_channel_sums(const void* x,
                          DType dtype,
                          int64_t tokens,
                          int64_t width,
                          ChannelSums* into,
                          cudaStream_t stream) {
  if (width == 0) return;
  const auto blocks = static_cast<unsigned>(divide_up(width, kColumns));
  if (dtype == DType::bf16)
    LLMC_LAUNCH((channel_sums<Bf16>), blocks, kThreads, sizeof(ChannelShared), stream,
                static_cast<const Bf16*>(x), tokens, width, into);
  else
    LLMC_LAUNCH((channel_sums<float>), blocks, kThreads, sizeof(ChannelShared), stream,
                static_cast<const float*>(x), tokens, width, into);
}

unsigned extent_blocks(int64_t count) {
  return static_cast<unsigned>(least(divide_up(count, 8 * kThreads), 1024));
}

void collect_extents(const void* x,
                     DType dtype,
                     int64_t count,
                     float2* extents,
                     unsigned long long* bad,
                     cudaStream_t stream) {
  if (count == 0) return;
  const unsigned blocks = extent_blocks(count);
  if (dtype == DType::bf16)
    LLMC_LAUNCH((find_extents<Bf16>), blocks, kThreads, sizeof(ExtentShared), stream,
                static_cast<const Bf16*>(x), count, extents, bad);
  else if (dtype == DType::f16)
    LLMC_LAUNCH((find_extents<Half>), blocks, kThreads, sizeof(ExtentShared), stream,
                static_cast<const Half*>(x), count, extents, bad);
  else
    LLMC_LAUNCH((find_extents<float>), blocks, kThreads, sizeof(ExtentShared), stream,
                static_cast<const float*>(x), count, extents, bad);
}

}  // namespace llmc::cuda
