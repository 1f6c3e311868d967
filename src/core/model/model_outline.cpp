#include "core/model/model_outline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>

#include "core/formats/conv1d.hpp"
#include "core/families/decoder_spec.hpp"
#include "core/files/weight_reader.hpp"
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
      i = i_end;
      j = j_end;
    } else {
      if (a[i] != b[j]) return a[i] < b[j];
      ++i;
      ++j;
    }
  }
  return a.size() - i < b.size() - j;
}

void add_weight(ModelOutline& outline,
                const Checkpoint& checkpoint,
                const Module& module,
                const NodeWeight& weight) {
  const WeightReader reader(checkpoint, weight.source);
  outline.weights.push_back({module, weight.name, weight.source, reader.info().shape, reader.info().dtype});
}

void check_shape(const Checkpoint& checkpoint, const NodeWeight& weight, const Shape& wanted) {
  const std::string& tensor = weight.source.tensor;
  if (!checkpoint.contains(tensor))
    throw Error(ErrorCode::bad_file,
                fmt::format("'{}': tensor '{}' is missing; config.json asks for {}", checkpoint.directory(),
                            tensor, to_string(wanted)));
  const TensorInfo info = WeightReader(checkpoint, weight.source).info();
  if (info.shape != wanted)
    throw Error(ErrorCode::bad_file,
                fmt::format("'{}': tensor '{}' has shape {}, config.json asks for {}", checkpoint.directory(),
                            tensor, to_string(info.shape), to_string(wanted)));
  if (info.dtype != DType::bf16 && info.dtype != DType::f16 && info.dtype != DType::f32)
    throw Error(ErrorCode::unsupported,
                fmt::format("'{}': tensor '{}' is {}, wanted BF16, F16 or F32", checkpoint.directory(),
                            tensor, dtype_name(info.dtype)));
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
      for (const NodeWeight& weight : node.weights)
        check_shape(checkpoint, weight, weight_shape(node, weight.role));
      if (node.linear() || std::holds_alternative<Embedding>(node.operation))
        add_weight(outline, checkpoint, {node.name, node.linear() ? "Linear" : "Embedding"},
                   *node.weight(WeightRole::weight));
    }
  }
}

// Without a graph fused layers are known by name: siblings "x.q_proj", "x.k_proj", "x.v_proj".
constexpr std::array<std::array<const char*, 3>, 5> kFusedLeaves{{{"q_proj", "k_proj", "v_proj"},
                                                                  {"gate_proj", "up_proj", ""},
                                                                  {"w1", "w3", ""},
                                                                  {"q_a_proj", "kv_a_proj_with_mqa", ""},
                                                                  {"wq_a", "wkv_a_with_mqa", ""}}};

void fuse_by_name(ModelOutline& outline) {
  // (parent, row of the table) -> modules
  std::map<std::pair<std::string, size_t>, std::vector<std::string>> siblings;
  for (const WeightModule& weight : outline.weights) {
    const std::string& name = weight.module.name;
    const size_t dot = name.rfind('.') + 1;
    for (size_t row = 0; row < kFusedLeaves.size(); ++row)
      for (const char* leaf : kFusedLeaves[row])
        if (name.compare(dot, std::string::npos, leaf) == 0)
          siblings[{name.substr(0, dot), row}].push_back(name);
  }
  for (auto& [key, modules] : siblings) outline.fused.push_back(std::move(modules));
}

bool is_one_of(std::string_view leaf, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), leaf) != names.end();
}

// What a 2-D "X.weight" of an unknown family is. A head outside the layers is no Linear to recipes that say
// "Linear", apart from lm_head, which recipes ignore by name.
std::string class_of_matrix(const std::string& module) {
  const size_t dot = module.rfind('.');
  const std::string leaf = module.substr(dot + 1),
                    parents = dot == std::string::npos ? "" : module.substr(0, dot);
  const bool in_a_layer = std::any_of(parents.begin(), parents.end(),
                                      [](unsigned char c) { return std::isdigit(c); });
  if (leaf.ends_with("norm") || is_one_of(leaf, {"ln_f", "ln_1", "ln_2"})) return "Norm";
  if (is_one_of(leaf, {"router", "gate", "shared_expert_gate"}) || parents.ends_with(".router"))
    return "Router";
  if (!in_a_layer && is_one_of(leaf, {"output", "embed_out", "output_layer", "score", "classifier", "head"}))
    return "Head";
  if (leaf.find("embed") != std::string::npos || leaf == "wte" || leaf == "wpe") return "Embedding";
  return "Linear";
}

// A model whose only matrices are Conv1Ds.
void require_linears(const ModelOutline& outline, const Checkpoint& checkpoint, const Conv1dModules& conv1d) {
  const auto first = std::find_if(outline.modules.begin(), outline.modules.end(),
                                  [](const Module& module) { return module.class_name == "Conv1D"; });
  const bool has_linears = std::any_of(
      outline.weights.begin(), outline.weights.end(), [](const WeightModule& weight) {
        return weight.module.class_name == "Linear" && !weight.module.name.ends_with("lm_head");
      });
  if (first != outline.modules.end() && !has_linears)
    throw Error(
        ErrorCode::unsupported,
        fmt::format("'{}': {}: its matrices are Conv1Ds, stored [in, out] ('{}'); llmc and vLLM quantize "
                    "Linears, stored [out, in], and there are none",
                    checkpoint.directory(), conv1d.why(), first->name));
}

