// Rotary position embedding, half-split pairs. The tables come from the host (core/forward/rope_tables.hpp), so that
// every backend rotates by the same numbers.
#include "cuda/kernels.hpp"
#include "cuda/language.cuh"

namespace llmc::cuda {
namespace {

constexpr int kThreads = 128;

// One block per token. x, out: [tokens, heads, head_dim]; cosine, sine: [rows, half]; row_of: [tokens].
template <class T>
__global__ void rotate_tokens(const T* x,
                              const float* cosine,
                              const float* sine,
                              const int32_t* row_of,
                              int heads,
                              int head_dim,
                              int half,
                              T* out) {
  const int64_t token = blockIdx.x, row = int64_t{row_of[token]} * half;
  for (int i = static_cast<int>(threadIdx.x); i < heads * (head_dim - half); i += kThreads) {
    const int head = i / (head_dim - half), channel = i % (head_dim - half);
    const T* const from = x + (token * heads + head) * head_dim;
    T* const to = out + (token * heads + head) * head_dim;
    if (channel < half) {
      const float first = to_float(from[channel]), second = to_float(from[channel + half]),
                  c = cosine[row + channel], s = sine[row + channel];
      to[channel] = from_float<T>(first * c - second * s);
      to[channel + half] = from_float<T>(second * c + first * s);
    } else {
      to[channel + half] = from[channel + half];  // beyond the rotary channels
    }
  }
}

}  // namespace

void rotate_values(const void* x,
                   DType dtype,
                   const float* cosine,
                   const float* sine,
                   const int32_t* row_of,
                   int64_t tokens,
                   int64_t heads,
                   int64_t head_dim,
                   int64_t half,
                   void* out,
                   cudaStream_t stream) {
  if (tokens == 0) return;
  const auto blocks = static_cast<unsigned>(tokens);
  const int h = static_cast<int>(heads), d = static_cast<int>(head_dim), r = static_cast<int>(half);
  if (dtype == DType::bf16)
    LLMC_LAUNCH((rotate_tokens<Bf16>), blocks, kThreads, 0, stream, static_cast<const Bf16*>(x), cosine, sine,
                row_of, h, d, r, static_cast<Bf16*>(out));
  else
    LLMC_LAUNCH((rotate_tokens<float>), blocks, kThreads, 0, stream, static_cast<const float*>(x), cosine,
                sine, row_of, h, d, r, static_cast<float*>(out));
}

}  // namespace llmc::cuda
