// Which activations of a block get their scale at calibration time: inputs and outputs of Linears, queries,
// keys and values of attentions.
#pragma once
#include <string>
#include <vector>

#include "core/plan/run_plan.hpp"
#include "llmc/graph.hpp"

namespace llmc {

struct StaticActivation {
  ValueId value = -1;
  const QuantizationArgs* args = nullptr;
  int64_t heads = 1;  // the value's, for a scale per head
  // the parameters are stored as "<name>_scale", "<name>_zero_point" or "<name>_global_scale" of each
  std::vector<std::string> names;
};

// One entry per value and args: q, k and v of one input share it.
std::vector<StaticActivation> static_activations(const Block& block, const RunPlan& plan);

}  // namespace llmc
