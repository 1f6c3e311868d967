#include "cpu/activation_rounding.hpp"

#include <algorithm>
#include <vector>

#include "core/quantize/activation_grid.hpp"
#include "llmc/error.hpp"

namespace llmc::cpu {

void round_activation(Engine& engine,
                      const ActivationQuantization& how,
                      const void* x,
                      DType dtype,
                      int64_t tokens,
                      int64_t width,
                      void* out) {
  const int64_t heads = std::max<int64_t>(1, static_cast<int64_t>(how.fixed_scales.size()));
  const int64_t group = how.group_size > 0 ? how.group_size : width / heads,
                item = static_cast<int64_t>(item_size(dtype));
  if (group <= 0 || width % group != 0 || (heads > 1 && width / group != heads))
    throw Error(ErrorCode::invalid_argument,
                "cpu: activations in groups of " + std::to_string(group) +
                    " channels does not divide a width of " + std::to_string(width));
  const ActivationGrid grid(how, dtype);
  engine.pool.parallel_for(tokens, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(width));
    for (int64_t t = begin; t < end; ++t) {
      engine.elements.load_row(static_cast<const std::byte*>(x) + t * width * item, dtype, width, row.data());
      for (int64_t first = 0; first < width; first += group) {
        float* const values = row.data() + first;
        const auto fixed = static_cast<size_t>(heads > 1 ? first / group : 0);
        const auto [low, high] = std::minmax_element(values, values + group);
        const ActivationScale scale = how.fixed_scales.empty()
            ? activation_scale(std::min(*low, 0.0f), std::max(*high, 0.0f), grid)
            : ActivationScale{
                  how.fixed_scales[fixed],
                  how.fixed_zero_points.empty() ? 0.0f : static_cast<float>(how.fixed_zero_points[fixed])};
        for (int64_t i = 0; i < group; ++i) values[i] = round_activation_value(values[i], scale, grid);
      }
      engine.elements.store_row(row.data(), nullptr, width, dtype,
                                static_cast<std::byte*>(out) + t * width * item);
    }
  });
}

}  // namespace llmc::cpu
