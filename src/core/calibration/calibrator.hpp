// Walks the calibration tokens through the graph, one block's weights at a time, and observes values on the
// way. Between two runs only the values that later nodes still read are kept (liveness from the graph); a
// value's memory goes to the next of its shape.
#pragma once
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "core/calibration/activation_observer.hpp"
#include "llmc/backend.hpp"
#include "llmc/graph.hpp"
#include "llmc/modifier.hpp"

namespace llmc {

// Observe `value` in every tile, right after the node that makes it has run (or at once when it is already
// alive).
struct Observation {
  ValueId value = -1;
  bool channels = false, gram = false;
  Statistics* into = nullptr;
  ActivationObserver* activation = nullptr;  // gets each sequence by itself
};

class Calibrator {
 public:
  // `after_tile` is called after each tile of each run: progress and cancellation.
  Calibrator(const Graph& graph,
             Backend& backend,
             const TokenBatch& sequences,
             std::function<void()> after_tile);

  // Runs nodes [begin, end) of `block` over all tiles. keep: what was made stays for the next run and what
  // nobody needs any more is dropped; otherwise every value made is dropped and the state is as before.
  void run(const Block& block,
           const WeightTable& weights,
           size_t begin,
           size_t end,
           std::span<const Observation> observations,
           bool keep);

  void restart() {
    for (Alive& tile : alive_) tile.clear();
  }  // back to the first block
  int64_t samples() const { return samples_; }
  int64_t tokens() const { return tokens_; }
  size_t tiles() const { return tiles_.size(); }

 private:
  using Alive = std::vector<std::pair<ValueId, Tensor>>;
  void observe(const Observation& observation, const Tensor& value, const TokenBatch& tile);
  void drop(ValueId value);
  void lend(const Node& node, int64_t tokens);

  const Graph& graph_;
  Backend& backend_;
  std::function<void()> after_tile_;
  std::vector<TokenBatch> tiles_;
  std::vector<Alive> alive_;   // [tiles]
  ValueTable scratch_;         // [values of the graph]
  std::vector<Tensor> spare_;  // of dropped values: memory for the values to come
  int64_t samples_ = 0, tokens_ = 0;
};

}  // namespace llmc
