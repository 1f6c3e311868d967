#include "core/model/known_modules.hpp"

#include "core/model/model_outline.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

Shape weight_shape(const Node& node) {
  if (const Linear* linear = node.linear()) return {linear->out_features, linear->in_features};
  if (const auto* embedding = std::get_if<Embedding>(&node.operation))
    return {embedding->vocabulary, embedding->width};
  if (const Norm* norm = node.norm()) return {norm->width};
  return {};
}

}  // namespace

KnownModules known_modules(const Checkpoint& folder) {
  KnownModules known;
  try {
    const Graph graph = graph_of(folder);
    for (const Module& module : graph.modules) known.class_of[module.name] = module.class_name;
    for (const Block& block : graph.blocks)
      for (const Node& node : block.nodes) {
        if (const auto* attention = std::get_if<Attention>(&node.operation))
          known.heads[attention->module] = {attention->heads, attention->kv_heads};
        if (const Shape shape = weight_shape(node);
            !node.name.empty() && !shape.empty() && node.weight_name() == node.name + ".weight")
          known.weight_shape[node.name] = shape;
      }
  } catch (const Error&) {
    return {};  // another family: names have to do
  }
  return known;
}

}  // namespace llmc
