// SmoothQuant's two passes over weights, bit for bit what core/quantize/smoothing.cpp defines.
#include "cuda/kernels.hpp"
#include "cuda/language.cuh"

namespace llmc::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kRows = 128;  // of one thread, all in one column

// largest[j]: zeros or earlier maxima. Numbers that are not below zero are ordered as their bits are.
template <class T>
__global__ void __launch_bounds__(kThreads)
    find_column_maxima(const T* weight, int64_t rows, int64_t columns, float* largest) {
  const int64_t across = divide_up(columns, kThreads), column = blockIdx.x % across * kThreads + threadIdx.x,
                first = blockIdx.x / across * kRows;
  if (column >= columns) return;
  float most = 0;
  for (int64_t row = first; row < least(rows, first + kRows); ++row) {
    const float value = fabsf(to_float(weight[row * columns + column]));
    if (most < value) most = value;
  }
  atomicMax(reinterpret_cast<unsigned*>(largest + column), __float_as_uint(most));
}

__device__ inline float smoothed(float value, float scale, SmoothingUse use) {
  switch (use) {
    case SmoothingUse::multiply:
      return value * scale;
    case SmoothingUse::divide:
      return value / scale;
    default:
      return (value + 1.0f) / scale - 1.0f;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    smooth_columns(T* weight, int64_t rows, int64_t columns, const float* scales, SmoothingUse use) {
  const int64_t across = divide_up(columns, kThreads), column = blockIdx.x % across * kThreads + threadIdx.x,
                first = blockIdx.x / across * kRows;
  if (column >= columns) return;
  const float scale = scales[column];
  for (int64_t row = first; row < least(rows, first + kRows); ++row) {
    T& at = weight[row * columns + column];
    at = from_float<T>(smoothed(to_float(at), scale, use));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    scale_rows(T* weight, int64_t rows, int64_t columns, const float* scales) {
  const int64_t across = divide_up(columns, kThreads), column = blockIdx.x % across * kThreads + threadIdx.x,
                first = blockIdx.x / across * kRows;
  if (column >= columns) return;
  for (int64_t row = first; row < least(rows, first + kRows); ++row) {
    T& at = weight[row * columns + column];
    at = from_float<T>(to_float(at) / scales[row]);
  }
}

unsigned blocks_of(int64_t rows, int64_t columns) {
  return static_cast<unsigned>(divide_up(columns, kThreads) * divide_up(rows, kRows));
}

}  // namespace

void raise_column_maxima(const void* weight,
                         DType dtype,
                         int64_t rows,
                         int64_t columns,
                         float* largest,
                         cudaStream_t stream) {
  const unsigned blocks = blocks_of(rows, columns);
  if (blocks == 0) return;
  if (dtype == DType::bf16)
    LLMC_LAUNCH((find_column_maxima<Bf16>), blocks, kThreads, 0, stream, static_cast<const Bf16*>(weight),
                rows, columns, largest);
  else if (dtype == DType::f16)
    LLMC_LAUNCH((find_column_maxima<Half>), blocks, kThreads, 0, stream, static_cast<const Half*>(weight),
                rows, columns, largest);
  else
    LLMC_LAUNCH((find_column_maxima<float>), blocks, kThreads, 0, stream, static_cast<const float*>(weight),
                rows, columns, largest);
}

void use_smoothing_scales(void* weight,
                          DType dtype,
                          int64_t rows,
                          int64_t columns,
                          const float* scales,
                          SmoothingUse use,
                          cudaStream_t stream) {
  const unsigned blocks = blocks_of(rows, columns);
  if (blocks == 0) return;
  if (dtype == DType::bf16)
    LLMC_LAUNCH((smooth_columns<Bf16>), blocks, kThreads, 0, stream, static_cast<Bf16*>(weight), rows,
                columns, scales, use);
  else if (dtype == DType::f16)
    LLMC_LAUNCH((smooth_columns<Half>), blocks, kThreads, 0, stream, static_cast<Half*>(weight), rows,
                columns, scales, use);
  else
    LLMC_LAUNCH((smooth_columns<float>), blocks, kThreads, 0, stream, static_cast<float*>(weight), rows,
                columns, scales, use);
}

void divide_rows(void* weight,
                 DType dtype,
                 int64_t rows,
                 int64_t columns,
                 const float* scales,
                 cudaStream_t stream) {
  const unsigned blocks = blocks_of(rows, columns);
  if (blocks == 0) return;
  if (dtype == DType::bf16)
    LLMC_LAUNCH((scale_rows<Bf16>), blocks, kThreads, 0, stream, static_cast<Bf16*>(weight), rows, columns,
                scales);
  else if (dtype == DType::f16)
    LLMC_LAUNCH((scale_rows<Half>), blocks, kThreads, 0, stream, static_cast<Half*>(weight), rows, columns,
                scales);
  else
    LLMC_LAUNCH((scale_rows<float>), blocks, kThreads, 0, stream, static_cast<float*>(weight), rows, columns,
                scales);
}

}  // namespace llmc::cuda
