// RMS and layer norms, with the residual addition before them where there is one. A warp takes a narrow group
// of channels (a head's), a block a wide one.
#include "cuda/kernels.hpp"
#include "cuda/language.cuh"

namespace llmc::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int64_t kWidestOfWarp = 512;

struct NormShared {
  float partial[2][kWarps];
};

template <bool kBlock>
__device__ inline float team_sum(float value, float* partial) {
  if constexpr (kBlock) return block_reduce(value, partial, 0.0f, [](float x) { return warp_sum(x); });
  else return warp_sum(value);
}

// out = norm(x) or, with a residual, total = x + residual and out = norm(total). All are [groups, width].
template <class T, bool kBlock>
__global__ void __launch_bounds__(kThreads) norm_groups(NormKind kind,
                                                        const T* x,
                                                        const T* residual,
                                                        T* total,
                                                        int64_t groups,
                                                        int64_t width,
                                                        float epsilon,
                                                        const float* weight,
                                                        const float* bias,
                                                        T* out) {
  const int team = kBlock ? 0 : static_cast<int>(threadIdx.x) / kWarp,
            lane = kBlock ? static_cast<int>(threadIdx.x) : static_cast<int>(threadIdx.x) % kWarp;
  constexpr int kLanes = kBlock ? kThreads : kWarp;
  const int64_t group = kBlock ? int64_t{blockIdx.x} : int64_t{blockIdx.x} * kWarps + team;
  if (!kBlock && group >= groups) return;
  float* const partial = kBlock ? shared_memory<NormShared>().partial[0] : nullptr;
  const T* from = x + group * width;
  if (residual) {
    T* const sums = total + group * width;
    for (int64_t i = lane; i < width; i += kLanes)
      sums[i] = from_float<T>(to_float(from[i]) + to_float(residual[group * width + i]));
    from = sums;  // each thread reads back what it wrote itself
  }
  float mean = 0;
  if (kind == NormKind::layer) {
    float sum = 0;
    for (int64_t i = lane; i < width; i += kLanes) sum += to_float(from[i]);
    mean = team_sum<kBlock>(sum, partial) / static_cast<float>(width);
  }
  float squares = 0;
  for (int64_t i = lane; i < width; i += kLanes) {
    const float value = to_float(from[i]) - mean;
    squares = fmaf(value, value, squares);
  }
  const float scale = 1.0f /
      sqrtf(team_sum<kBlock>(squares, kBlock ? partial + kWarps : nullptr) / static_cast<float>(width) +
            epsilon);
  for (int64_t i = lane; i < width; i += kLanes) {
    float normal = (to_float(from[i]) - mean) * scale;
    // transformers and vLLM round before they multiply by the weight
    if (kind == NormKind::rms) normal = to_float(from_float<T>(normal));
    normal *= kind == NormKind::rms_plus_one ? weight[i] + 1.0f : weight[i];
    out[group * width + i] = from_float<T>(bias ? normal + bias[i] : normal);
  }
}

template <class T>
void norm_as(NormKind kind,
             const void* x,
             const void* residual,
             void* total,
             int64_t groups,
             int64_t width,
             float epsilon,
             const float* weight,
             const float* bias,
             void* out,
             cudaStream_t stream) {
  const auto* in = static_cast<const T*>(x);
  const auto* other = static_cast<const T*>(residual);
  if (width > kWidestOfWarp)
    LLMC_LAUNCH((norm_groups<T, true>), static_cast<unsigned>(groups), kThreads, sizeof(NormShared), stream,
                kind, in, other, static_cast<T*>(total), groups, width, epsilon, weight, bias,
                static_cast<T*>(out));
  else
    LLMC_LAUNCH((norm_groups<T, false>), static_cast<unsigned>(divide_up(groups, kWarps)), kThreads, 0,
                stream, kind, in, other, static_cast<T*>(total), groups, width, epsilon, weight, bias,
                static_cast<T*>(out));
}

}  // namespace

void norm_values(NormKind kind,
                 const void* x,
                 const void* residual,
                 void* total,
                 DType dtype,
                 int64_t groups,
                 int64_t width,
                 float epsilon,
                 const float* weight,
                 const float* bias,
                 void* out,
                 cudaStream_t stream) {
  if (groups == 0) return;
  if (dtype == DType::bf16)
    return norm_as<Bf16>(kind, x, residual, total, groups, width, epsilon, weight, bias, out, stream);
  norm_as<float>(kind, x, residual, total, groups, width, epsilon, weight, bias, out, stream);
}

}  // namespace llmc::cuda
