#include "core/quantize/smoothing.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "llmc/error.hpp"

namespace llmc {

void raise_column_maxima(const TensorView& weight, std::vector<float>& largest) {
  std::vector<float> row(static_cast<size_t>(weight.columns()));
  largest.resize(row.size(), 0.0f);
  for (int64_t r = 0; r < weight.rows(); ++r) {
    to_float(weight.row_range(r, r + 1), row.data());
    for (size_t j = 0; j < row.size(); ++j) largest[j] = std::max(largest[j], std::fabs(row[j]));
  }
}

std::vector<float> smoothing_scales(std::span<const float> minimum,
                                    std::span<const float> maximum,
                                    std::span<const float> weight_maximum,
                                    const SmoothingRule& rule,
                                    std::string_view what) {
  constexpr float kSmallestScale = 1e-5f;
  const auto rounded = [&](float value) { return round_to(value, rule.rounding); };
  std::vector<float> scales(maximum.size());
  for (size_t j = 0; j < scales.size(); ++j) {
    const float range = rounded(maximum[j] - minimum[j]), weight = rounded(2.0f * weight_maximum[j]);
    float s = range;
    if (rule.logarithmic) s = rounded(range / rounded(std::log2(rounded(2.0f + range))));
    else if (weight > 0.0f)
      s = rounded(rounded(std::pow(range, rule.strength)) / rounded(std::pow(weight, 1.0f - rule.strength)));
    if (!std::isfinite(s))
      throw Error(ErrorCode::numeric,
                  fmt::format("{}: channel {} has range {} and largest weight {}: its scale is not finite",
                              what, j, range, weight_maximum[j]));
    scales[j] = std::max(s, kSmallestScale);
  }
  return scales;
}

void use_smoothing_scales(std::byte* data,
                          DType dtype,
                          int64_t rows,
                          std::span<const float> scales,
                          SmoothingUse use) {
  const auto columns = static_cast<int64_t>(scales.size());
  switch (use) {
    case SmoothingUse::multiply:
      return change_columns(data, dtype, rows, columns, [&](float w, size_t j) { return w * scales[j]; });
    case SmoothingUse::divide:
      return change_columns(data, dtype, rows, columns, [&](float w, size_t j) { return w / scales[j]; });
    case SmoothingUse::divide_plus_one:
      return change_columns(data, dtype, rows, columns,
                            [&](float w, size_t j) { return (w + 1.0f) / scales[j] - 1.0f; });
  }
}

void divide_rows(std::byte* data, DType dtype, int64_t columns, std::span<const float> scales) {
  const int64_t row_bytes = columns * static_cast<int64_t>(item_size(dtype));
  for (size_t row = 0; row < scales.size(); ++row)
    change_columns(data + static_cast<int64_t>(row) * row_bytes, dtype, 1, columns,
                   [&](float w, size_t) { return w / scales[row]; });
}

}  // namespace llmc
