#include "core/plan/run_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/formats/compressed_tensors.hpp"
#include "core/files/name_list.hpp"
#include "core/plan/plan_check.hpp"
#include "core/recipe/nearest_name.hpp"
#include "core/plan/vllm_lint.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

constexpr const char* kHead = "lm_head";
constexpr const char* kHeadWeight = "lm_head.weight";

void assign_attentions(RunPlan& plan, const ModelOutline& model, const ModifierList& modifiers) {
  for (const Module& module : model.modules) {
    if (!module.class_name.ends_with("Attention")) continue;
    for (const Quantizer* quantizer : modifiers.quantizers) {
      const Scheme* scheme = quantizer->scheme_for(module);
      const QuantizationArgs* cache = quantizer->kv_cache_scheme();
      if (!scheme && !cache) continue;
      const bool added = plan.attentions
                             .insert(
                                 {module.name,
                                  {scheme ? *scheme->input_activations : *cache, scheme != nullptr, scheme}})
                             .second;
      if (!added || (scheme && cache))
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("recipe: the states of '{}' get two schemes (a group and kv_cache_scheme, or "
                                "two modifiers); wanted one",
                                module.name));
    }
  }
}

void check_embedding(const Module& module, const Scheme& scheme) {
  const auto is_fixed = [](const std::optional<QuantizationArgs>& args) { return args && args->is_static(); };
  if (module.class_name == "Embedding" &&
      (is_fixed(scheme.input_activations) || is_fixed(scheme.output_activations)))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("recipe: '{}' is an Embedding and has no activations to fix a scale for; wanted "
                            "a scheme of weights alone",
                            module.name));
}

void assign(RunPlan& plan, const ModelOutline& model, const ModifierList& modifiers, ConfigFlavor flavor) {
  for (const Quantizer* quantizer : modifiers.quantizers) {
    const auto unmatched = quantizer->unmatched_targets(model.modules);
    if (!unmatched.empty())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("recipe: {}: no module of this model matches target '{}'{}", quantizer->type(),
                              some_of(unmatched), nearest_name_hint(unmatched.front(), model.modules)));
    for (const WeightModule& weight : model.weights)
      if (const Scheme* scheme = quantizer->scheme_for(weight.module)) {
        check_embedding(weight.module, *scheme);
        const auto [at, added] = plan.decisions.insert(
            {weight.module.name, {quantizer, scheme, choose_format(*scheme, flavor), weight}});
        if (!added)
          throw Error(ErrorCode::invalid_argument,
                      fmt::format("recipe: '{}' is targeted by {} and by {}; a module gets one scheme",
                                  weight.module.name, at->second.quantizer->type(), quantizer->type()));
      }
  }
  for (const WeightModule& weight : model.weights)
    if (plan.decisions.count(weight.module.name)) plan.order.push_back(weight.module.name);
  assign_attentions(plan, model, modifiers);
  const bool wanted = std::any_of(
      modifiers.quantizers.begin(), modifiers.quantizers.end(), [](const Quantizer* quantizer) {
        return std::any_of(quantizer->schemes().begin(), quantizer->schemes().end(),
                           [](const Scheme& scheme) { return scheme.weights.has_value(); });
      });  // not by UNQUANTIZED
  if (plan.order.empty() && plan.attentions.empty() && wanted)
    throw Error(ErrorCode::invalid_argument,
                "recipe: every targeted module is ignored; nothing would be quantized");
}

void find_scale_partners(RunPlan& plan, const ModelOutline& model) {
  std::unordered_map<std::string, size_t> fused_set;
  for (size_t set = 0; set < model.fused.size(); ++set)
    for (const std::string& module : model.fused[set]) fused_set[module] = set;
  std::map<std::pair<size_t, const Scheme*>, size_t> batch_of;  // (fused set, scheme) -> batch
  for (const std::string& name : plan.order) {
    const Scheme* scheme = plan.decisions.at(name).scheme;
    const auto set = fused_set.find(name);
    if (scheme->weights->strategy == Strategy::tensor_group && set != fused_set.end()) {
      const auto [at, added] = batch_of.insert({{set->second, scheme}, plan.scale_partners.size()});
      if (!added) {
        plan.scale_partners[at->second].push_back(name);
        continue;
      }
    }
    plan.scale_partners.push_back({name});
  }
}

