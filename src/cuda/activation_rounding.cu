// Activations rounded as the served model does it: one warp per group of channels.
#include "core/quantize/activation_grid.hpp"
#include "cuda/kernels.hpp"
#include "cuda/language.cuh"

namespace llmc::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;

// x, out: [groups, width]; fixed: [heads] for group i the entry i % heads, or null.
template <class T>
__global__ void __launch_bounds__(kThreads) round_groups(const T* x,
                                                         int64_t groups,
                                                         int64_t width,
                                                         ActivationGrid grid,
                                                         const ActivationScale* fixed,
                                                         int64_t heads,
                                                         T* out) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t group = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (group >= groups) return;
  const T* const from = x + group * width;
  ActivationScale scale;
  if (fixed) {
    scale = fixed[group % heads];
  } else {
    float low = 0, high = 0;
    for (int64_t i = lane; i < width; i += kWarp) {
      low = fminf(low, to_float(from[i]));
      high = fmaxf(high, to_float(from[i]));
    }
    scale = activation_scale(warp_min(low), warp_max(high), grid);
  }
  for (int64_t i = lane; i < width; i += kWarp)
    out[group * width + i] = from_float<T>(round_activation_value(to_float(from[i]), scale, grid));
}

}  // namespace

void round_activations(const void* x,
                       DType dtype,
                       int64_t groups,
                       int64_t width,
                       const ActivationGrid& grid,
                       const ActivationScale* fixed,
                       int64_t heads,
                       void* out,
                       cudaStream_t stream) {
  if (groups == 0) return;
  const auto blocks = static_cast<unsigned>(divide_up(groups, kWarps));
  if (dtype == DType::bf16)
    LLMC_LAUNCH((round_groups<Bf16>), blocks, kThreads, 0, stream, static_cast<const Bf16*>(x), groups, width,
                grid, fixed, heads, static_cast<Bf16*>(out));
  else
    LLMC_LAUNCH((round_groups<float>), blocks, kThreads, 0, stream, static_cast<const float*>(x), groups,
                width, grid, fixed, heads, static_cast<float*>(out));
}

}  // namespace llmc::cuda
