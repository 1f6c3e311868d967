// Compresses one block with calibration data. Two ways through it:
//   sublayer  run up to a set of Linears that share an input, collect its Hessian over all tiles, quantize them, go on with the quantized weights:
//             one forward, and every set sees the error made before it;
//   layer     collect every Hessian of the block from its unquantized weights, quantize all, then run the block again (as llm-compressor does).
//             Transforms see a model none of which is quantized yet: survey() walks all of it first.
#pragma once
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/calibration/calibrator.hpp"
#include "core/calibration/static_activations.hpp"
#include "core/compressed_output.hpp"
#include "core/run_plan.hpp"
#include "llmc/oneshot.hpp"
#include "llmc/report.hpp"

namespace llmc {

// Linears of one shared input that are to be quantized.
struct CalibrationGroup {
  ValueId value = -1;
  size_t first_node = 0;
  std::vector<size_t> nodes;
};

class BlockCompressor {
 public:
  BlockCompressor(const Graph& graph, const ModifierList& modifiers, const RunPlan& plan, Compat compat, Calibrator& calibrator, Backend& backend, CompressedOutput& output, Report& report)
      : graph_(graph), modifiers_(modifiers), plan_(plan), compat_(compat), calibrator_(calibrator), backend_(backend), output_(output), report_(report) {}

  bool has_work(const Block& block) const;
  // layer only: one walk over the whole model before the first compress(), for what the transforms need to know. Restart the calibrator after it.
  bool needs_survey(const Block& block) const { return !pairs_of(block).empty(); }
  void survey(const Block& block, WeightTable& weights);
  int64_t run_count(const Block& block, Propagation propagation) const;  // how often compress() walks over all tiles
  int64_t survey_run_count(const Block& block) const { return needs_survey(block) ? 2 : 1; }
  void compress(const Block& block, WeightTable& weights, Propagation propagation) const;

 private:
  // Activations of one block whose scales are fixed, each with who watches it.
  struct Watched {
    StaticActivation activation;
    ActivationObserver observer;
  };
  std::vector<Watched> watched_in(const Block& block) const;
  void put_scales(const std::vector<Watched>& watched) const;

  struct PairWork {
    const Transform* transform;
    SmoothingPair pair;
  };
  std::vector<CalibrationGroup> groups_of(const Block& block) const;
  std::vector<PairWork> pairs_of(const Block& block) const;
  void transform(const Block& block, WeightTable& weights) const;  // with what the survey saw
  void by_sublayer(const Block& block, WeightTable& weights, std::vector<Watched>& watched) const;
  void by_layer(const Block& block, WeightTable& weights, std::vector<Watched>& watched) const;
  void quantize(const Block& block, const CalibrationGroup& group, const Statistics& statistics, WeightTable& weights) const;
  void quantize_embeddings(const Block& block, WeightTable& weights) const;
  Observation observation_of(const Block& block, const CalibrationGroup& group, Statistics& statistics) const;
  void run(const Block& block, const WeightTable& weights, size_t begin, size_t end, std::span<const Observation> observations, bool keep) const;

  const Graph& graph_;
  const ModifierList& modifiers_;
  const RunPlan& plan_;
  Compat compat_;
  Calibrator& calibrator_;
  Backend& backend_;
  CompressedOutput& output_;
  Report& report_;
  std::map<std::string, std::vector<Statistics>> surveyed_;  // by block name, one per pair
};

}  // namespace llmc
