#include "core/calibration/block_compressor.hpp"

#include <algorithm>

#include "core/progress/run_clock.hpp"

namespace llmc {

namespace {

// Whether nodes [begin, end) make `value`; the block's input counts as made by its first node.
bool is_made_in(const Block& block, ValueId value, size_t begin, size_t end) {
  if (value == block.input) return begin == 0 && end > 0;
  return std::any_of(block.nodes.begin() + static_cast<std::ptrdiff_t>(begin),
                     block.nodes.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](const Node& node) { return node.output == value; });
}

// One past the node that makes `value`.
size_t made_until(const Block& block, ValueId value) {
  const auto maker = std::find_if(block.nodes.begin(), block.nodes.end(),
                                  [&](const Node& node) { return node.output == value; });
  return static_cast<size_t>(maker - block.nodes.begin()) + 1;
}

}  // namespace

std::vector<BlockCompressor::Watched> BlockCompressor::watched_in(const Block& block) const {
  std::vector<Watched> watched;
  for (StaticActivation& activation : static_activations(block, run_.plan)) {
    ActivationObserver observer(*activation.args, activation.heads, run_.graph.dtype);
    watched.push_back({std::move(activation), std::move(observer)});
  }
  return watched;
}

void BlockCompressor::put_scales(const std::vector<Watched>& watched) const {
  for (const auto& [activation, observer] : watched) {
    const QuantizationParameters parameters = observer.parameters();
    for (const std::string& name : activation.names) run_.output.put_activation(name, parameters);
  }
}

int64_t BlockCompressor::run_count(const Block& block, Propagation propagation, bool last) const {
  const auto groups = quantizer_.groups_of(block);
  const auto pairs = quantizer_.pairs_of(block);
  const std::vector<StaticActivation> watched = static_activations(block, run_.plan);
  if (propagation == Propagation::layer)
    return (!groups.empty() || !watched.empty() ? 1 : 0) + (last ? 0 : 1);
  const size_t rest = std::max(groups.empty() ? 0 : groups.back().first_node,
                               pairs.empty() ? 0 : pairs.back().first_node);
  const bool rest_counts = !last ||
      std::any_of(watched.begin(), watched.end(), [&](const StaticActivation& one) {
        return is_made_in(block, one.value, rest, block.nodes.size());
      });
  return static_cast<int64_t>(2 * pairs.size() + groups.size()) + (rest_counts ? 1 : 0);
}

Observation BlockCompressor::observation_of(const PairWork& work, Statistics& statistics) {
  const TransformNeeds needs = work.transform->needs();
  return {work.pair.value, needs.channels, needs.gram, &statistics, nullptr};
}

Observation BlockCompressor::observation_of(const Block& block,
                                            const SharedInputJob& group,
                                            Statistics& statistics) const {
  Observation observation{group.value, false, false, &statistics, nullptr};
  for (size_t node : group.nodes) {
    const ModuleDecision& decision = *run_.plan.find(block.nodes[node].name);
    observation.gram |= decision.quantizer->needs_gram();
    observation.channels |= decision.quantizer->needs_channels(*decision.scheme);
  }
  return observation;
}

void BlockCompressor::run(const Block& block,
                          const WeightTable& weights,
                          size_t begin,
                          size_t end,
                          std::span<const Observation> observations,
                          bool keep) const {
  const Timed timed(run_.report.calibration_seconds);
  calibrator_.run(block, weights, begin, end, observations, keep);
}

void BlockCompressor::compress(const Block& block,
                               WeightTable& weights,
                               Propagation propagation,
                               bool last) const {
  std::vector<Watched> watched = watched_in(block);
  quantizer_.quantize_embeddings(block, weights);
  if (propagation == Propagation::sublayer) by_sublayer(block, weights, watched, last);
  else by_layer(block, weights, watched, last);
  put_scales(watched);
}

void BlockCompressor::by_sublayer(const Block& block,
                                  WeightTable& weights,
                                  std::vector<Watched>& watched,
                                  bool last) const {
  const auto pairs = quantizer_.pairs_of(block);
  auto next_pair = pairs.begin();
  size_t at = 0;
  const auto made_later = [&](const Watched& one, size_t to) {
    return is_made_in(block, one.activation.value, at, to);
  };
  const auto advance = [&](size_t to, std::vector<Observation> observations) {
    for (Watched& one : watched)
      if (made_later(one, to))
        observations.push_back({one.activation.value, false, false, nullptr, &one.observer});
    run(block, weights, at, to, observations, true);
    at = to;
  };
  // What makes smoothed channels runs twice: once to see them, once with its new weight.
  const auto smooth_before = [&](size_t node) {
    for (; next_pair != pairs.end() && next_pair->first_node <= node; ++next_pair) {
      advance(next_pair->first_node, {});
      Statistics statistics;
      const Observation seen = observation_of(*next_pair, statistics);
      run(block, weights, at, made_until(block, next_pair->pair.value), std::span(&seen, 1), false);
      next_pair->transform->apply(block, next_pair->pair, statistics, weights, run_.backend);
    }
  };
  for (const SharedInputJob& group : quantizer_.groups_of(block)) {
    smooth_before(group.first_node);
    Statistics statistics;
    advance(group.first_node, {observation_of(block, group, statistics)});
    quantizer_.quantize(block, group, statistics, weights);
  }
  const size_t end = block.nodes.size();
  smooth_before(end);
  if (!last ||
      std::any_of(watched.begin(), watched.end(), [&](const Watched& one) { return made_later(one, end); }))
    advance(end, {});
}

void BlockCompressor::survey(const Block& block, WeightTable& weights, bool last) {
  const auto pairs = quantizer_.pairs_of(block);
  const size_t end = block.nodes.size();
  if (!pairs.empty()) {
    std::vector<Statistics>& statistics = surveyed_[block.name];
    statistics.resize(pairs.size());
    std::vector<Observation> observations;
    for (size_t i = 0; i < pairs.size(); ++i) observations.push_back(observation_of(pairs[i], statistics[i]));
    run(block, weights, 0, end, observations, false);
    transform(block, weights);
  }
  if (!last) run(block, weights, 0, end, {}, true);
}

void BlockCompressor::transform(const Block& block, WeightTable& weights) const {
  const auto pairs = quantizer_.pairs_of(block);
  for (size_t i = 0; i < pairs.size(); ++i)
    pairs[i].transform->apply(block, pairs[i].pair, surveyed_.at(block.name)[i], weights, run_.backend);
}

void BlockCompressor::by_layer(const Block& block,
                               WeightTable& weights,
                               std::vector<Watched>& watched,
                               bool last) const {
  const size_t end = block.nodes.size();
  const auto groups = quantizer_.groups_of(block);
  transform(block, weights);
  if (!groups.empty() || !watched.empty()) {
    std::vector<Statistics> statistics(groups.size());
    std::vector<Observation> observations;
    for (size_t i = 0; i < groups.size(); ++i)
      observations.push_back(observation_of(block, groups[i], statistics[i]));
    for (Watched& one : watched)
      observations.push_back({one.activation.value, false, false, nullptr, &one.observer});
    run(block, weights, 0, watched.empty() ? groups.back().first_node : end, observations, false);
    quantizer_.quantize(block, groups, statistics, weights);
  }
  if (!last) run(block, weights, 0, end, {}, true);
}

}  // namespace llmc
