// What is measured of values and weights: sums, extents and losses.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "llmc/backend/execution.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

// Per-channel statistics of one value over all tokens seen. Sums are kept in double so that they can be
// merged.
struct ChannelStatistics {
  int64_t tokens = 0;
  std::vector<float> min, max;               // [width]
  std::vector<double> sum_abs, sum_squares;  // [width]
};

// What a scan over values finds. Zero counts as one of them.
struct ValueExtent {
  float min = 0, max = 0;
  std::optional<int64_t> first_non_finite;  // nothing else is valid then
};

class StatisticsKernels {
 public:
  virtual ~StatisticsKernels() = default;

  // gram[i][j] += sum over tokens of x[t][i] * x[t][j], for j <= i only. x: [tokens, n] f32 or bf16; gram:
  // [n, n] f32. float32 accumulation.
  virtual void accumulate_gram(const TensorView& x, Tensor& gram) = 0;
  virtual void accumulate_channels(const TensorView& x, ChannelStatistics& statistics) = 0;
  virtual ValueExtent scan(const TensorView& values) = 0;  // any floating dtype

  // For each token t < tokens - 1 that is not the last of its sequence: -log p(next token). logits: [tokens,
  // vocabulary]. When reference logits are given (same shape), also sum over those tokens KL(reference ||
  // logits) and the count of equal arg max.
  struct CrossEntropy {
    double negative_log_likelihood = 0, kl = 0;
    int64_t tokens = 0, top1 = 0;
  };
  virtual CrossEntropy cross_entropy(const TensorView& logits,
                                     const TensorView* reference_logits,
                                     const TokenBatch& batch) = 0;
};

}  // namespace llmc
