// The grid that codes live on: what GPTQ kernels and the rounding of activations are told of a scheme.
#pragma once
#include "llmc/scheme.hpp"

namespace llmc {

struct NumberGrid {
  NumberType type = NumberType::integer;
  int num_bits = 4;
  bool symmetric = true;
};

}  // namespace llmc