void check_divisibility(const RunPlan& plan) {
  std::vector<std::pair<std::string, int64_t>> odd;  // with their group sizes
  for (const std::string& name : plan.order) {
    const ModuleDecision& decision = plan.decisions.at(name);
    const QuantizationArgs& args = *decision.scheme->weights;
    const bool grouped = args.strategy == Strategy::group || args.strategy == Strategy::tensor_group;
    if (grouped && decision.weight.shape[1] % *args.group_size) odd.emplace_back(name, *args.group_size);
  }
  if (odd.empty()) return;
  const bool one_size = std::all_of(odd.begin(), odd.end(),
                                    [&](const auto& layer) { return layer.second == odd[0].second; });
  std::vector<std::string> layers;
  for (const auto& [name, size] : odd)
    layers.push_back(fmt::format("{} ({} columns{})", name, plan.decisions.at(name).weight.shape[1],
                                 one_size ? "" : fmt::format(", group size {}", size)));
  throw Error(
      ErrorCode::invalid_argument,
      fmt::format("recipe: {} layer(s) have columns that are no multiple of {}: {}; ignore them or "
                  "choose another group_size",
                  odd.size(), one_size ? fmt::format("the group size {}", odd[0].second) : "their group size",
                  some_of(layers)));
}

// A tied head and its embedding stay one tensor when both are left alone, or when both get the same codes.
// Otherwise the head gets tensors of its own.
void decide_tie(RunPlan& plan, const ModelOutline& model, const OneshotOptions& options) {
  if (!model.tied_embeddings) return;
  const ModuleDecision* head = plan.find(kHead);
  const auto embedding = std::find_if(plan.order.begin(), plan.order.end(), [&](const std::string& name) {
    return plan.decisions.at(name).weight.module.class_name == "Embedding";
  });
  const ModuleDecision* table = embedding == plan.order.end() ? nullptr : plan.find(*embedding);
  plan.head_is_embedding = options.tie_word_embeddings && head && table && head->scheme == table->scheme &&
      !head->quantizer->needs_gram();
  plan.untie = !plan.head_is_embedding && (!options.tie_word_embeddings || head || table);
  if (!plan.head_is_embedding) return;
  plan.decisions.erase(kHead);
  std::erase(plan.order, kHead);
}

// Beside the first Linear of the block that has them.
template <class FileOf>
void plan_attention_scales(RunPlan& plan, const Graph& graph, const FileOf& file_of) {
  for (const Block& block : graph.blocks)
    for (const Node& node : block.nodes) {
      const auto* attention = std::get_if<Attention>(&node.operation);
      const auto scales = attention ? plan.attentions.find(attention->module) : plan.attentions.end();
      if (scales == plan.attentions.end()) continue;
      for (const auto& state : scales->second.states(*attention))
        for (PlannedTensor& tensor :
             plan.output->activation_tensors(state.name, scales->second.args, state.heads, graph.dtype)) {
          const auto linear = std::find_if(block.nodes.begin(), block.nodes.end(),
                                           [](const Node& other) { return other.linear(); });
          tensor.file = file_of(linear->weight(WeightRole::weight)->source.tensor);
          plan.tensors.push_back(std::move(tensor));
        }
    }
}

