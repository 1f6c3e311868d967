#include "core/calibration/block_weights.hpp"

#include "core/compressed_output.hpp"

namespace llmc {

namespace {

template <class Use>
void for_each_weight(const Checkpoint& checkpoint, const Block& block, const Use& use) {
  for (const Node& node : block.nodes)
    for (const std::string& name : {node.weight_name(), node.name + ".bias"})
      if (!node.name.empty() && checkpoint.contains(name)) use(name);
}

}  // namespace

WeightTable load_weights(const Checkpoint& checkpoint, const std::vector<Block>& blocks, size_t b) {
  WeightTable weights;
  for_each_weight(checkpoint, blocks[b], [&](const std::string& name) {
    Tensor tensor = checkpoint.read(name);
    check_finite(checkpoint.directory(), name, tensor);
    weights.emplace(name, std::move(tensor));
  });
  if (b + 1 < blocks.size()) for_each_weight(checkpoint, blocks[b + 1], [&](const std::string& name) { checkpoint.read_ahead(name); });
  return weights;
}

}  // namespace llmc
