#include "cuda/forward.hpp"

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

void Forward::run(const OperationCall& call) {
  std::visit([&](const auto& operation) { cuda::run(engine_, operation); }, call);
}

}  // namespace llmc::cuda
