#include "core/calibration/calibrator.hpp"

#include <algorithm>

#include "core/calibration/token_tiles.hpp"

namespace llmc {

namespace {

// Index of the node in [begin, end) that makes `value`; begin - 1 (nothing to wait for) when it is made elsewhere.
size_t nodes_until(const Block& block, ValueId value, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i)
    if (block.nodes[i].output == value) return i + 1;
  return begin;
}

}  // namespace

Calibrator::Calibrator(const Graph& graph, Backend& backend, const TokenBatch& sequences, std::function<void()> after_tile)
    : graph_(graph), backend_(backend), after_tile_(std::move(after_tile)), tiles_(cut_tiles(sequences, graph.vocabulary)), alive_(tiles_.size()), scratch_(graph.values.size()) {
  samples_ = static_cast<int64_t>(sequences.sequence_starts.size()) - 1;
  tokens_ = sequences.tokens();
}

void Calibrator::observe(const Observation& observation, const Tensor& value) {
  Statistics& statistics = *observation.into;
  statistics.samples = samples_;
  statistics.tokens = tokens_;
  if (observation.channels) backend_.accumulate_channels(value, statistics.channels);
  if (observation.gram) {
    if (statistics.gram.empty()) statistics.gram = Tensor::zeros(DType::f32, {value.columns(), value.columns()});
    backend_.accumulate_gram(value, statistics.gram);
  }
}

void Calibrator::run(const Block& block, const WeightTable& weights, size_t begin, size_t end, std::span<const Observation> observations, bool keep) {
  const auto dying = last_uses(block);
  const ForwardOptions options{graph_.dtype};
  for (size_t tile = 0; tile < tiles_.size(); ++tile) {
    std::vector<ValueId> entered;
    for (auto& [value, tensor] : alive_[tile]) {
      scratch_[static_cast<size_t>(value)] = std::move(tensor);
      entered.push_back(value);
    }
    size_t at = begin;
    const auto advance = [&](size_t to) {
      backend_.execute(std::span(block.nodes).subspan(at, to - at), weights, tiles_[tile], options, scratch_);
      for (; at < to; ++at)
        for (ValueId value : dying[at])
          if (keep || std::find(entered.begin(), entered.end(), value) == entered.end()) scratch_[static_cast<size_t>(value)] = Tensor();
    };
    for (const Observation& observation : observations) {
      advance(std::max(at, nodes_until(block, observation.value, at, end)));
      observe(observation, scratch_[static_cast<size_t>(observation.value)]);
    }
    advance(end);

    Alive alive;
    const auto retain = [&](ValueId value) {
      if (Tensor& tensor = scratch_[static_cast<size_t>(value)]; !tensor.empty()) alive.emplace_back(value, std::move(tensor)), tensor = Tensor();
    };
    for (ValueId value : entered) retain(value);
    for (size_t i = begin; i < end; ++i) {
      if (keep) retain(block.nodes[i].output);
      else scratch_[static_cast<size_t>(block.nodes[i].output)] = Tensor();
    }
    alive_[tile] = std::move(alive);
    if (after_tile_) after_tile_();
  }
}

}  // namespace llmc
