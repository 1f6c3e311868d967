#include "cuda/forward.hpp"

#include "cuda/check.hpp"
#include "cuda/kernels.hpp"
#include "cuda/operations.hpp"

namespace llmc::cuda {
namespace {

constexpr Fusion kFusions[] = {Fusion::add_norm, Fusion::activation_multiply};

}  // namespace

std::span<const Fusion> Forward::fusions() const { return kFusions; }

Tensor Forward::bring_weight(const Tensor& elsewhere) {
  Tensor raw = engine_.heap.upload(elsewhere);
  if (raw.shape().size() != 1 || raw.dtype() == DType::f32) return raw;
  Tensor wide = engine_.heap.tensor(DType::f32, raw.shape());
  convert(raw.data(), raw.dtype(), wide.data(), DType::f32, raw.size(), engine_.stream);
  return wide;
}

void Forward::copy_rows(const Tensor& from, int64_t first, int64_t rows, Tensor& to, int64_t at) {
  const int64_t row_bytes = from.columns() * static_cast<int64_t>(item_size(from.dtype()));
  check(cudaMemcpyAsync(to.data() + at * row_bytes, from.data() + first * row_bytes,
                        static_cast<size_t>(rows * row_bytes), cudaMemcpyDeviceToDevice, engine_.stream),
        "copy of kept keys and values");
}

void Forward::run(const OperationCall& call) {
  std::visit([&](const auto& operation) { cuda::run(engine_, operation); }, call);
}

}  // namespace llmc::cuda
