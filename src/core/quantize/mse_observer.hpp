// Observers of weights that try smaller (and larger) ranges than [min, max] and keep the one whose codes are
// nearest to the weights:
// memoryless_mse, mse, nvfp4_expanded_mse (fouroversix) and, with squared activations as weights, imatrix_mse
// and nvfp4_expanded_imatrix.
#pragma once
#include <optional>
#include <span>
#include <vector>

#include "core/quantize/qparams.hpp"

namespace llmc {

// Candidates are [min, max] * expand * (1 - step / grid); the error is sum |q - w| ^ norm (times importance);
// the first smallest wins.
struct RangeSearch {
  double max_shrink = 0.20, grid = 100.0, norm = 2.4, expand = 1.0;
  // the search of a whole weight ends after so many steps that improve none of its scales
  int64_t patience = 5;
  bool weighted = false;  // by the mean square of each input channel; float32 arithmetic
  bool strict = false;    // weighted: no importance is an error
  int64_t steps() const;
  bool patient(int64_t steps_without_gain) const;  // whether the search goes on
};

// What args.observer and args.observer_kwargs ask for; nothing for min-max observers. Error(invalid_argument)
// for an unknown observer or argument.
std::optional<RangeSearch> range_search(const QuantizationArgs& args);

// Why importance would not be used, as one line; empty when it is (or when nobody asks for it).
// Error(invalid_argument) instead when the search is strict.
std::string importance_fallback(const QuantizationArgs& args,
                                int64_t columns,
                                std::span<const float> importance);

// The importance of each input channel: the mean of its squares over `tokens`; empty when there were none.
std::vector<float> mean_squares(std::span<const double> sum_squares, int64_t tokens);

ValueRanges search_ranges(const TensorView& weight,
                          const QuantizationArgs& args,
                          const RangeSearch& search,
                          std::span<const float> importance,
                          const ParallelFor& parallel);
// Where the backend has a fast way, there. The weight may lie on its device.
ValueRanges search_ranges(const TensorView& weight,
                          const QuantizationArgs& args,
                          const RangeSearch& search,
                          std::span<const float> importance,
                          Backend& backend);
// observe_ranges, tile by tile
ValueRanges observe_in_tiles(const TensorView& weight,
                             const QuantizationArgs& args,
                             const ParallelFor& parallel);

}  // namespace llmc
