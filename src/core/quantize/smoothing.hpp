// SmoothQuant's arithmetic (arXiv 2211.10438): scales from the ranges of activations and the largest weights,
// and their use on weights.
#pragma once
#include <cmath>
#include <span>
#include <vector>

#include "core/quantize/number_formats.hpp"
#include "llmc/backend.hpp"

namespace llmc {

struct SmoothingRule {
  float strength = 0.5f;
  bool logarithmic = false;  // range / log2(2 + range): no weights, no strength
  // every step is rounded to it, as the reference computes in the model's dtype
  DType rounding = DType::f32;
};

// largest[j] = max(largest[j], |weight[r][j]|) over all rows. weight: [rows, columns]; largest: [columns],
// grown from empty.
void raise_column_maxima(const TensorView& weight, std::vector<float>& largest);

// s_j = range(x_j)^a / (2 max|W_j|)^(1 - a), at least 1e-5. All spans have one entry per channel. `what`
// starts the message of Error(numeric).
std::vector<float> smoothing_scales(std::span<const float> minimum,
                                    std::span<const float> maximum,
                                    std::span<const float> weight_maximum,
                                    const SmoothingRule& rule,
                                    std::string_view what);

// Value (r, j) becomes factor(value, j), rounded once to the dtype. data: [rows, columns].
template <class Factor>
void change_columns(std::byte* data, DType dtype, int64_t rows, int64_t columns, Factor factor) {
  std::vector<float> row(static_cast<size_t>(columns));
  const int64_t row_bytes = columns * static_cast<int64_t>(item_size(dtype));
  for (int64_t r = 0; r < rows; ++r) {
    std::byte* bytes = data + r * row_bytes;
    to_float(bytes, dtype, columns, row.data());
    for (int64_t j = 0; j < columns; ++j)
      row[static_cast<size_t>(j)] = factor(row[static_cast<size_t>(j)], static_cast<size_t>(j));
    from_float(row.data(), columns, dtype, bytes);
  }
}

void use_smoothing_scales(std::byte* data,
                          DType dtype,
                          int64_t rows,
                          std::span<const float> scales,
                          SmoothingUse use);
// data: [scales.size(), columns]
void divide_rows(std::byte* data, DType dtype, int64_t columns, std::span<const float> scales);

}  // namespace llmc
