// Matrix products by cuBLASLt, float32 sums. The algorithm for a shape is looked up once.
#pragma once
#include <cublasLt.h>

#include <map>
#include <tuple>

#include "cuda/device_heap.hpp"

namespace llmc::cuda {

// c = a b^T (+ c), or a b (+ c): row-major, a: [rows, depth], b: [columns, depth] or [depth, columns], c:
// [rows, columns]. a and b have one dtype, f32 or bf16.
struct Product {
  int64_t rows = 0, columns = 0, depth = 0;
  DType operand_dtype = DType::f32, result_dtype = DType::f32;
  const void *a = nullptr, *b = nullptr;
  void* c = nullptr;
  int64_t a_stride = 0, b_stride = 0, c_stride = 0;
  bool b_is_transposed = true;  // b: [columns, depth]
  bool add = false;
};

class Products {
 public:
  Products(DeviceHeap& heap, cudaStream_t stream);
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  void multiply(const Product& product);

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t, DType, DType, int64_t, int64_t, int64_t, bool, bool>;

  const cudaStream_t stream_;
  cublasLtHandle_t handle_ = nullptr;
  Tensor workspace_;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace llmc::cuda
