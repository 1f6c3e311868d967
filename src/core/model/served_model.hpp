// A plain or compressed folder as its server would run it: weights decoded, activation and KV-cache
// quantization emulated.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/files/checkpoint.hpp"
#include "core/formats/folder_reader.hpp"
#include "llmc/backend.hpp"
#include "llmc/graph.hpp"

namespace llmc {

class ServedModel {
 public:
  explicit ServedModel(const std::string& directory);

  const Graph& graph() const { return graph_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  const ActivationRounding& rounding() const { return rounding_; }
  // Decoded weights, (code - zero point) * scale, in `dtype`. float32: the unrounded product, as kernels see it that
  // apply scales to their float32 sums. Otherwise rounded to the model's dtype.
  WeightTable load(const Block& block, DType dtype) const;

  // Runs every block but the head over each tile; returns the head block's input per tile. `visit`, when
  // given, sees the output of each block as it is made.
  using Visit = std::function<void(size_t block, size_t tile, const Tensor& output)>;
  std::vector<Tensor> run_body(Backend& backend,
                               const std::vector<TokenBatch>& tiles,
                               const ForwardOptions& options,
                               const Visit& visit = {}) const;
  // One block over one tile; returns its values (only the block's own are alive).
  Tensor run_block(Backend& backend,
                   const Block& block,
                   const WeightTable& weights,
                   const TokenBatch& tile,
                   const ForwardOptions& options,
                   Tensor input) const;

 private:
  void round_activations();
  Tensor load_weight(const Node& node, const NodeWeight& weight, DType dtype) const;

  Checkpoint checkpoint_;
  Graph graph_;
  std::unique_ptr<FolderReader> reader_;  // null: a plain folder
  ActivationRounding rounding_;
};

}  // namespace llmc
