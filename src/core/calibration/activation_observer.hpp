// The scale of an activation that is fixed at calibration time: an input or output of a Linear, the keys and
// values of an attention.
#pragma once
#include <string>
#include <vector>

#include "core/quantize/qparams.hpp"
#include "llmc/backend.hpp"
#include "llmc/scheme.hpp"

namespace llmc {

// Follows the range of one activation over the calibration sequences, one at a time, as the observer its args
// name does (llm-compressor's observers): memoryless_minmax keeps the last sequence, static_minmax all of
// them, minmax a moving average; memoryless_mse and mse likewise, with the range of least squared error
// within each sequence.
class ActivationObserver {
 public:
  // heads: scales of an attn_head strategy, each over width / heads channels; otherwise 1. `dtype`: the
  // model's. Error(unsupported) for an observer or a strategy it does not know
  ActivationObserver(const QuantizationArgs& args, int64_t heads, DType dtype);
  void add(const TensorView& sequence, Backend& backend);  // [tokens, width]
  // Static: scales and zero points, [1] or [heads, 1, 1]. Dynamic::local (NVFP4): global_scale alone.
  QuantizationParameters parameters() const;

 private:
  ValueRanges extent(const TensorView& sequence, Backend& backend) const;
  ValueRanges searched(const TensorView& sequence, Backend& backend) const;

  QuantizationArgs args_;
  int64_t heads_;
  DType dtype_;
  double averaging_constant_;  // how much a new sequence weighs in a moving average
  bool seen_ = false;
  ValueRanges ranges_;
};

}  // namespace llmc
