// Where NaN and Inf are refused: the same words wherever a tensor is not finite.
#pragma once
#include <optional>
#include <string>

#include "llmc/tensor.hpp"

namespace llmc {

// Index of the first NaN or infinity in row-major order. Integers have none.
std::optional<int64_t> first_non_finite(const TensorView& values);

// Throws Error(numeric) naming the tensor and the position of its first NaN or Inf. `values` are the tensor's
// from element `first` on.
void check_finite(const std::string& place,
                  const std::string& tensor,
                  const TensorView& values,
                  int64_t first = 0);
[[noreturn]] void refuse_non_finite(const std::string& place, const std::string& tensor, int64_t element);

}  // namespace llmc
