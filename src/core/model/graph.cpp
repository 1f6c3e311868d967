#include "llmc/graph.hpp"

#include <algorithm>
#include <map>
#include <optional>
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

struct Maker {
  size_t linear = 0;
  int64_t first_row = 0, rows = 0;
};

// The Linear whose output, or a slice of it, `value` is; nothing when another node makes it, or when several
// nodes read it.
std::optional<Maker> maker_of(const Block& block, ValueId value) {
  if (readers_of(block, value).size() != 1) return std::nullopt;
  const auto made_by = [&](ValueId made) {
    return static_cast<size_t>(std::find_if(block.nodes.begin(), block.nodes.end(),
                                            [&](const Node& node) { return node.output == made; }) -
                               block.nodes.begin());
  };
  size_t at = made_by(value);
  if (at == block.nodes.size()) return std::nullopt;
  const auto* slice = std::get_if<Slice>(&block.nodes[at].operation);
  if (slice) at = made_by(block.nodes[at].inputs[0]);
  if (at == block.nodes.size() || !block.nodes[at].linear()) return std::nullopt;
  return slice ? Maker{at, slice->first, slice->width} : Maker{at, 0, block.nodes[at].linear()->out_features};
}

// Channels that pass nodes[meeting], a Multiply or an Attention, one by one: scaled where they are made, they
// come out scaled.
std::optional<SmoothingPair> pair_through(const Block& block, size_t meeting) {
  const Node& node = block.nodes[meeting];
  const auto* attention = std::get_if<Attention>(&node.operation);
  if (!attention && !std::holds_alternative<Multiply>(node.operation)) return std::nullopt;
  const std::vector<size_t> readers = readers_of(block, node.output);
  if (readers.empty() || node.output == block.output ||
      !std::all_of(readers.begin(), readers.end(), [&](size_t r) { return block.nodes[r].linear(); }))
    return std::nullopt;
  SmoothingPair pair{0, readers};
  pair.through = attention ? SmoothingPair::Through::attention : SmoothingPair::Through::multiply;
  std::optional<Maker> maker;
  // of a product, the later factor that a Linear makes: the other one is the gate
  for (size_t i = node.inputs.size(); i-- > 0 && !maker;) {
    pair.value = node.inputs[i];
    maker = maker_of(block, pair.value);
    if (attention) break;  // values are its last input
  }
  if (!maker) return std::nullopt;
  pair.smooth = maker->linear;
  pair.first_row = maker->first_row;
  if (attention && attention->heads != attention->kv_heads)
    for (int64_t head = 0; head < attention->heads; ++head)
      for (int64_t c = 0; c < attention->head_dim; ++c)
        pair.channel_of.push_back(
            static_cast<int32_t>(head / (attention->heads / attention->kv_heads) * attention->head_dim + c));
  return pair;
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
    if (all_linear)
      pairs.push_back({i, readers, SmoothingPair::Through::nothing, block.nodes[i].output, 0, {}});
  }
  for (size_t i = 0; i < block.nodes.size(); ++i)
    if (auto pair = pair_through(block, i)) pairs.push_back(std::move(*pair));
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const SmoothingPair& a, const SmoothingPair& b) { return a.smooth < b.smooth; });
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
