#include "cuda/factorization.hpp"

#include "cuda/check.hpp"

namespace llmc::cuda {

Factorization::Factorization(DeviceHeap& heap, cudaStream_t stream) : heap_(heap), stream_(stream) {
  check(cusolverDnCreate(&handle_), "cusolverDnCreate");
  check(cusolverDnSetStream(handle_, stream_), "cusolverDnSetStream");
  check(cusolverDnCreateParams(&parameters_), "cusolverDnCreateParams");
}

Factorization::~Factorization() {
  if (parameters_) cusolverDnDestroyParams(parameters_);
  if (handle_) cusolverDnDestroy(handle_);
}

bool Factorization::factor(float* matrix, int64_t n) {
  // cuSOLVER counts by columns: its upper triangle is the lower one by rows
  constexpr cublasFillMode_t kHalf = CUBLAS_FILL_MODE_UPPER;
  size_t device_bytes = 0, host_bytes = 0;
  check(cusolverDnXpotrf_bufferSize(handle_, parameters_, kHalf, n, CUDA_R_32F, matrix, n, CUDA_R_32F,
                                    &device_bytes, &host_bytes),
        "cusolverDnXpotrf_bufferSize");
  Tensor workspace = heap_.tensor(DType::u8, {static_cast<int64_t>(device_bytes)}),
         info = heap_.zeros(DType::i32, {1});
  std::vector<std::byte> host_workspace(host_bytes);
  check(cusolverDnXpotrf(handle_, parameters_, kHalf, n, CUDA_R_32F, matrix, n, CUDA_R_32F, workspace.data(),
                         device_bytes, host_workspace.data(), host_bytes, info.as<int>()),
        "cusolverDnXpotrf");
  return heap_.download<int>(info, 1)[0] == 0;
}

}  // namespace llmc::cuda