void plan_tensors(RunPlan& plan,
                  const Checkpoint& checkpoint,
                  const ModelOutline& model,
                  const OneshotOptions& options) {
  // source tensor -> the modules whose own weights it holds, when one of them is quantized
  std::unordered_map<std::string, std::vector<const WeightModule*>> replaced;
  const auto owns = [](const WeightModule& weight) {
    return weight.weight == weight.module.name + ".weight";
  };
  for (const WeightModule& weight : model.weights)
    if (owns(weight) && plan.find(weight.module.name)) replaced[weight.source.tensor];
  for (const WeightModule& weight : model.weights)
    if (const auto it = replaced.find(weight.source.tensor); it != replaced.end() && owns(weight))
      it->second.push_back(&weight);
  const auto file_of = [&](const std::string& source_tensor) {
    return options.max_shard_bytes ? std::string() : checkpoint.info(source_tensor).file;
  };
  const auto add_quantized = [&](const ModuleDecision& decision) {
    const std::string file = file_of(decision.weight.source.tensor);
    for (PlannedTensor& tensor : plan.output->module_tensors(decision.planned())) {
      tensor.file = file;
      plan.tensors.push_back(std::move(tensor));
    }
  };
  if (model.graph) plan_attention_scales(plan, *model.graph, file_of);
  const auto add_copy = [&](const WeightRef& from, const std::string& name, DType dtype, const Shape& shape) {
    plan.tensors.push_back({name, dtype, shape, file_of(from.tensor)});
    plan.copied.push_back({from, name});
  };
  // some tied folders carry an lm_head.weight nobody reads
  const bool drops_stale_head = model.tied_embeddings && plan.untie;
  for (const std::string& name : checkpoint.names()) {
    if (const auto it = replaced.find(name); it != replaced.end()) {
      for (const WeightModule* part : it->second) {
        if (const ModuleDecision* decision = plan.find(part->module.name)) add_quantized(*decision);
        else add_copy(part->source, part->weight, part->dtype, part->shape);
      }
    } else if (!(drops_stale_head && name == kHeadWeight)) {
      const TensorInfo info = checkpoint.info(name);
      add_copy({name}, name, info.dtype, info.shape);
    }
  }
  if (!plan.untie) return;
  if (const ModuleDecision* decision = plan.find(kHead)) add_quantized(*decision);
  else if (const WeightModule* head = model.find(kHead))
    add_copy(head->source, kHeadWeight, head->dtype, head->shape);
}

void plan_config(RunPlan& plan,
                 const ModelOutline& model,
                 const ModifierList& modifiers,
                 const OneshotOptions& options) {
  std::vector<const Scheme*> used;  // in the order of their first module
  std::set<std::string> quantized_classes;
  std::map<std::string, std::vector<std::string>> left_out;  // by class
  std::vector<std::string> classes;
  for (const Module& module : model.modules) {
    const ModuleDecision* decision = plan.find(module.name);
    const auto attention = plan.attentions.find(module.name);
    const Scheme* scheme = decision          ? decision->scheme
        : attention != plan.attentions.end() ? attention->second.scheme
                                             : nullptr;
    if (plan.head_is_embedding && module.name == kHead) continue;
    if (!decision && attention == plan.attentions.end()) {
      // as their reader sees them
      const std::string class_name = module.class_name == "Router" || module.class_name == "Head"
          ? "Linear"
          : module.class_name;
      if (left_out[class_name].empty()) classes.push_back(class_name);
      left_out[class_name].push_back(module.name);
      continue;
    }
    quantized_classes.insert(module.class_name);
    if (!scheme || std::find(used.begin(), used.end(), scheme) != used.end()) continue;
    used.push_back(scheme);
    QuantizationConfig::Group group{fmt::format("group_{}", used.size() - 1), *scheme};
    group.scheme.format = decision ? decision->format : Format::dense;
    if (!decision) {
      plan.config.kv_cache_scheme = scheme->input_activations;
      // the one group without weights that vLLM passes over is named after the class
      if (options.compat == Compat::vllm) group.scheme.targets = {module.class_name};
    }
    plan.config.groups.push_back(std::move(group));
  }
  // vLLM's head is no "Linear" to its target matching: name it, so that a quantized one is found.
  if (const ModuleDecision* head = plan.find(kHead); head && options.compat == Compat::vllm) {
    auto& targets =
        plan.config
            .groups[static_cast<size_t>(std::find(used.begin(), used.end(), head->scheme) - used.begin())]
            .scheme.targets;
    if (std::find(targets.begin(), targets.end(), kHead) == targets.end()) targets.push_back(kHead);
  }
  for (const std::string& name : classes)
    if (quantized_classes.count(name))
      plan.config.ignore.insert(plan.config.ignore.end(), left_out[name].begin(), left_out[name].end());
  for (const Quantizer* quantizer : modifiers.quantizers)
    if (const QuantizationArgs* cache = quantizer->kv_cache_scheme()) plan.config.kv_cache_scheme = *cache;
}

