#include "core/calibration/block_quantizer.hpp"

#include <algorithm>

#include "core/calibration/static_activations.hpp"
#include "core/quantize/row_tiles.hpp"
#include "core/run_clock.hpp"

namespace llmc {

std::vector<CalibrationGroup> BlockQuantizer::groups_of(const Block& block) const {
  std::vector<CalibrationGroup> groups;
  for (const SharedInput& shared : shared_inputs(block)) {
    CalibrationGroup group{shared.value, shared.nodes.front(), {}};
    for (size_t node : shared.nodes)
      if (run_.plan.find(block.nodes[node].name)) group.nodes.push_back(node);
    if (!group.nodes.empty()) groups.push_back(std::move(group));
  }
  return groups;
}

std::vector<PairWork> BlockQuantizer::pairs_of(const Block& block) const {
  std::vector<PairWork> work;
  for (const Transform* transform : run_.modifiers.transforms)
    for (SmoothingPair& pair : transform->select(run_.graph, block)) work.push_back({transform, std::move(pair)});
  std::stable_sort(work.begin(), work.end(), [](const PairWork& a, const PairWork& b) { return a.pair.smooth < b.pair.smooth; });
  return work;
}

bool BlockQuantizer::has_work(const Block& block) const {
  const bool embeds = std::any_of(block.nodes.begin(), block.nodes.end(), [&](const Node& node) { return std::holds_alternative<Embedding>(node.operation) && run_.plan.find(node.name); });
  return embeds || !groups_of(block).empty() || !pairs_of(block).empty() || !static_activations(block, run_.plan).empty();
}

void BlockQuantizer::quantize_embeddings(const Block& block, WeightTable& weights) const {
  for (size_t i = 0; i < block.nodes.size(); ++i)
    if (std::holds_alternative<Embedding>(block.nodes[i].operation) && run_.plan.find(block.nodes[i].name)) quantize(block, {-1, i, {i}}, {}, weights);
}

void BlockQuantizer::quantize(const Block& block, const CalibrationGroup& group, const Statistics& statistics, WeightTable& weights) const {
  std::vector<std::vector<const Assignment*>> calls;  // one per quantizer and scheme: rows are stacked
  for (size_t node : group.nodes) {
    const Assignment* assignment = run_.plan.find(block.nodes[node].name);
    const auto same = std::find_if(calls.begin(), calls.end(), [&](const auto& call) { return call[0]->quantizer == assignment->quantizer && call[0]->scheme == assignment->scheme; });
    if (same != calls.end()) same->push_back(assignment);
    else calls.push_back({assignment});
  }
  for (const std::vector<const Assignment*>& assignments : calls) {
    const Quantizer* const quantizer = assignments[0]->quantizer;
    const Scheme* const scheme = assignments[0]->scheme;
    std::vector<MatrixJob> jobs;
    for (const Assignment* assignment : assignments) jobs.push_back({assignment->weight.module.name, weights.at(assignment->weight.tensor)});
    const size_t first_row = run_.report.linears.size();
    Stopwatch watch;
    std::vector<QuantizedMatrix> results = quantizer->quantize(jobs, *scheme, group.value < 0 ? nullptr : &statistics, run_.backend, run_.report.linears);
    const double seconds = watch.seconds();
    run_.report.quantization_seconds += seconds;
    for (size_t i = first_row; i < run_.report.linears.size(); ++i) run_.report.linears[i].seconds = seconds / static_cast<double>(jobs.size());

    const bool propagates = forward_follows_ && (quantizer->needs_gram() || run_.options.compat == Compat::vllm);  // rounding to nearest leaves the weights alone under --compat reference
    for (size_t i = 0; i < results.size(); ++i) {
      {
        const Timed timed(run_.report.writing_seconds);
        run_.output.put_quantized(*assignments[i], results[i]);
      }
      if (propagates) weights.at(assignments[i]->weight.tensor) = dequantize_for_forward(results[i], assignments[i]->weight.dtype, run_.backend);
    }
  }
}

}  // namespace llmc
