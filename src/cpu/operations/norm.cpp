#include "cpu/operations.hpp"
#include "cpu/operations/rows.hpp"

namespace llmc::cpu {

void run(Engine& engine, const NormCall& call) {
  const Norm& norm = call.operation;
  std::vector<float> scale = floats(engine, call.scale);
  if (norm.kind == NormKind::rms_plus_one)
    for (float& value : scale) value += 1.0f;
  const std::vector<float> bias = call.bias ? floats(engine, *call.bias) : std::vector<float>();
  const DType dtype = call.x.dtype();
  const int64_t groups = call.x.columns() / norm.width, group_bytes = norm.width * item_bytes(call.x);
  const auto from = rows_of(call.x);
  const auto to = rows_of(call.out);
  engine.pool.parallel_for(call.x.rows(), kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t g = 0; g < groups; ++g)
        engine.elements.norm_row(norm.kind, from[t] + g * group_bytes, dtype, norm.width,
                                 static_cast<float>(norm.epsilon), scale.data(),
                                 bias.empty() ? nullptr : bias.data(), to[t] + g * group_bytes);
  });
}

}  // namespace llmc::cpu
