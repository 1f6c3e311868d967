// Errors of the CUDA libraries as llmc::Error.
#pragma once
#include <cublasLt.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>

#include <string>

#include "llmc/error.hpp"

namespace llmc::cuda {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw Error(status == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::internal,
              std::string("cuda: ") + what + ": " + cudaGetErrorString(status));
}
inline void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(ErrorCode::internal, std::string("cuda: ") + what + ": " + cublasLtGetStatusString(status));
}
inline void check(cusolverStatus_t status, const char* what) {
  if (status != CUSOLVER_STATUS_SUCCESS)
    throw Error(
        ErrorCode::internal,
        std::string("cuda: ") + what + ": cusolver status " + std::to_string(static_cast<int>(status)));
}

}  // namespace llmc::cuda
