// Kernels over whole values, limited by memory alone: 16 bytes at a time.
#include "cuda/kernels.hpp"
#include "cuda/language.cuh"

namespace llmc::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
struct alignas(16) Pack {
  static constexpr int kCount = 16 / sizeof(T);
  T values[kCount];
};

__device__ inline float activate(ActivationKind kind, float x) {
  switch (kind) {
    case ActivationKind::silu:
      return x / (1.0f + expf(-x));
    case ActivationKind::gelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case ActivationKind::gelu_tanh:
      return x / (1.0f + expf(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
    default:
      return x > 0.0f ? x : 0.0f;
  }
}

template <class T>
struct Activate {
  ActivationKind kind;
  __device__ T operator()(T x) const { return from_float<T>(activate(kind, to_float(x))); }
};
template <class T>
struct Product {
  __device__ T operator()(T x, T y) const { return from_float<T>(to_float(x) * to_float(y)); }
};
template <class T>
struct Sum {
  __device__ T operator()(T x, T y) const { return from_float<T>(to_float(x) + to_float(y)); }
};
template <class T>
struct ActivateTimes {  // rounds in between, as two nodes would
  ActivationKind kind;
  __device__ T operator()(T x, T y) const {
    return from_float<T>(to_float(from_float<T>(activate(kind, to_float(x)))) * to_float(y));
  }
};

template <class T, class Operation, bool kTwo>
__global__ void map_values(const T* x, const T* y, T* out, int64_t count, Operation operation) {
  const int64_t packs = count / Pack<T>::kCount, stride = int64_t{gridDim.x} * kThreads;
  const int64_t first = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  for (int64_t i = first; i < packs; i += stride) {
    const Pack<T> a = reinterpret_cast<const Pack<T>*>(x)[i];
    Pack<T> result;
    if constexpr (kTwo) {
      const Pack<T> b = reinterpret_cast<const Pack<T>*>(y)[i];
      for (int j = 0; j < Pack<T>::kCount; ++j) result.values[j] = operation(a.values[j], b.values[j]);
    } else {
      for (int j = 0; j < Pack<T>::kCount; ++j) result.values[j] = operation(a.values[j]);
    }
    reinterpret_cast<Pack<T>*>(out)[i] = result;
  }
  const int64_t rest = packs * Pack<T>::kCount + first;
  if (rest < count) {
    if constexpr (kTwo) out[rest] = operation(x[rest], y[rest]);
    else out[rest] = operation(x[rest]);
  }
}

template <class T, bool kTwo, class Operation>
void map(const void* x, const void* y, void* out, int64_t count, Operation operation, cudaStream_t stream) {
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>(least(divide_up(count, Pack<T>::kCount * kThreads), 4096));
  LLMC_LAUNCH((map_values<T, Operation, kTwo>), blocks, kThreads, 0, stream, static_cast<const T*>(x),
              static_cast<const T*>(y), static_cast<T*>(out), count, operation);
}

template <class From, class To>
__global__ void convert_values(const From* x, To* out, int64_t count) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * kThreads)
    out[i] = from_float<To>(to_float(x[i]));
}

template <class From, class To>
void convert_as(const void* x, void* out, int64_t count, cudaStream_t stream) {
  LLMC_LAUNCH((convert_values<From, To>), static_cast<unsigned>(least(divide_up(count, kThreads), 4096)),
              kThreads, 0, stream, static_cast<const From*>(x), static_cast<To*>(out), count);
}

template <class T>
__global__ void add_bias(T* values, const float* bias, int64_t rows, int64_t width) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < rows * width;
       i += int64_t{gridDim.x} * kThreads)
    values[i] = from_float<T>(to_float(values[i]) + bias[i % width]);
}

template <class T>
__global__ void slice_rows(const T* x, int64_t x_width, int64_t rows, int64_t width, T* out) {
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < rows * width;
       i += int64_t{gridDim.x} * kThreads)
    out[i] = x[i / width * x_width + i % width];
}

template <class From, class To>
__global__ void gather_rows(const From* table, const int32_t* ids, To* out, int64_t width) {
  const From* const row = table + ids[blockIdx.x] * width;
  To* const to = out + int64_t{blockIdx.x} * width;
  for (int64_t i = threadIdx.x; i < width; i += kThreads) to[i] = from_float<To>(to_float(row[i]));
}

template <class From, class To>
void gather_as(const void* table,
               const int32_t* ids,
               int64_t tokens,
               int64_t width,
               void* out,
               cudaStream_t stream) {
  LLMC_LAUNCH((gather_rows<From, To>), static_cast<unsigned>(tokens), kThreads, 0, stream,
              static_cast<const From*>(table), ids, static_cast<To*>(out), width);
}

}  // namespace

