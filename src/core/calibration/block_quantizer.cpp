#include "core/calibration/block_quantizer.hpp"

#include <algorithm>

#include "core/calibration/static_activations.hpp"
#include "core/quantize/row_tiles.hpp"
#include "core/progress/run_clock.hpp"
#include "llmc/memory.hpp"

namespace llmc {

std::vector<SharedInputJob> BlockQuantizer::groups_of(const Block& block) const {
  std::vector<SharedInputJob> groups;
  for (const SharedInput& shared : shared_inputs(block)) {
    SharedInputJob group{shared.value, shared.nodes.front(), {}};
    for (size_t node : shared.nodes)
      if (run_.plan.find(block.nodes[node].name)) group.nodes.push_back(node);
    if (!group.nodes.empty()) groups.push_back(std::move(group));
  }
  return groups;
}

std::vector<PairWork> BlockQuantizer::pairs_of(const Block& block) const {
  std::vector<PairWork> work;
  for (const Transform* transform : run_.modifiers.transforms)
    for (SmoothingPair& pair : transform->select(run_.graph, block)) {
      size_t first = pair.smooth;
      for (const SharedInput& shared : shared_inputs(block))
        if (std::find(shared.nodes.begin(), shared.nodes.end(), first) != shared.nodes.end())
          first = shared.nodes.front();
      work.push_back({transform, std::move(pair), first});
    }
  std::stable_sort(work.begin(), work.end(),
                   [](const PairWork& a, const PairWork& b) { return a.first_node < b.first_node; });
  return work;
}

bool BlockQuantizer::has_work(const Block& block) const {
  const bool embeds = std::any_of(block.nodes.begin(), block.nodes.end(), [&](const Node& node) {
    return std::holds_alternative<Embedding>(node.operation) && run_.plan.find(node.name);
  });
  return embeds || !groups_of(block).empty() || !pairs_of(block).empty() ||
      !static_activations(block, run_.plan).empty();
}

void BlockQuantizer::quantize_embeddings(const Block& block, WeightTable& weights) const {
  for (size_t i = 0; i < block.nodes.size(); ++i)
    if (std::holds_alternative<Embedding>(block.nodes[i].operation) && run_.plan.find(block.nodes[i].name))
      quantize(block, SharedInputJob{-1, i, {i}}, {}, weights);
}

void BlockQuantizer::quantize(const Block& block,
                              std::span<const SharedInputJob> groups,
                              std::span<const Statistics> statistics,
                              WeightTable& weights) const {
  std::vector<QuantizeJob> sets;
  for (size_t g = 0; g < groups.size(); ++g) {
    const auto of_group = static_cast<std::ptrdiff_t>(sets.size());
    for (size_t node : groups[g].nodes) {
      const ModuleDecision* decision = run_.plan.find(block.nodes[node].name);
      const auto same = std::find_if(sets.begin() + of_group, sets.end(), [&](const QuantizeJob& set) {
        return set.quantizer() == decision->quantizer && set.decisions[0]->scheme == decision->scheme;
      });
      if (same != sets.end()) same->decisions.push_back(decision);
      else sets.push_back({{decision}, groups[g].value < 0 ? nullptr : &statistics[g]});
    }
  }
  // A device solves several sets of a block side by side; on the host that would only hold more results in memory.
  for (size_t begin = 0, end = 0; begin < sets.size(); begin = end) {
    for (end = begin + 1; run_.backend.device() != Device{} && end < sets.size() &&
         sets[end].quantizer() == sets[begin].quantizer();)
      ++end;
    quantize_sets(std::span(sets).subspan(begin, end - begin), weights);
  }
}

void BlockQuantizer::quantize_sets(std::span<const QuantizeJob> jobs, WeightTable& weights) const {
  std::vector<MatrixSet> sets;
  for (const QuantizeJob& one : jobs) {
    MatrixSet& set = sets.emplace_back(MatrixSet{{}, one.decisions[0]->scheme, one.statistics});
    for (const ModuleDecision* decision : one.decisions)
      set.jobs.push_back({decision->weight.module.name, weights.at(decision->weight.weight)});
  }
  const Quantizer* const quantizer = jobs[0].quantizer();
  const size_t first_row = run_.report.linears.size();
  const Stopwatch watch;
  const MemoryScope codes(MemoryPurpose::output);
  const std::vector<std::vector<QuantizedMatrix>> results = quantizer->quantize_all(sets, run_.backend,
                                                                                    run_.report.linears);
  const double seconds = watch.seconds();
  run_.report.quantization_seconds += seconds;
  for (size_t i = first_row; i < run_.report.linears.size(); ++i)
    run_.report.linears[i].seconds = seconds / static_cast<double>(run_.report.linears.size() - first_row);

  // rounding to nearest leaves the weights alone under --compat reference
  const bool propagates = forward_follows_ &&
      (quantizer->needs_gram() || run_.options.compat == Compat::vllm);
  for (size_t s = 0; s < results.size(); ++s)
    for (size_t i = 0; i < results[s].size(); ++i) {
      const ModuleDecision& decision = *jobs[s].decisions[i];
      {
        const Timed timed(run_.report.writing_seconds);
        run_.output.put_quantized(decision, results[s][i]);
      }
      const MemoryScope decoded(MemoryPurpose::weights);
      if (propagates)
        weights.at(decision.weight.weight) = dequantize_for_forward(results[s][i], decision.weight.dtype,
                                                                    run_.backend);
    }
}

}  // namespace llmc
