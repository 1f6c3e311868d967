// Cross entropy and KL divergence of logits, one block per token; sums over the vocabulary in double, always
// in the same order.
#include "cuda/kernels.hpp"
#include "cuda/language.cuh"

namespace llmc::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

struct LossShared {
  float tops[2][kWarps];
  int at[2][kWarps];
  double sums[3][kWarps];
};

struct Peak {
  float value;
  int at;
};

// The largest number of a row and where it stands first.
template <class T>
__device__ inline Peak find_peak(const T* row, int64_t count, float* tops, int* at) {
  Peak peak{-INFINITY, 0x7FFFFFFF};
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    const float value = to_float(row[i]);
    if (value > peak.value) peak = {value, static_cast<int>(i)};
  }
  const auto better = [](Peak a, Peak b) {
    return b.value > a.value || (b.value == a.value && b.at < a.at) ? b : a;
  };
  for (int step = kWarp / 2; step > 0; step /= 2)
    peak = better(
        peak, Peak{__shfl_xor_sync(kAllLanes, peak.value, step), __shfl_xor_sync(kAllLanes, peak.at, step)});
  if (threadIdx.x % kWarp == 0) tops[threadIdx.x / kWarp] = peak.value, at[threadIdx.x / kWarp] = peak.at;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) peak = better(peak, Peak{tops[warp], at[warp]});
  return peak;
}

// next: [tokens], the id that follows or -1 where none does. reference may be null.
template <class T, class R>
__global__ void __launch_bounds__(kThreads) token_losses(const T* logits,
                                                         const R* reference,
                                                         const int32_t* next,
                                                         int64_t vocabulary,
                                                         TokenLoss* losses) {
  LossShared& shared = shared_memory<LossShared>();
  const int64_t token = blockIdx.x;
  const int32_t wanted = next[token];
  if (wanted < 0) {
    if (threadIdx.x == 0) losses[token] = {0, 0, 0, 0};
    return;
  }
  const T* const row = logits + token * vocabulary;
  const auto sum_of = [](double x) { return warp_sum(x); };
  const Peak own = find_peak(row, vocabulary, shared.tops[0], shared.at[0]);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < vocabulary; i += kThreads)
    sum += static_cast<double>(expf(to_float(row[i]) - own.value));
  const double log_sum = log(block_reduce(sum, shared.sums[0], 0.0, sum_of));
  TokenLoss loss{log_sum - static_cast<double>(to_float(row[wanted]) - own.value), 0, 1, 0};
  if (reference) {
    const R* const theirs = reference + token * vocabulary;
    const Peak other = find_peak(theirs, vocabulary, shared.tops[1], shared.at[1]);
    double their_sum = 0, difference = 0;
    for (int64_t i = threadIdx.x; i < vocabulary; i += kThreads) {
      const float a = to_float(theirs[i]) - other.value, b = to_float(row[i]) - own.value, weight = expf(a);
      their_sum += static_cast<double>(weight);
      difference += static_cast<double>(weight) * static_cast<double>(a - b);
    }
    their_sum = block_reduce(their_sum, shared.sums[1], 0.0, sum_of);
    difference = block_reduce(difference, shared.sums[2], 0.0, sum_of);
    loss.kl = difference / their_sum - log(their_sum) + log_sum;
    loss.same_top = own.at == other.at;
  }
  if (threadIdx.x == 0) losses[token] = loss;
}

template <class T>
void losses_of(const void* logits,
               const void* reference,
               DType reference_dtype,
               const int32_t* next,
               int64_t tokens,
               int64_t vocabulary,
               TokenLoss* losses,
               cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(tokens);
  const auto* const own = static_cast<const T*>(logits);
  if (reference_dtype == DType::bf16)
    LLMC_LAUNCH((token_losses<T, Bf16>), blocks, kThreads, sizeof(LossShared), stream, own,
                static_cast<const Bf16*>(reference), next, vocabulary, losses);
  else
    LLMC_LAUNCH((token_losses<T, float>), blocks, kThreads, sizeof(LossShared), stream, own,
                static_cast<const float*>(reference), next, vocabulary, losses);
}

}  // namespace

void collect_token_losses(const void* logits,
                          DType dtype,
                          const void* reference,
                          DType reference_dtype,
                          const int32_t* next,
                          int64_t tokens,
                          int64_t vocabulary,
                          TokenLoss* losses,
                          cudaStream_t stream) {
  if (tokens == 0) return;
  if (dtype == DType::bf16)
    return losses_of<Bf16>(logits, reference, reference_dtype, next, tokens, vocabulary, losses, stream);
  losses_of<float>(logits, reference, reference_dtype, next, tokens, vocabulary, losses, stream);
}

}  // namespace llmc::cuda
