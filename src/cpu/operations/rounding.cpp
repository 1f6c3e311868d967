// Fake quantization of activations as the served model does it at run time: out = dequantize(quantize(x)).
#include <algorithm>

#include "core/quantize/activation_grid.hpp"
#include "cpu/operations.hpp"
#include "cpu/operations/rows.hpp"

namespace llmc::cpu {

void run(Engine& engine, const RoundingCall& call) {
  const ActivationQuantization& how = call.how;
  const DType dtype = call.x.dtype();
  const int64_t width = call.x.columns();
  const ActivationGrid grid(how, dtype);
  const auto from = rows_of(call.x);
  const auto to = rows_of(call.out);
  engine.pool.parallel_for(call.x.rows(), 16, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(width));
    for (int64_t t = begin; t < end; ++t) {
      engine.elements.load_row(from[t], dtype, width, row.data());
      for (int64_t first = 0; first < width; first += call.group) {
        float* const values = row.data() + first;
        const auto fixed = static_cast<size_t>(call.heads > 1 ? first / call.group : 0);
        const auto [low, high] = std::minmax_element(values, values + call.group);
        const ActivationScale scale = how.fixed_scales.empty()
            ? activation_scale(std::min(*low, 0.0f), std::max(*high, 0.0f), grid)
            : ActivationScale{
                  how.fixed_scales[fixed],
                  how.fixed_zero_points.empty() ? 0.0f : static_cast<float>(how.fixed_zero_points[fixed])};
        for (int64_t i = 0; i < call.group; ++i) values[i] = round_activation_value(values[i], scale, grid);
      }
      engine.elements.store_row(row.data(), nullptr, width, dtype, to[t]);
    }
  });
}

}  // namespace llmc::cpu
