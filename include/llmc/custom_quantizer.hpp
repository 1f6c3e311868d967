// A quantizer that the caller brings: called for each matrix with its statistics, named in recipes like any
// other.
#pragma once
#include <functional>
#include <string>

#include "llmc/scheme.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

struct Statistics;

// One matrix of one call; borrowed host memory.
struct CustomMatrix {
  const std::string& module;
  const QuantizationArgs& args;
  TensorView weight;  // [rows, columns], the model's dtype
  // f32, the scales' grid (qparams.hpp); what a code stands for is (code - zero point) * multiplier
  TensorView multipliers;
  TensorView zero_points;                  // i8, the same grid; data null when symmetric
  const Statistics* statistics = nullptr;  // of its inputs; the parts that were asked for
  TensorView codes;                        // [rows, columns] i8, f8_e4m3 or u8 fp4 codes
  std::byte* code_bytes = nullptr;         // the same memory: the nearest codes, to be changed
};

struct CustomQuantizer {
  // "MyModifier"; takes targets, ignore, scheme, config_groups and observers as the built-in ones do
  std::string type;
  bool needs_gram = false, needs_channels = false;
  std::function<void(const CustomMatrix&)> quantize;
};

}  // namespace llmc
