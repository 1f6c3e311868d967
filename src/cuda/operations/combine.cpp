// Multiply and Add.
#include "cuda/kernels.hpp"
#include "cuda/operations.hpp"

namespace llmc::cuda {

void run(Engine& engine, const MultiplyCall& call) {
  multiply_values(call.x.data(), call.y.data(), call.x.dtype(), call.x.size(), call.out.data(),
                  engine.stream);
}

void run(Engine& engine, const AddCall& call) {
  add_values(call.x.data(), call.y.data(), call.x.dtype(), call.x.size(), call.out.data(), engine.stream);
}

}  // namespace llmc::cuda
