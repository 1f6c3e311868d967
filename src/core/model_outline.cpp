#include "core/model_outline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "core/families/decoder_spec.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

bool ends_with(const std::string& text, std::string_view end) { return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0; }

// "layers.2" before "layers.10": runs of digits compare as numbers.
bool natural_less(const std::string& a, const std::string& b) {
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (std::isdigit(static_cast<unsigned char>(a[i])) && std::isdigit(static_cast<unsigned char>(b[j]))) {
      size_t i_end = i, j_end = j;
      while (i_end < a.size() && std::isdigit(static_cast<unsigned char>(a[i_end]))) ++i_end;
      while (j_end < b.size() && std::isdigit(static_cast<unsigned char>(b[j_end]))) ++j_end;
      if (i_end - i != j_end - j) return i_end - i < j_end - j;
      if (const int order = a.compare(i, i_end - i, b, j, j_end - j)) return order < 0;
      i = i_end, j = j_end;
    } else {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i, ++j;
    }
  }
  return a.size() - i < b.size() - j;
}

void add_weight(ModelOutline& outline, const Checkpoint& checkpoint, const Module& module, const std::string& tensor) {
  const TensorInfo info = checkpoint.info(tensor);
  outline.weights.push_back({module, tensor, info.shape, info.dtype});
}

void check_shape(const Checkpoint& checkpoint, const std::string& tensor, const Shape& wanted) {
  if (!checkpoint.contains(tensor)) throw Error(ErrorCode::bad_file, fmt::format("'{}': tensor '{}' is missing; config.json asks for {}", checkpoint.directory(), tensor, to_string(wanted)));
  const TensorInfo info = checkpoint.info(tensor);
  if (info.shape != wanted) throw Error(ErrorCode::bad_file, fmt::format("'{}': tensor '{}' has shape {}, config.json asks for {}", checkpoint.directory(), tensor, to_string(info.shape), to_string(wanted)));
  if (info.dtype != DType::bf16 && info.dtype != DType::f16 && info.dtype != DType::f32)
    throw Error(ErrorCode::unsupported, fmt::format("'{}': tensor '{}' is {}, wanted BF16, F16 or F32", checkpoint.directory(), tensor, dtype_name(info.dtype)));
}

void outline_from_graph(ModelOutline& outline, const Checkpoint& checkpoint) {
  const Graph& graph = *outline.graph;
  outline.modules = graph.modules;
  outline.tied_embeddings = graph.tied_embeddings;
  for (const Block& block : graph.blocks) {
    for (const Node& node : block.nodes) {
      if (const Linear* linear = node.linear()) {
        check_shape(checkpoint, node.weight_name(), {linear->out_features, linear->in_features});
        if (linear->bias) check_shape(checkpoint, node.name + ".bias", {linear->out_features});
        add_weight(outline, checkpoint, {node.name, "Linear"}, node.weight_name());
      } else if (const auto* embedding = std::get_if<Embedding>(&node.operation)) {
        check_shape(checkpoint, node.weight_name(), {embedding->vocabulary, embedding->width});
      } else if (const Norm* norm = node.norm()) {
        check_shape(checkpoint, node.weight_name(), {norm->width});
      }
    }
  }
}

// No graph: every 2-D floating "X.weight" is a Linear unless its name says embedding or norm.
void outline_from_names(ModelOutline& outline, const Checkpoint& checkpoint) {
  std::vector<std::string> names = checkpoint.names();
  std::sort(names.begin(), names.end(), natural_less);
  for (const std::string& name : names) {
    const TensorInfo info = checkpoint.info(name);
    if (!ends_with(name, ".weight") || info.shape.size() != 2 || (info.dtype != DType::bf16 && info.dtype != DType::f16 && info.dtype != DType::f32)) continue;
    const std::string module = name.substr(0, name.size() - 7), leaf = module.substr(module.rfind('.') + 1);
    if (ends_with(leaf, "norm")) continue;
    const bool embedding = leaf.find("embed") != std::string::npos || leaf == "wte" || leaf == "wpe";
    outline.modules.push_back({module, embedding ? "Embedding" : "Linear"});
    if (!embedding) add_weight(outline, checkpoint, outline.modules.back(), name);
  }
}

}  // namespace

const WeightModule* ModelOutline::find(const std::string& module) const {
  const auto it = std::find_if(weights.begin(), weights.end(), [&](const WeightModule& w) { return w.module.name == module; });
  return it == weights.end() ? nullptr : &*it;
}

ModelOutline outline_model(const Checkpoint& checkpoint, bool need_graph) {
  ModelOutline outline;
  try {
    outline.graph = build_graph(checkpoint.config());
    outline.model_type = outline.graph->model_type;
  } catch (const Error& problem) {
    if (need_graph || problem.code() != ErrorCode::unsupported) throw;
  }
  if (outline.graph) outline_from_graph(outline, checkpoint);
  else outline_from_names(outline, checkpoint);
  if (outline.weights.empty()) throw Error(ErrorCode::bad_file, fmt::format("'{}': no 2-D weight to quantize among its {} tensors", checkpoint.directory(), checkpoint.names().size()));
  return outline;
}

}  // namespace llmc
