// Scales that move from activations into weights, on tensors of the host or of a backend's device.
#pragma once
#include <span>
#include <vector>

#include "llmc/tensor.hpp"

namespace llmc {

// What a smoothing scale does to a tensor whose last dimension are the channels: a reader's weight is
// multiplied; a norm's weight and bias are divided, (1 + weight) where that is what the norm multiplies by.
enum class SmoothingUse { multiply, divide, divide_plus_one };

// core/quantize/smoothing.hpp, bit for bit.
class SmoothingKernels {
 public:
  virtual ~SmoothingKernels() = default;

  virtual void raise_column_maxima(const TensorView& weight,
                                   std::vector<float>& largest) = 0;  // [columns], grown from empty
  virtual void use_smoothing_scales(Tensor& tensor, std::span<const float> scales, SmoothingUse use) = 0;
  // row r of a weight [rows, columns] over scales[r]: what the Linear makes is divided by them
  virtual void divide_rows(Tensor& weight, std::span<const float> scales) = 0;
};

}  // namespace llmc
