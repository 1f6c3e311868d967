#include <algorithm>

#include "cuda/kernels.hpp"
#include "cuda/operations.hpp"

namespace llmc::cuda {

void run(Engine& engine, const RopeCall& call) {
  const Rope& rope = call.operation;
  const int64_t half = rope.spec.rotary_dim / 2;
  // The tables of all sequences, one after another, each only once.
  std::vector<float> cosine, sine;
  std::vector<int32_t> row_of;
  const RopeTables::Table* last = nullptr;
  int64_t first_row = 0;
  for (size_t s = 0; s < call.tables.size(); ++s) {
    if (call.tables[s].get() != last) {
      last = call.tables[s].get();
      first_row = static_cast<int64_t>(cosine.size()) / std::max<int64_t>(half, 1);
      cosine.insert(cosine.end(), last->cosine.begin(), last->cosine.end());
      sine.insert(sine.end(), last->sine.begin(), last->sine.end());
    }
    for (int64_t t = call.starts[s]; t < call.starts[s + 1]; ++t)
      row_of.push_back(static_cast<int32_t>(first_row + call.past[s] + t - call.starts[s]));
  }
  const Tensor cosines = engine.heap.upload(cosine, DType::f32), sines = engine.heap.upload(sine, DType::f32),
               rows = engine.heap.upload(row_of, DType::i32);
  rotate_values(call.x.data(), call.x.dtype(), cosines.as<float>(), sines.as<float>(), rows.as<int32_t>(),
                call.x.rows(), rope.heads, rope.head_dim, half, call.out.data(), engine.stream);
}

}  // namespace llmc::cuda
