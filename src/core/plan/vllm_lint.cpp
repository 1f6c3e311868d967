#include "core/plan/vllm_lint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_set>

#include "core/quantize/row_tiles.hpp"

namespace llmc {

namespace {

using Args = QuantizationArgs;

// What a reader sees of two schemes is the same.
Args as_read(Args args) {
  args.observer.reset();
  args.observer_kwargs.clear();
  args.actorder.reset();
  args.actorder_text.clear();
  return args;
}
bool same_part(const std::optional<Args>& a, const std::optional<Args>& b) {
  return a.has_value() == b.has_value() && (!a || as_read(*a) == as_read(*b));
}
bool same_for_reader(const ModuleDecision& a, const ModuleDecision& b) {
  return a.format == b.format && same_part(a.scheme->weights, b.scheme->weights) &&
      same_part(a.scheme->input_activations, b.scheme->input_activations) &&
      same_part(a.scheme->output_activations, b.scheme->output_activations);
}

std::string leaf_of(const std::string& module) { return module.substr(module.rfind('.') + 1); }

std::string some_names(const std::vector<std::string>& names) {
  const std::string rest = names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : "";
  return names.front() + rest;
}

// Some releases look for the class before the names of a fused layer's parts.
std::vector<std::string> captured_by_class(const RunPlan& plan) {
  const bool by_class = std::any_of(
      plan.config.groups.begin(), plan.config.groups.end(), [](const auto& group) {
        return std::count(group.scheme.targets.begin(), group.scheme.targets.end(), "Linear") > 0;
      });
  if (!by_class || plan.config.groups.size() < 2) return {};
  return {
      "vllm: target 'Linear' stands beside groups that name modules: older releases match fused layers by "
      "class first and read them all with the scheme of 'Linear'; name every group's modules to be safe"};
}

}  // namespace

std::vector<std::string> vllm_notes(const RunPlan& plan, const ModelOutline& model) {
  std::unordered_set<std::string> not_last;
  for (const auto& parts : model.fused)
    not_last.insert(parts.begin(), parts.empty() ? parts.end() : parts.end() - 1);
  // (rule, scheme) -> modules, in model order
  std::vector<std::pair<std::pair<std::string, const Scheme*>, std::vector<std::string>>> found;
  for (const std::string& name : plan.order) {
    const ModuleDecision& decision = plan.decisions.at(name);
    const Shape& shape = decision.weight.shape;
    for (std::string& text :
         broken_rules({decision.scheme, decision.format, decision.weight.module.class_name, shape[0],
                       shape[1], !not_last.count(name)})) {
      const std::pair key{std::move(text), decision.scheme};
      auto at = std::find_if(found.begin(), found.end(),
                             [&](const auto& entry) { return entry.first == key; });
      if (at == found.end()) at = found.insert(found.end(), {key, {}});
      at->second.push_back(name);
    }
  }
  std::vector<std::string> notes;
  for (const auto& [key, modules] : found)
    notes.push_back(
        fmt::format("vllm: {} ({}): {}", some_names(modules), describe(*key.second->weights), key.first));
  for (std::string& note : captured_by_class(plan)) notes.push_back(std::move(note));
  return notes;
}

std::vector<std::string> unequal_fused_parts(const RunPlan& plan, const ModelOutline& model) {
  std::vector<std::string> lines;
  for (const auto& parts : model.fused) {
    const ModuleDecision* first = plan.find(parts.front());
    std::string list;
    bool equal = true, partly = false, one_call = true;
    for (const std::string& part : parts) {
      const ModuleDecision* decision = plan.find(part);
      partly = partly || !first != !decision;
      equal = equal && !partly && (!first || same_for_reader(*first, *decision));
      // one global scale
      one_call = one_call &&
          (partly || !first ||
           (decision->quantizer == first->quantizer && decision->scheme == first->scheme));
      list += fmt::format("{}{} is {}", list.empty() ? "" : ", ", leaf_of(part),
                          decision ? describe(*decision->scheme->weights) : "not quantized");
    }
    if (equal && (one_call || first->scheme->weights->strategy != Strategy::tensor_group)) continue;
    const std::string& name = parts.front();
    const std::string does = partly
        ? "stops (ValueError: Found different quantization schemes for the shards)"
        : equal ? "uses one global scale for all, but parts of several groups get one each"
                : fmt::format("reads them all with the scheme of {}", leaf_of(name));
    lines.push_back(fmt::format("{}: {}; vLLM runs them as one layer and {}; wanted one group for them",
                                name.substr(0, name.rfind('.')), list, does));
  }
  return lines;
}

}  // namespace llmc
