// Compresses one block with calibration data. Two ways through it:
//   sublayer  run up to a set of Linears that share an input, collect its Hessian over all tiles, quantize them, go on with the quantized weights:
//             one forward, and every set sees the error made before it;
//   layer     collect every Hessian of the block from its unquantized weights, quantize all, then run the block again (as llm-compressor does).
#pragma once
#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/calibration/calibrator.hpp"
#include "core/run_plan.hpp"
#include "llmc/oneshot.hpp"
#include "llmc/report.hpp"

namespace llmc {

struct QuantizedMatrix;

// Linears of one shared input that are to be quantized.
struct CalibrationGroup {
  ValueId value = -1;
  size_t first_node = 0;
  std::vector<size_t> nodes;
};

class BlockCompressor {
 public:
  using Sink = std::function<void(const Assignment&, const QuantizedMatrix&)>;
  BlockCompressor(const Graph& graph, const ModifierList& modifiers, const RunPlan& plan, Compat compat, Calibrator& calibrator, Backend& backend, Report& report, Sink sink)
      : graph_(graph), modifiers_(modifiers), plan_(plan), compat_(compat), calibrator_(calibrator), backend_(backend), report_(report), sink_(std::move(sink)) {}

  bool has_work(const Block& block) const;
  int64_t run_count(const Block& block, Propagation propagation) const;  // how often compress() walks over all tiles
  void compress(const Block& block, WeightTable& weights, Propagation propagation) const;

 private:
  struct PairWork {
    const Transform* transform;
    SmoothingPair pair;
  };
  std::vector<CalibrationGroup> groups_of(const Block& block) const;
  std::vector<PairWork> pairs_of(const Block& block) const;
  void by_sublayer(const Block& block, WeightTable& weights) const;
  void by_layer(const Block& block, WeightTable& weights) const;
  void quantize(const Block& block, const CalibrationGroup& group, const Statistics& statistics, WeightTable& weights) const;
  bool needs_gram(const Block& block, const CalibrationGroup& group) const;
  void run(const Block& block, const WeightTable& weights, size_t begin, size_t end, std::span<const Observation> observations, bool keep) const;

  const Graph& graph_;
  const ModifierList& modifiers_;
  const RunPlan& plan_;
  Compat compat_;
  Calibrator& calibrator_;
  Backend& backend_;
  Report& report_;
  Sink sink_;
};

}  // namespace llmc