// llm-compressor writes what vLLM cannot load; --compat vllm does not.
void lint(RunPlan& plan, const ModelOutline& model, const OneshotOptions& options) {
  const auto add = [&](const std::vector<std::string>& lines) {
    plan.notes.insert(plan.notes.end(), lines.begin(), lines.end());
  };
  const std::vector<std::string> unequal = unequal_fused_parts(plan, model);
  if (options.compat == Compat::reference) return add(unequal);
  if (!unequal.empty()) throw Error(ErrorCode::invalid_argument, fmt::format("recipe: {}", unequal.front()));
  if (plan.output->keeps_codes()) add(vllm_notes(plan, model));
}

// Names of the recipe that do nothing: most often they are mistyped.
void check_names(RunPlan& plan,
                 const ModelOutline& model,
                 const ModifierList& modifiers,
                 const OneshotOptions& options) {
  for (const auto& modifier : modifiers.all) {
    std::string list;
    for (const std::string& entry : modifier->unmatched_ignores(model.modules))
      list += fmt::format("{}'{}'{}", list.empty() ? "" : ", ", entry,
                          nearest_name_hint(entry, model.modules));
    if (!list.empty() && options.compat == Compat::vllm)
      plan.notes.push_back(fmt::format("recipe: {}: ignore entries that match no module of this model: {}",
                                       modifier->type(), list));
  }
  for (const Transform* transform : modifiers.transforms) {
    if (!model.graph) continue;
    const std::vector<std::string> unused = transform->unused_mappings(*model.graph);
    if (!unused.empty() && options.compat == Compat::vllm)
      throw Error(ErrorCode::invalid_argument, unused.front());
    plan.notes.insert(plan.notes.end(), unused.begin(), unused.end());
  }
}

}  // namespace

std::vector<AttentionScales::State> AttentionScales::states(const Attention& attention) const {
  std::vector<State> all{{1, attention.module + ".k", attention.kv_heads},
                         {2, attention.module + ".v", attention.kv_heads}};
  if (queries) all.insert(all.begin(), {0, attention.module + ".q", attention.heads});
  return all;
}

const ModuleDecision* RunPlan::find(const std::string& module) const {
  const auto it = decisions.find(module);
  return it == decisions.end() ? nullptr : &it->second;
}

RunPlan make_plan(const Checkpoint& checkpoint,
                  const ModelOutline& model,
                  const ModifierList& modifiers,
                  const OneshotOptions& options) {
  refuse_quantized_parts(checkpoint);
  RunPlan plan;
  plan.output = options.save_compressed ? &compressed_tensors_format() : &dense_format();
  plan.notes = modifiers.notes;
  for (const auto& modifier : modifiers.all)
    for (const std::string& line : modifier->notes()) plan.notes.push_back(line);
  assign(plan, model, modifiers,
         options.compat == Compat::reference ? ConfigFlavor::reference : ConfigFlavor::vllm);
  check_names(plan, model, modifiers, options);
  check_divisibility(plan);
  check_shared_inputs(plan, model);
  decide_tie(plan, model, options);
  find_scale_partners(plan, model);
  plan_tensors(plan, checkpoint, model, options);
  plan_config(plan, model, modifiers, options);
  if (plan.output->keeps_codes()) ignore_copied_matrices(plan, checkpoint);
  lint(plan, model, options);
  check_planned_folder(plan, checkpoint, options);
  return plan;
}

std::string planned_config(const RunPlan& plan, const Checkpoint& source, const OneshotOptions& options) {
  const std::string text = plan.output->config(
      source.config(), plan.config,
      options.compat == Compat::reference ? ConfigFlavor::reference : ConfigFlavor::vllm);
  return plan.untie ? set_config_boolean(text, "tie_word_embeddings", false) : text;
}

}  // namespace llmc
