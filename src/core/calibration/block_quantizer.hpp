// What a recipe wants done in a block, and the quantizing itself. Where the statistics come from is its
// callers' business.
#pragma once
#include <span>
#include <vector>

#include "core/calibration/calibrated_run.hpp"

namespace llmc {

// Linears of one shared input that are to be quantized.
struct SharedInputJob {
  ValueId value = -1;
  size_t first_node = 0;
  std::vector<size_t> nodes;
};

struct PairWork {
  const Transform* transform;
  SmoothingPair pair;
  // The first node that must not run for good before it: what makes the channels, and Linears that share its
  // input, since they are quantized together.
  size_t first_node;
};

class BlockQuantizer {
 public:
  // forward_follows: quantized weights take the place of their originals, for a forward pass that sees what
  // the file's reader will see.
  BlockQuantizer(const CalibratedRun& run, bool forward_follows)
      : run_(run),
        forward_follows_(forward_follows) {}

  std::vector<SharedInputJob> groups_of(const Block& block) const;
  std::vector<PairWork> pairs_of(const Block& block) const;  // in execution order
  bool has_work(const Block& block) const;

  void quantize_embeddings(const Block& block, WeightTable& weights) const;
  // statistics: of each group
  void quantize(const Block& block,
                std::span<const SharedInputJob> groups,
                std::span<const Statistics> statistics,
                WeightTable& weights) const;
  void quantize(const Block& block,
                const SharedInputJob& group,
                const Statistics& statistics,
                WeightTable& weights) const {
    quantize(block, std::span(&group, 1), std::span(&statistics, 1), weights);
  }

 private:
  // Linears of one group with one quantizer and scheme: their rows are stacked.
  struct QuantizeJob {
    std::vector<const ModuleDecision*> decisions;
    const Statistics* statistics = nullptr;
    const Quantizer* quantizer() const { return decisions[0]->quantizer; }
  };
  // of one quantizer
  void quantize_sets(std::span<const QuantizeJob> jobs, WeightTable& weights) const;

  const CalibratedRun& run_;
  const bool forward_follows_;
};

}  // namespace llmc
