#include "cuda/kernels.hpp"
#include "cuda/operations.hpp"

namespace llmc::cuda {

void run(Engine& engine, const ActivationCall& call) {
  const Tensor& x = call.x;
  if (call.factor)
    activate_and_multiply(call.operation.kind, x.data(), call.factor->data(), x.dtype(), x.size(),
                          call.out.data(), engine.stream);
  else activate_values(call.operation.kind, x.data(), x.dtype(), x.size(), call.out.data(), engine.stream);
}

}  // namespace llmc::cuda
