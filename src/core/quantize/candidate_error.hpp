// What a candidate scale costs: the error of values that go to the grid and back, raised to a power, summed.
// Bit for bit as torch computes it on a CPU, because a search for the smallest error must see the same ties;
// the same bits on every instruction set.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "llmc/scheme.hpp"

namespace llmc {

// |difference| ^ norm. Half-width dtypes are 32768 numbers: looked up. There the exponent too is rounded to
// the dtype (2.4 is 2.40625 in bfloat16).
class ErrorPower {
 public:
  // `widened`: float32 arithmetic whatever the dtype of the weight (imatrix_mse).
  ErrorPower(double norm, DType dtype, bool widened);
  // [32768] by the bits of a value; empty: there is none
  std::span<const float> table() const { return table_; }
  float norm() const { return norm_; }

 private:
  DType dtype_;
  float norm_ = 2;
  std::vector<float> table_;
};

// Values that one scale covers, and how they are rounded.
struct Candidate {
  const float* values = nullptr;  // [count], numbers of `dtype`
  int64_t count = 0;
  // quotients and products are rounded to it; differences too, unless the power is widened
  DType dtype = DType::bf16;
  NumberType type = NumberType::integer;
  int num_bits = 4;
  float scale = 1, zero_point = 0;
  bool symmetric = true;
  const float* importance = nullptr;  // [count]; null: every value counts the same. Needs a widened power
};

// errors[i] = power(|fake_quantize(values[i]) - values[i]|) * importance[i]
void candidate_errors(const Candidate& candidate, const ErrorPower& power, float* errors);

// float32 sum in the order of torch.sum over a contiguous last dimension; `paired`: of bfloat16 or float16
// numbers.
float torch_ordered_sum(const float* values, int64_t count, bool paired);

}  // namespace llmc
