#include "core/calibration/calibrator.hpp"

#include <algorithm>

#include "core/calibration/token_tiles.hpp"
#include "llmc/memory.hpp"

namespace llmc {

namespace {

// One past the node in [begin, end) that makes `value`; begin (nothing to wait for) when it is made
// elsewhere.
size_t nodes_until(const Block& block, ValueId value, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i)
    if (block.nodes[i].output == value) return i + 1;
  return begin;
}

}  // namespace

Calibrator::Calibrator(const Graph& graph,
                       Backend& backend,
                       const TokenBatch& sequences,
                       std::function<void()> after_tile)
    : graph_(graph),
      backend_(backend),
      after_tile_(std::move(after_tile)),
      tiles_(cut_tiles(sequences, graph.vocabulary, backend.tile_tokens())),
      alive_(tiles_.size()),
      scratch_(graph.values.size()) {
  samples_ = static_cast<int64_t>(sequences.sequence_starts.size()) - 1;
  tokens_ = sequences.tokens();
}

void Calibrator::observe(const Observation& observation, const Tensor& value, const TokenBatch& tile) {
  const MemoryScope scope(MemoryPurpose::statistics);
  if (observation.activation)
    for (size_t s = 0; s + 1 < tile.sequence_starts.size(); ++s)
      observation.activation->add(
          value.view().row_range(tile.sequence_starts[s], tile.sequence_starts[s + 1]), backend_);
  if (!observation.into) return;
  Statistics& statistics = *observation.into;
  statistics.samples = samples_;
  statistics.tokens = tokens_;
  if (observation.channels) backend_.accumulate_channels(value, statistics.channels);
  if (observation.gram) {
    if (statistics.gram.empty())
      statistics.gram = backend_.zeros(DType::f32, {value.columns(), value.columns()});
    backend_.accumulate_gram(value, statistics.gram);
  }
}

void Calibrator::drop(ValueId value) {
  if (Tensor& tensor = scratch_[static_cast<size_t>(value)]; !tensor.empty())
    spare_.push_back(std::exchange(tensor, Tensor()));
}

void Calibrator::lend(const Node& node, int64_t tokens) {
  const Shape shape{tokens, graph_.values[static_cast<size_t>(node.output)].width};
  const auto fits = std::find_if(spare_.begin(), spare_.end(),
                                 [&](const Tensor& tensor) { return tensor.shape() == shape; });
  if (fits == spare_.end()) return;
  scratch_[static_cast<size_t>(node.output)] = std::move(*fits);
  spare_.erase(fits);
}

void Calibrator::run(const Block& block,
                     const WeightTable& weights,
                     size_t begin,
                     size_t end,
                     std::span<const Observation> wanted,
                     bool keep) {
  const MemoryScope scope(MemoryPurpose::activations);
  // with the number of the node they wait for
  std::vector<std::pair<size_t, const Observation*>> observations;
  for (const Observation& observation : wanted)
    observations.emplace_back(nodes_until(block, observation.value, begin, end), &observation);
  std::stable_sort(observations.begin(), observations.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  const auto dying = last_uses(block);
  const ForwardOptions options{graph_.value_dtype()};
  const StagedWeights staged = backend_.stage(std::span(block.nodes).subspan(begin, end - begin), weights);
  for (size_t tile = 0; tile < tiles_.size(); ++tile) {
    std::vector<ValueId> entered;
    for (auto& [value, tensor] : alive_[tile]) {
      scratch_[static_cast<size_t>(value)] = std::move(tensor);
      entered.push_back(value);
    }
    const int64_t tokens = tiles_[tile].tokens();
    std::erase_if(spare_, [&](const Tensor& tensor) { return tensor.rows() != tokens; });
    size_t at = begin;
    const auto advance = [&](size_t to) {
      if (at >= to) return;
      const ValueLifetimes lifetimes{
          std::span(dying).subspan(at, to - at), [&](const Node& node) { lend(node, tokens); },
          [&](size_t node) {
            for (ValueId value : dying[at + node])
              if (keep || std::find(entered.begin(), entered.end(), value) == entered.end()) drop(value);
          }};
      backend_.execute(std::span(block.nodes).subspan(at, to - at),
                       {.weights = staged,
                        .batch = tiles_[tile],
                        .values = scratch_,
                        .options = options,
                        .lifetimes = &lifetimes});
      at = to;
    };
    for (const auto& [node, observation] : observations) {
      advance(node);
      observe(*observation, scratch_[static_cast<size_t>(observation->value)], tiles_[tile]);
    }
    advance(end);

    Alive alive;
    const auto retain = [&](ValueId value) {
      Tensor& tensor = scratch_[static_cast<size_t>(value)];
      if (tensor.empty()) return;
      backend_.park(tensor);
      alive.emplace_back(value, std::exchange(tensor, Tensor()));
    };
    for (ValueId value : entered) retain(value);
    for (size_t i = begin; i < end; ++i) {
      if (keep) retain(block.nodes[i].output);
      else drop(block.nodes[i].output);
    }
    alive_[tile] = std::move(alive);
    if (after_tile_) after_tile_();
  }
}

}  // namespace llmc
