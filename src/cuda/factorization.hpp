// Cholesky factorization by cuSOLVER.
#pragma once
#include <cusolverDn.h>

#include "cuda/device_heap.hpp"

namespace llmc::cuda {

class Factorization {
 public:
  Factorization(DeviceHeap& heap, cudaStream_t stream);
  ~Factorization();
  Factorization(const Factorization&) = delete;
  Factorization& operator=(const Factorization&) = delete;

  // The lower triangle of `matrix` [n, n], row-major, becomes L with L L^T = matrix; the upper one stays.
  // False: not positive definite.
  bool factor(float* matrix, int64_t n);

 private:
  DeviceHeap& heap_;
  const cudaStream_t stream_;
  cusolverDnHandle_t handle_ = nullptr;
  cusolverDnParams_t parameters_ = nullptr;
};

}  // namespace llmc::cuda
