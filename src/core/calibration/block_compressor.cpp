#include "core/calibration/block_compressor.hpp"

#include <algorithm>
#include <map>

#include "core/quantize/row_tiles.hpp"
#include "core/run_clock.hpp"

namespace llmc {

namespace {

// Whether nodes [begin, end) make `value`; the block's input counts as made by its first node.
bool is_made_in(const Block& block, ValueId value, size_t begin, size_t end) {
  if (value == block.input) return begin == 0 && end > 0;
  return std::any_of(block.nodes.begin() + static_cast<std::ptrdiff_t>(begin), block.nodes.begin() + static_cast<std::ptrdiff_t>(end), [&](const Node& node) { return node.output == value; });
}

}  // namespace

std::vector<CalibrationGroup> BlockCompressor::groups_of(const Block& block) const {
  std::vector<CalibrationGroup> groups;
  for (const SharedInput& shared : shared_inputs(block)) {
    CalibrationGroup group{shared.value, shared.nodes.front(), {}};
    for (size_t node : shared.nodes)
      if (plan_.find(block.nodes[node].name)) group.nodes.push_back(node);
    if (!group.nodes.empty()) groups.push_back(std::move(group));
  }
  return groups;
}

std::vector<BlockCompressor::PairWork> BlockCompressor::pairs_of(const Block& block) const {
  std::vector<PairWork> work;
  for (const Transform* transform : modifiers_.transforms)
    for (SmoothingPair& pair : transform->select(graph_, block)) work.push_back({transform, std::move(pair)});
  std::stable_sort(work.begin(), work.end(), [](const PairWork& a, const PairWork& b) { return a.pair.smooth < b.pair.smooth; });
  return work;
}

std::vector<BlockCompressor::Watched> BlockCompressor::watched_in(const Block& block) const {
  std::vector<Watched> watched;
  for (StaticActivation& activation : static_activations(block, plan_)) {
    ActivationObserver observer(*activation.args, activation.heads, graph_.dtype);
    watched.push_back({std::move(activation), std::move(observer)});
  }
  return watched;
}

void BlockCompressor::put_scales(const std::vector<Watched>& watched) const {
  for (const auto& [activation, observer] : watched) {
    const QuantizationParameters parameters = observer.parameters();
    for (const std::string& name : activation.names) output_.put_activation(name, parameters);
  }
}

bool BlockCompressor::has_work(const Block& block) const {
  const bool embeds = std::any_of(block.nodes.begin(), block.nodes.end(), [&](const Node& node) { return std::holds_alternative<Embedding>(node.operation) && plan_.find(node.name); });
  return embeds || !groups_of(block).empty() || !pairs_of(block).empty() || !static_activations(block, plan_).empty();
}

int64_t BlockCompressor::run_count(const Block& block, Propagation propagation) const {
  const int64_t groups = static_cast<int64_t>(groups_of(block).size()), pairs = static_cast<int64_t>(pairs_of(block).size());
  if (propagation == Propagation::layer) return (groups || !static_activations(block, plan_).empty() ? 1 : 0) + 1;
  return 2 * pairs + groups + 1;
}

Observation BlockCompressor::observation_of(const Block& block, const CalibrationGroup& group, Statistics& statistics) const {
  Observation observation{group.value, false, false, &statistics, nullptr};
  for (size_t node : group.nodes) {
    const Assignment& assignment = *plan_.find(block.nodes[node].name);
    observation.gram |= assignment.quantizer->needs_gram();
    observation.channels |= assignment.quantizer->needs_channels(*assignment.scheme);
  }
  return observation;
}

void BlockCompressor::quantize_embeddings(const Block& block, WeightTable& weights) const {
  for (size_t i = 0; i < block.nodes.size(); ++i)
    if (std::holds_alternative<Embedding>(block.nodes[i].operation) && plan_.find(block.nodes[i].name)) quantize(block, {-1, i, {i}}, {}, weights);
}

void BlockCompressor::run(const Block& block, const WeightTable& weights, size_t begin, size_t end, std::span<const Observation> observations, bool keep) const {
  const Timed timed(report_.calibration_seconds);
  calibrator_.run(block, weights, begin, end, observations, keep);
}

void BlockCompressor::compress(const Block& block, WeightTable& weights, Propagation propagation) const {
  std::vector<Watched> watched = watched_in(block);
  quantize_embeddings(block, weights);
  if (propagation == Propagation::sublayer) by_sublayer(block, weights, watched);
  else by_layer(block, weights, watched);
  put_scales(watched);
}

void BlockCompressor::by_sublayer(const Block& block, WeightTable& weights, std::vector<Watched>& watched) const {
  const auto pairs = pairs_of(block);
  auto next_pair = pairs.begin();
  size_t at = 0;
  const auto advance = [&](size_t to, std::vector<Observation> observations) {
    for (Watched& one : watched)
      if (is_made_in(block, one.activation.value, at, to)) observations.push_back({one.activation.value, false, false, nullptr, &one.observer});
    run(block, weights, at, to, observations, true);
    at = to;
  };
  // A norm that is smoothed runs twice: once to see its channels, once with its new weight.
  const auto smooth_before = [&](size_t node) {
    for (; next_pair != pairs.end() && next_pair->pair.smooth < node; ++next_pair) {
      const size_t norm = next_pair->pair.smooth;
      advance(norm, {});
      Statistics statistics;
      const Observation channels{block.nodes[norm].output, true, false, &statistics, nullptr};
      run(block, weights, at, norm + 1, std::span(&channels, 1), false);
      next_pair->transform->apply(block, next_pair->pair, statistics, weights);
    }
  };
  for (const CalibrationGroup& group : groups_of(block)) {
    smooth_before(group.first_node);
    Statistics statistics;
    advance(group.first_node, {observation_of(block, group, statistics)});
    quantize(block, group, statistics, weights);
  }
  smooth_before(block.nodes.size());
  advance(block.nodes.size(), {});
}

void BlockCompressor::survey(const Block& block, WeightTable& weights) {
  const auto pairs = pairs_of(block);
  const size_t end = block.nodes.size();
  if (!pairs.empty()) {
    std::vector<Statistics>& statistics = surveyed_[block.name];
    statistics.resize(pairs.size());
    std::vector<Observation> observations;
    for (size_t i = 0; i < pairs.size(); ++i) observations.push_back({block.nodes[pairs[i].pair.smooth].output, true, false, &statistics[i], nullptr});
    run(block, weights, 0, end, observations, false);
    transform(block, weights);
  }
  run(block, weights, 0, end, {}, true);
}

void BlockCompressor::transform(const Block& block, WeightTable& weights) const {
  const auto pairs = pairs_of(block);
  for (size_t i = 0; i < pairs.size(); ++i) pairs[i].transform->apply(block, pairs[i].pair, surveyed_.at(block.name)[i], weights);
}

void BlockCompressor::by_layer(const Block& block, WeightTable& weights, std::vector<Watched>& watched) const {
  const size_t end = block.nodes.size();
  const auto groups = groups_of(block);
  transform(block, weights);
  if (!groups.empty() || !watched.empty()) {
    std::vector<Statistics> statistics(groups.size());
    std::vector<Observation> observations;
    for (size_t i = 0; i < groups.size(); ++i) observations.push_back(observation_of(block, groups[i], statistics[i]));
    for (Watched& one : watched) observations.push_back({one.activation.value, false, false, nullptr, &one.observer});
    run(block, weights, 0, watched.empty() ? groups.back().first_node : end, observations, false);
    for (size_t i = 0; i < groups.size(); ++i) quantize(block, groups[i], statistics[i], weights);
  }
  run(block, weights, 0, end, {}, true);
}

void BlockCompressor::quantize(const Block& block, const CalibrationGroup& group, const Statistics& statistics, WeightTable& weights) const {
  std::map<std::pair<const Quantizer*, const Scheme*>, std::vector<const Assignment*>> calls;  // one call per quantizer and scheme: rows are stacked
  for (size_t node : group.nodes) {
    const Assignment* assignment = plan_.find(block.nodes[node].name);
    calls[{assignment->quantizer, assignment->scheme}].push_back(assignment);
  }
  for (const auto& [key, assignments] : calls) {
    const auto [quantizer, scheme] = key;
    std::vector<MatrixJob> jobs;
    for (const Assignment* assignment : assignments) jobs.push_back({assignment->weight.module.name, weights.at(assignment->weight.tensor)});
    const size_t first_row = report_.linears.size();
    Stopwatch watch;
    std::vector<QuantizedMatrix> results = quantizer->quantize(jobs, *scheme, group.value < 0 ? nullptr : &statistics, backend_, report_.linears);
    const double seconds = watch.seconds();
    report_.quantization_seconds += seconds;
    for (size_t i = first_row; i < report_.linears.size(); ++i) report_.linears[i].seconds = seconds / static_cast<double>(jobs.size());

    // Later layers see what the file's reader will see; rounding to nearest leaves the weights alone under --compat reference.
    const bool propagates = quantizer->needs_gram() || compat_ == Compat::vllm;
    for (size_t i = 0; i < results.size(); ++i) {
      {
        const Timed timed(report_.writing_seconds);
        output_.put_quantized(*assignments[i], results[i]);
      }
      if (propagates) weights.at(assignments[i]->weight.tensor) = dequantize_for_forward(results[i], assignments[i]->weight.dtype, backend_);
    }
  }
}

}  // namespace llmc
