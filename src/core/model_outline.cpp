#include "core/model_outline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>

#include "core/families/decoder_spec.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

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
    for (const auto& nodes : fused_linears(block)) {
      outline.fused.emplace_back();
      for (size_t node : nodes) outline.fused.back().push_back(block.nodes[node].name);
    }
    for (const Node& node : block.nodes) {
      if (const Linear* linear = node.linear()) {
        check_shape(checkpoint, node.weight_name(), {linear->out_features, linear->in_features});
        if (linear->bias) check_shape(checkpoint, node.name + ".bias", {linear->out_features});
        add_weight(outline, checkpoint, {node.name, "Linear"}, node.weight_name());
      } else if (const auto* embedding = std::get_if<Embedding>(&node.operation)) {
        check_shape(checkpoint, node.weight_name(), {embedding->vocabulary, embedding->width});
        add_weight(outline, checkpoint, {node.name, "Embedding"}, node.weight_name());
      } else if (const Norm* norm = node.norm()) {
        check_shape(checkpoint, node.weight_name(), {norm->width});
      }
    }
  }
}

// Without a graph fused layers are known by name: siblings "x.q_proj", "x.k_proj", "x.v_proj".
constexpr std::array<std::array<const char*, 3>, 5> kFusedLeaves{{{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj", ""}, {"w1", "w3", ""}, {"q_a_proj", "kv_a_proj_with_mqa", ""}, {"wq_a", "wkv_a_with_mqa", ""}}};

void fuse_by_name(ModelOutline& outline) {
  std::map<std::pair<std::string, size_t>, std::vector<std::string>> siblings;  // (parent, row of the table) -> modules
  for (const WeightModule& weight : outline.weights) {
    const std::string& name = weight.module.name;
    const size_t dot = name.rfind('.') + 1;
    for (size_t row = 0; row < kFusedLeaves.size(); ++row)
      for (const char* leaf : kFusedLeaves[row])
        if (name.compare(dot, std::string::npos, leaf) == 0) siblings[{name.substr(0, dot), row}].push_back(name);
  }
  for (auto& [key, modules] : siblings) outline.fused.push_back(std::move(modules));
}

// No graph: every 2-D floating "X.weight" is a Linear, or an Embedding when its name says so, unless it is a norm.
void outline_from_names(ModelOutline& outline, const Checkpoint& checkpoint) {
  std::vector<std::string> names = checkpoint.names();
  std::sort(names.begin(), names.end(), natural_less);
  for (const std::string& name : names) {
    const TensorInfo info = checkpoint.info(name);
    if (!name.ends_with(".weight") || info.shape.size() != 2 || (info.dtype != DType::bf16 && info.dtype != DType::f16 && info.dtype != DType::f32)) continue;
    const std::string module = name.substr(0, name.size() - 7), leaf = module.substr(module.rfind('.') + 1);
    if (leaf.ends_with("norm")) continue;
    const bool embedding = leaf.find("embed") != std::string::npos || leaf == "wte" || leaf == "wpe";
    outline.modules.push_back({module, embedding ? "Embedding" : "Linear"});
    add_weight(outline, checkpoint, outline.modules.back(), name);
  }
  fuse_by_name(outline);
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
