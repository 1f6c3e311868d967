/* Stand-in for NVIDIA's header of this name: Cholesky factorization on the host (blas_standin.cpp). */
#pragma once
#include "cuda_runtime.h"
#include "library_types.h"

enum cusolverStatus_t { CUSOLVER_STATUS_SUCCESS = 0, CUSOLVER_STATUS_INVALID_VALUE = 3 };
enum cublasFillMode_t { CUBLAS_FILL_MODE_LOWER = 0, CUBLAS_FILL_MODE_UPPER = 1 };
using cusolverDnHandle_t = void*;
using cusolverDnParams_t = void*;

inline cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t* handle) {
  *handle = nullptr;
  return CUSOLVER_STATUS_SUCCESS;
}
inline cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t) { return CUSOLVER_STATUS_SUCCESS; }
inline cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t, cudaStream_t) {
  return CUSOLVER_STATUS_SUCCESS;
}
inline cusolverStatus_t cusolverDnCreateParams(cusolverDnParams_t* parameters) {
  *parameters = nullptr;
  return CUSOLVER_STATUS_SUCCESS;
}
inline cusolverStatus_t cusolverDnDestroyParams(cusolverDnParams_t) { return CUSOLVER_STATUS_SUCCESS; }
inline cusolverStatus_t cusolverDnXpotrf_bufferSize(cusolverDnHandle_t,
                                                    cusolverDnParams_t,
                                                    cublasFillMode_t,
                                                    int64_t,
                                                    cudaDataType,
                                                    const void*,
                                                    int64_t,
                                                    cudaDataType,
                                                    size_t* device,
                                                    size_t* host) {
  *device = 256;
  *host = 0;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnXpotrf(cusolverDnHandle_t handle,
                                  cusolverDnParams_t parameters,
                                  cublasFillMode_t half,
                                  int64_t n,
                                  cudaDataType type,
                                  void* a,
                                  int64_t stride,
                                  cudaDataType compute,
                                  void* device_buffer,
                                  size_t device_bytes,
                                  void* host_buffer,
                                  size_t host_bytes,
                                  int* info);
