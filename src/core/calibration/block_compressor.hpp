// Compresses one block with calibration data. Two ways through it:
//   sublayer  run up to a set of Linears that share an input, collect its Hessian over all tiles, quantize
//   them, go on with the quantized weights:
//             one forward, and every set sees the error made before it;
//   layer     collect every Hessian of the block from its unquantized weights, quantize all,
//             then run the block again (as llm-compressor does).
//             Transforms see a model none of which is quantized yet: survey() walks all of it first.
#pragma once
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/calibration/block_quantizer.hpp"
#include "core/calibration/calibrator.hpp"
#include "core/calibration/static_activations.hpp"

namespace llmc {

class BlockCompressor {
 public:
  BlockCompressor(const CalibratedRun& run, Calibrator& calibrator)
      : run_(run),
        quantizer_(run, true),
        calibrator_(calibrator) {}

  bool has_work(const Block& block) const { return quantizer_.has_work(block); }
  // layer only: one walk over the whole model before the first compress(), for what the transforms need to
  // know. Restart the calibrator after it.
  bool needs_survey(const Block& block) const { return !quantizer_.pairs_of(block).empty(); }
  // `last`: no block follows, so nodes whose outputs nothing reads are not run.
  void survey(const Block& block, WeightTable& weights, bool last);
  int64_t survey_run_count(const Block& block, bool last) const {
    return (needs_survey(block) ? 1 : 0) + (last ? 0 : 1);
  }
  void compress(const Block& block, WeightTable& weights, Propagation propagation, bool last) const;
  // how often compress() walks over all tiles
  int64_t run_count(const Block& block, Propagation propagation, bool last) const;

 private:
  // The activations of one block with scales fixed at calibration time, each with its observer.
  struct Watched {
    StaticActivation activation;
    ActivationObserver observer;
  };
  std::vector<Watched> watched_in(const Block& block) const;
  void put_scales(const std::vector<Watched>& watched) const;

  void transform(const Block& block, WeightTable& weights) const;  // with what the survey saw
  void by_sublayer(const Block& block, WeightTable& weights, std::vector<Watched>& watched, bool last) const;
  void by_layer(const Block& block, WeightTable& weights, std::vector<Watched>& watched, bool last) const;
  static Observation observation_of(const PairWork& work, Statistics& statistics);
  Observation observation_of(const Block& block, const SharedInputJob& group, Statistics& statistics) const;
  void run(const Block& block,
           const WeightTable& weights,
           size_t begin,
           size_t end,
           std::span<const Observation> observations,
           bool keep) const;

  const CalibratedRun& run_;
  const BlockQuantizer quantizer_;
  Calibrator& calibrator_;
  std::map<std::string, std::vector<Statistics>> surveyed_;  // by block name, one per pair
};

}  // namespace llmc