// Experts of a layer as two stacks, as transformers 5 keeps them: gate_up_proj [E, 2 I, H], gate above up, and
// down_proj [E, H, I]. Their reader loads them one by one. Stacks that lie the other way round, [E, H, 2 I] and
// [E, I, H], are told by their shapes and left alone.
bool add_experts(ModelOutline& outline, const Checkpoint& checkpoint, const std::string& name) {
  constexpr std::string_view kGateUp = ".experts.gate_up_proj", kDown = ".experts.down_proj";
  const bool is_down = name.ends_with(kDown);
  if (!is_down && !name.ends_with(kGateUp)) return false;
  const std::string experts = name.substr(0, name.rfind('.') + 1), gate_up_name = experts + "gate_up_proj",
                    down_name = experts + "down_proj";
  if (!checkpoint.contains(gate_up_name) || !checkpoint.contains(down_name)) return false;
  const Shape gate_up = checkpoint.info(gate_up_name).shape, down = checkpoint.info(down_name).shape;
  if (gate_up.size() != 3 || down.size() != 3 || gate_up[0] != down[0] || gate_up[1] != 2 * down[2] ||
      gate_up[2] != down[1])
    return false;
  if (down[1] == 0 || down[2] == 0) return false;  // any number of empty experts fits into a small file
  const auto add = [&](const std::string& module, const WeightRef& source) {
    outline.modules.push_back({module, "Linear"});
    add_weight(outline, checkpoint, outline.modules.back(), {WeightRole::weight, module + ".weight", source});
  };
  for (int64_t expert = 0; expert < down[0]; ++expert) {
    const std::string prefix = fmt::format("{}{}.", experts, expert);
    if (is_down) {
      add(prefix + "down_proj", {name, expert});
    } else {
      add(prefix + "gate_proj", {name, expert, 0, down[2]});
      add(prefix + "up_proj", {name, expert, down[2], down[2]});
    }
  }
  return true;
}

// The outline of an unknown family: guessed from tensor names and numbers of dimensions.
void outline_from_names(ModelOutline& outline, const Checkpoint& checkpoint) {
  std::vector<std::string> names = checkpoint.names();
  std::sort(names.begin(), names.end(), natural_less);
  const Conv1dModules conv1d(checkpoint);
  for (const std::string& name : names) {
    const TensorInfo info = checkpoint.info(name);
    if (info.dtype != DType::bf16 && info.dtype != DType::f16 && info.dtype != DType::f32) continue;
    if (add_experts(outline, checkpoint, name)) continue;
    if (info.shape.size() > 2)
      outline.skipped.push_back({name, fmt::format("{} dimensions", info.shape.size())});
    if (!name.ends_with(".weight") || info.shape.size() != 2) continue;
    const std::string module = name.substr(0, name.size() - 7),
                      class_name = conv1d.contains(module) ? "Conv1D" : class_of_matrix(module);
    if (class_name != "Norm") outline.modules.push_back({module, class_name});
    if (class_name == "Linear" || class_name == "Embedding")
      add_weight(outline, checkpoint, outline.modules.back(), {WeightRole::weight, name, {name}});
    else
      outline.skipped.push_back({module,
                                 class_name == "Norm"         ? "norm"
                                     : class_name == "Router" ? "router"
                                     : class_name == "Conv1D" ? "Conv1D, [in, out]"
                                                              : "head"});
  }
  require_linears(outline, checkpoint, conv1d);
  fuse_by_name(outline);
}

}  // namespace

const WeightModule* ModelOutline::find(const std::string& module) const {
  const auto it = std::find_if(weights.begin(), weights.end(),
                               [&](const WeightModule& w) { return w.module.name == module; });
  return it == weights.end() ? nullptr : &*it;
}

std::vector<std::string> outline_notes(const ModelOutline& outline,
                                       const std::vector<std::string>& quantized) {
  constexpr size_t kNamed = 3;
  const std::set<std::string> chosen(quantized.begin(), quantized.end());
  std::map<std::string, std::vector<std::string>> left;  // reason -> names
  for (const auto& [name, reason] : outline.skipped) left[reason].push_back(name);
  for (const WeightModule& weight : outline.weights)
    if (!chosen.count(weight.module.name))
      left[weight.module.class_name == "Embedding" ? "embedding" : "not targeted or ignored"].push_back(
          weight.module.name);
  const auto linears = std::count_if(
      outline.weights.begin(), outline.weights.end(),
      [](const WeightModule& weight) { return weight.module.class_name == "Linear"; });
  std::vector<std::string> notes = {
      fmt::format("no model family is known for this folder; by name and rank {} matrices are Linears, {} "
                  "matrices are quantized",
                  linears, chosen.size())};
  for (const auto& [reason, names] : left) {
    std::string text = fmt::format("left as they are: {} ({}): ", names.size(), reason);
    for (size_t i = 0; i < std::min(kNamed, names.size()); ++i) text += (i ? ", " : "") + names[i];
    notes.push_back(text + (names.size() > kNamed ? ", ..." : ""));
  }
  return notes;
}

Graph graph_of(const Checkpoint& checkpoint) {
  return build_graph(checkpoint.config(),
                     [&](const std::string& tensor) { return checkpoint.contains(tensor); });
}

ModelOutline outline_model(const Checkpoint& checkpoint, bool need_graph) {
  ModelOutline outline;
  try {
    outline.graph = graph_of(checkpoint);
    outline.model_type = outline.graph->model_type;
  } catch (const Error& problem) {
    if (need_graph || problem.code() != ErrorCode::unsupported) throw;
  }
  if (outline.graph) outline_from_graph(outline, checkpoint);
  else outline_from_names(outline, checkpoint);
  if (outline.weights.empty())
    throw Error(ErrorCode::bad_file,
                fmt::format("'{}': no 2-D weight to quantize among its {} tensors", checkpoint.directory(),
                            checkpoint.names().size()));
  return outline;
}

}  // namespace llmc
