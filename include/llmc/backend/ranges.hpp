// The search for the range of a scale that loses least.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "llmc/scheme.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

// The ranges that a searching observer tries for every scale of a weight: [min, max] * expand * shrinks[i],
// each product rounded to the weight's dtype (core/quantize/mse_observer.hpp).
struct RangeTrials {
  TensorView weight;  // [rows, columns] bf16, f16 or f32
  const QuantizationArgs* args = nullptr;
  float expand = 1;
  // [steps]; empty: only the ranges of the values are wanted, zero included
  std::span<const float> shrinks;
  // |difference|^norm by the 15 bits of a |difference| in the weight's dtype [32768]; empty: computed in
  // float32
  std::span<const float> powers;
  float norm = 2;
  std::span<const float> importance;  // [columns]: what errors are multiplied by; empty: one
  float largest = 0;                  // only errors below it can win
  bool sums_rounded = true;           // to the weight's dtype, before they are compared
  // a scale for the whole tensor: errors are summed over so many rows at a time
  int64_t tile_rows = 64;
};
struct RangesTried {
  // of each scale: the first range of the smallest error; per-tensor: [1], of the values, zero included
  std::vector<float> min, max;
  // [steps]: whether the step was better than all before it for any scale; per-tensor: empty
  std::vector<uint8_t> improved;
  std::vector<float> errors;  // per-tensor: [tiles, steps], the sums; otherwise empty
};

class RangeKernels {
 public:
  virtual ~RangeKernels() = default;

  // Bit for bit what core/quantize/mse_observer.cpp finds. Nothing: values that are not finite, which are left
  // to the definition, and weights that there is no kernel for.
  virtual std::optional<RangesTried> try_ranges(const RangeTrials& trials) = 0;
};

}  // namespace llmc
