#include "cuda/kernels.hpp"
#include "cuda/operations.hpp"

namespace llmc::cuda {

void run(Engine& engine, const NormCall& call) {
  const Norm& norm = call.operation;
  norm_values(norm.kind, call.x.data(), call.residual ? call.residual->data() : nullptr,
              call.total ? call.total->data() : nullptr, call.x.dtype(), call.x.size() / norm.width,
              norm.width, static_cast<float>(norm.epsilon), call.scale.as<float>(),
              call.bias ? call.bias->as<float>() : nullptr, call.out.data(), engine.stream);
}

}  // namespace llmc::cuda
