#include "cuda/kernels.hpp"
#include "cuda/operations.hpp"

namespace llmc::cuda {

void run(Engine& engine, const EmbeddingCall& call) {
  const Tensor ids = engine.heap.upload(TensorView(call.token_ids.data(), DType::i32, {call.out.rows()}));
  gather_embeddings(call.table.data(), call.table.dtype(), ids.as<int32_t>(), call.out.rows(),
                    call.table.columns(), call.out.data(), call.out.dtype(), engine.stream);
}

}  // namespace llmc::cuda
