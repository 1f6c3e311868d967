#include "cuda/kernels.hpp"
#include "cuda/operations.hpp"

namespace llmc::cuda {

void run(Engine& engine, const SliceCall& call) {
  slice_channels(call.x.data(), call.x.dtype(), call.x.rows(), call.x.columns(), call.operation.first,
                 call.operation.width, call.out.data(), engine.stream);
}

}  // namespace llmc::cuda
