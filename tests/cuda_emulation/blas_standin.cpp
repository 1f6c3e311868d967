// cuBLASLt's product and cuSOLVER's Cholesky for the emulator: float32 arithmetic, no kernels, the threads of
// the machine.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "cublasLt.h"
#include "cusolverDn.h"

namespace {

float load(const void* data, cudaDataType type, size_t at) {
  if (type == CUDA_R_32F) return static_cast<const float*>(data)[at];
  return __uint_as_float(static_cast<unsigned>(static_cast<const uint16_t*>(data)[at]) << 16);
}

void store(void* data, cudaDataType type, size_t at, float value) {
  if (type == CUDA_R_32F) {
    static_cast<float*>(data)[at] = value;
    return;
  }
  const unsigned bits = __float_as_uint(value);
  static_cast<uint16_t*>(data)[at] = static_cast<uint16_t>(
      std::isnan(value) ? (bits >> 16) | 0x40u : (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// op(matrix) as rows of floats: [rows][columns], or its transpose.
std::vector<float> unfold(const void* data,
                          const llmc_blas_matrix& matrix,
                          bool transposed,
                          size_t rows,
                          size_t columns,
                          bool by_columns) {
  std::vector<float> values(rows * columns);
  for (size_t i = 0; i < rows; ++i)
    for (size_t j = 0; j < columns; ++j) {
      const size_t at = transposed ? j + i * static_cast<size_t>(matrix.stride)
                                   : i + j * static_cast<size_t>(matrix.stride);
      values[by_columns ? j * rows + i : i * columns + j] = load(data, matrix.type, at);
    }
  return values;
}

}  // namespace

cublasStatus_t cublasLtMatmul(cublasLtHandle_t,
                              cublasLtMatmulDesc_t product,
                              const void* alpha,
                              const void* a,
                              cublasLtMatrixLayout_t a_layout,
                              const void* b,
                              cublasLtMatrixLayout_t b_layout,
                              const void* beta,
                              const void* c,
                              cublasLtMatrixLayout_t c_layout,
                              void* d,
                              cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t*,
                              void*,
                              size_t,
                              cudaStream_t) {
  const llmc::emulation::DeviceAccess access;
  const bool a_transposed = product->a == CUBLAS_OP_T, b_transposed = product->b == CUBLAS_OP_T;
  const size_t m = d_layout->rows, n = d_layout->columns,
               k = a_transposed ? a_layout->rows : a_layout->columns;
  if ((a_transposed ? a_layout->columns : a_layout->rows) != m ||
      (b_transposed ? b_layout->rows : b_layout->columns) != n ||
      (b_transposed ? b_layout->columns : b_layout->rows) != k)
    return CUBLAS_STATUS_INVALID_VALUE;
  const float times = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  // [k][m], [n][k]
  const std::vector<float> left = unfold(a, *a_layout, a_transposed, m, k, true),
                           right = unfold(b, *b_layout, b_transposed, k, n, true);
  const auto columns = [&](size_t begin, size_t end) {
    std::vector<float> sums(m);
    for (size_t j = begin; j < end; ++j) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (size_t l = 0; l < k; ++l) {
        const float factor = right[j * k + l];
        const float* values = left.data() + l * m;
        for (size_t i = 0; i < m; ++i) sums[i] += factor * values[i];
      }
      for (size_t i = 0; i < m; ++i) {
        const float before = keep == 0.0f
            ? 0.0f
            : keep * load(c, c_layout->type, i + j * static_cast<size_t>(c_layout->stride));
        store(d, d_layout->type, i + j * static_cast<size_t>(d_layout->stride), times * sums[i] + before);
      }
    }
  };
  const size_t threads = m * n * k < 1u << 18 ? 1 : std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> others;
  for (size_t t = 1; t < threads; ++t) others.emplace_back(columns, n * t / threads, n * (t + 1) / threads);
  columns(0, n / threads);
  for (std::thread& other : others) other.join();
  return CUBLAS_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXpotrf(cusolverDnHandle_t,
                                  cusolverDnParams_t,
                                  cublasFillMode_t half,
                                  int64_t n,
                                  cudaDataType,
                                  void* a,
                                  int64_t stride,
                                  cudaDataType,
                                  void*,
                                  size_t,
                                  void*,
                                  size_t,
                                  int* info) {
  const llmc::emulation::DeviceAccess access;
  if (half != CUBLAS_FILL_MODE_UPPER) return CUSOLVER_STATUS_INVALID_VALUE;
  // A = U^T U in columns: the row-major lower triangle, row by row.
  auto* const values = static_cast<float*>(a);
  *info = 0;
  for (int64_t i = 0; i < n && !*info; ++i) {
    float* const row = values + i * stride;
    for (int64_t j = 0; j <= i; ++j) {
      const float* const other = values + j * stride;
      double sum = row[j];
      for (int64_t l = 0; l < j; ++l) sum -= static_cast<double>(row[l]) * static_cast<double>(other[l]);
      if (j < i) {
        row[j] = static_cast<float>(sum / static_cast<double>(other[j]));
      } else if (sum > 0) {
        row[i] = static_cast<float>(std::sqrt(sum));
      } else {
        *info = static_cast<int>(i + 1);
        break;
      }
    }
  }
  return CUSOLVER_STATUS_SUCCESS;
}