void activate_values(ActivationKind kind,
                     const void* x,
                     DType dtype,
                     int64_t count,
                     void* out,
                     cudaStream_t stream) {
  if (dtype == DType::bf16) return map<Bf16, false>(x, nullptr, out, count, Activate<Bf16>{kind}, stream);
  map<float, false>(x, nullptr, out, count, Activate<float>{kind}, stream);
}
void multiply_values(const void* x,
                     const void* y,
                     DType dtype,
                     int64_t count,
                     void* out,
                     cudaStream_t stream) {
  if (dtype == DType::bf16) return map<Bf16, true>(x, y, out, count, Product<Bf16>{}, stream);
  map<float, true>(x, y, out, count, Product<float>{}, stream);
}
void add_values(const void* x, const void* y, DType dtype, int64_t count, void* out, cudaStream_t stream) {
  if (dtype == DType::bf16) return map<Bf16, true>(x, y, out, count, Sum<Bf16>{}, stream);
  map<float, true>(x, y, out, count, Sum<float>{}, stream);
}
void activate_and_multiply(ActivationKind kind,
                           const void* x,
                           const void* y,
                           DType dtype,
                           int64_t count,
                           void* out,
                           cudaStream_t stream) {
  if (dtype == DType::bf16) return map<Bf16, true>(x, y, out, count, ActivateTimes<Bf16>{kind}, stream);
  map<float, true>(x, y, out, count, ActivateTimes<float>{kind}, stream);
}

void convert(const void* x, DType from, void* out, DType to, int64_t count, cudaStream_t stream) {
  if (count == 0) return;
  if (to == DType::f32) {
    if (from == DType::bf16) return convert_as<Bf16, float>(x, out, count, stream);
    if (from == DType::f16) return convert_as<Half, float>(x, out, count, stream);
    return convert_as<float, float>(x, out, count, stream);
  }
  if (from == DType::bf16) return convert_as<Bf16, Bf16>(x, out, count, stream);
  if (from == DType::f16) return convert_as<Half, Bf16>(x, out, count, stream);
  convert_as<float, Bf16>(x, out, count, stream);
}

void add_bias_to_rows(void* values,
                      DType dtype,
                      const float* bias,
                      int64_t rows,
                      int64_t width,
                      cudaStream_t stream) {
  if (rows * width == 0) return;
  const auto blocks = static_cast<unsigned>(least(divide_up(rows * width, kThreads), 4096));
  if (dtype == DType::bf16)
    LLMC_LAUNCH((add_bias<Bf16>), blocks, kThreads, 0, stream, static_cast<Bf16*>(values), bias, rows, width);
  else
    LLMC_LAUNCH((add_bias<float>), blocks, kThreads, 0, stream, static_cast<float*>(values), bias, rows,
                width);
}

void slice_channels(const void* x,
                    DType dtype,
                    int64_t rows,
                    int64_t x_width,
                    int64_t first,
                    int64_t width,
                    void* out,
                    cudaStream_t stream) {
  if (rows * width == 0) return;
  const auto blocks = static_cast<unsigned>(least(divide_up(rows * width, kThreads), 4096));
  if (dtype == DType::bf16)
    LLMC_LAUNCH((slice_rows<Bf16>), blocks, kThreads, 0, stream, static_cast<const Bf16*>(x) + first, x_width,
                rows, width, static_cast<Bf16*>(out));
  else
    LLMC_LAUNCH((slice_rows<float>), blocks, kThreads, 0, stream, static_cast<const float*>(x) + first,
                x_width, rows, width, static_cast<float*>(out));
}

void gather_embeddings(const void* table,
                       DType from,
                       const int32_t* ids,
                       int64_t tokens,
                       int64_t width,
                       void* out,
                       DType to,
                       cudaStream_t stream) {
  if (tokens == 0) return;
  if (to == DType::bf16) {
    if (from == DType::bf16) return gather_as<Bf16, Bf16>(table, ids, tokens, width, out, stream);
    if (from == DType::f16) return gather_as<Half, Bf16>(table, ids, tokens, width, out, stream);
    return gather_as<float, Bf16>(table, ids, tokens, width, out, stream);
  }
  if (from == DType::bf16) return gather_as<Bf16, float>(table, ids, tokens, width, out, stream);
  if (from == DType::f16) return gather_as<Half, float>(table, ids, tokens, width, out, stream);
  gather_as<float, float>(table, ids, tokens, width, out, stream);
}

}  // namespace llmc::cuda
