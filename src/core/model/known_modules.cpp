#include "core/model/known_modules.hpp"

#include "core/model/model_outline.hpp"
#include "llmc/error.hpp"

namespace llmc {
KnownModules known_modules(const Checkpoint& folder) {
  KnownModules known;
  try {
    const Graph graph = graph_of(folder);
    for (const Module& module : graph.modules) known.class_of[module.name] = module.class_name;
    for (const Block& block : graph.blocks)
      for (const Node& node : block.nodes) {
        if (const auto* attention = std::get_if<Attention>(&node.operation))
          known.heads[attention->module] = {attention->heads, attention->kv_heads};
        if (const NodeWeight* weight = node.weight(WeightRole::weight);
            weight && weight->name == node.name + ".weight")
          known.weight_shape[node.name] = weight_shape(node, WeightRole::weight);
      }
  } catch (const Error&) {
    return {};  // another family: names have to do
  }
  return known;
}

}  // namespace llmc
