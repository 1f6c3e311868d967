#include "cuda/products.hpp"

#include "cuda/check.hpp"

namespace llmc::cuda {

namespace {

constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;

cudaDataType type_of(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// cuBLASLt's descriptors, freed in any case. It counts by columns: its first factor is our b, its second our
// a.
struct Descriptors {
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;

  explicit Descriptors(const Product& p) {
    const auto size = [](int64_t count) { return static_cast<uint64_t>(count); };
    const cublasOperation_t first = p.b_is_transposed ? CUBLAS_OP_T : CUBLAS_OP_N, second = CUBLAS_OP_N;
    check(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    check(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first),
          "cublasLtMatmulDescSetAttribute");
    check(cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second),
          "cublasLtMatmulDescSetAttribute");
    check(cublasLtMatrixLayoutCreate(&b, type_of(p.operand_dtype),
                                     size(p.b_is_transposed ? p.depth : p.columns),
                                     size(p.b_is_transposed ? p.columns : p.depth), p.b_stride),
          "cublasLtMatrixLayoutCreate");
    check(cublasLtMatrixLayoutCreate(&a, type_of(p.operand_dtype), size(p.depth), size(p.rows), p.a_stride),
          "cublasLtMatrixLayoutCreate");
    check(cublasLtMatrixLayoutCreate(&c, type_of(p.result_dtype), size(p.columns), size(p.rows), p.c_stride),
          "cublasLtMatrixLayoutCreate");
  }
  ~Descriptors() {
    if (c) cublasLtMatrixLayoutDestroy(c);
    if (a) cublasLtMatrixLayoutDestroy(a);
    if (b) cublasLtMatrixLayoutDestroy(b);
    if (product) cublasLtMatmulDescDestroy(product);
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
};

cublasLtMatmulAlgo_t find_algorithm(cublasLtHandle_t handle, const Descriptors& d) {
  const auto workspace = static_cast<size_t>(kWorkspaceBytes);
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  const auto set = cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                        &workspace, sizeof workspace);
  const auto status = cublasLtMatmulAlgoGetHeuristic(handle, d.product, d.b, d.a, d.c, d.c, preference, 1,
                                                     &best, &found);
  cublasLtMatmulPreferenceDestroy(preference);
  check(set, "cublasLtMatmulPreferenceSetAttribute");
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  if (found == 0) throw Error(ErrorCode::internal, "cuda: cublasLt knows no algorithm for a product");
  return best.algo;
}

}  // namespace

Products::Products(DeviceHeap& heap, cudaStream_t stream)
    : stream_(stream),
      workspace_(heap.tensor(DType::u8, {kWorkspaceBytes})) {
  check(cublasLtCreate(&handle_), "cublasLtCreate");
}
Products::~Products() { cublasLtDestroy(handle_); }

void Products::multiply(const Product& p) {
  if (p.rows == 0 || p.columns == 0) return;
  const Descriptors d(p);
  const Key key{p.rows,     p.columns,  p.depth,    p.operand_dtype,   p.result_dtype,
                p.a_stride, p.b_stride, p.c_stride, p.b_is_transposed, p.add};
  auto known = algorithms_.find(key);
  if (known == algorithms_.end()) known = algorithms_.emplace(key, find_algorithm(handle_, d)).first;
  const float alpha = 1, beta = p.add ? 1.0f : 0.0f;
  check(cublasLtMatmul(handle_, d.product, &alpha, p.b, d.b, p.a, d.a, &beta, p.c, d.c, p.c, d.c,
                       &known->second, workspace_.data(), static_cast<size_t>(kWorkspaceBytes), stream_),
        "cublasLtMatmul");
}

}  // namespace llmc::cuda
