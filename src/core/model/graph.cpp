#include "llmc/graph.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace llmc {

const NodeWeight* Node::weight(WeightRole role) const {
  const auto found = std::find_if(weights.begin(), weights.end(),
                                  [&](const NodeWeight& weight) { return weight.role == role; });
  return found == weights.end() ? nullptr : &*found;
}

Shape weight_shape(const Node& node, WeightRole role) {
  if (const Linear* linear = node.linear())
    return role == WeightRole::bias ? Shape{linear->out_features}
                                    : Shape{linear->out_features, linear->in_features};
  if (const auto* embedding = std::get_if<Embedding>(&node.operation))
    return {embedding->vocabulary, embedding->width};
  if (const Norm* norm = node.norm()) return {norm->width};
  return {};
}

namespace {

std::vector<size_t> readers_of(const Block& block, ValueId value) {
  std::vector<size_t> readers;
  for (size_t i = 0; i < block.nodes.size(); ++i) {
    const auto& inputs = block.nodes[i].inputs;
    if (std::find(inputs.begin(), inputs.end(), value) != inputs.end()) readers.push_back(i);
  }
  return readers;
}

// Follows one value through norms and ropes to the Attention or Multiply it ends in; nodes.size() when it
// ends elsewhere.
size_t meeting_point(const Block& block, ValueId value) {
  for (;;) {
    const auto readers = readers_of(block, value);
    if (readers.size() != 1) return block.nodes.size();
    const Node& reader = block.nodes[readers[0]];
    if (std::holds_alternative<Attention>(reader.operation) ||
        std::holds_alternative<Multiply>(reader.operation))
      return readers[0];
    const bool passes = std::holds_alternative<Norm>(reader.operation) ||
        std::holds_alternative<Rope>(reader.operation) || std::holds_alternative<Slice>(reader.operation) ||
        std::holds_alternative<Activation>(reader.operation);
    if (!passes) return block.nodes.size();
    value = reader.output;
  }
}

}  // namespace

std::vector<SharedInput> shared_inputs(const Block& block) {
  std::vector<SharedInput> groups;
  for (size_t i = 0; i < block.nodes.size(); ++i) {
    const Node& node = block.nodes[i];
    if (!node.linear()) continue;
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const SharedInput& g) { return g.value == node.inputs[0]; });
    if (group == groups.end()) group = groups.insert(groups.end(), SharedInput{node.inputs[0], {}});
    group->nodes.push_back(i);
  }
  return groups;
}

std::vector<SmoothingPair> smoothing_pairs(const Block& block) {
  std::vector<SmoothingPair> pairs;
  for (size_t i = 0; i < block.nodes.size(); ++i) {
    const Norm* norm = block.nodes[i].norm();
    if (!norm || block.nodes[i].output == block.output) continue;
    const auto readers = readers_of(block, block.nodes[i].output);
    const bool all_linear = !readers.empty() && std::all_of(readers.begin(), readers.end(), [&](size_t r) {
      const Node& reader = block.nodes[r];
      return reader.linear() && reader.part != Part::other && reader.part == block.nodes[readers[0]].part;
    });
    if (all_linear) pairs.push_back({i, readers});
  }
  return pairs;
}

std::vector<std::vector<size_t>> fused_linears(const Block& block) {
  // (input value, node where the outputs meet) -> Linears
  std::map<std::pair<ValueId, size_t>, std::vector<size_t>> meetings;
  for (size_t i = 0; i < block.nodes.size(); ++i) {
    if (!block.nodes[i].linear()) continue;
    const size_t meeting = meeting_point(block, block.nodes[i].output);
    if (meeting < block.nodes.size()) meetings[{block.nodes[i].inputs[0], meeting}].push_back(i);
  }
  std::vector<std::vector<size_t>> fused;
  for (auto& [key, nodes] : meetings)
    if (nodes.size() > 1) fused.push_back(std::move(nodes));
  std::sort(fused.begin(), fused.end());
  return fused;
}

std::vector<std::vector<ValueId>> last_uses(const Block& block) {
  std::vector<std::vector<ValueId>> dying(block.nodes.size());
  std::set<ValueId> needed_later{block.output};
  for (size_t i = block.nodes.size(); i-- > 0;) {
    const Node& node = block.nodes[i];
    std::vector<ValueId> touched = node.inputs;
    touched.push_back(node.output);  // its last use, should nobody read it
    for (ValueId value : touched)
      if (needed_later.insert(value).second) dying[i].push_back(value);
  }
  return dying;
}

}  // namespace llmc
