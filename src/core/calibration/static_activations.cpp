#include "core/calibration/static_activations.hpp"

#include <algorithm>

namespace llmc {

std::vector<StaticActivation> static_activations(const Block& block, const RunPlan& plan) {
  std::vector<StaticActivation> all;
  const auto add = [&](ValueId value, const std::optional<QuantizationArgs>& args, int64_t heads,
                       std::string name) {
    if (!args || !args->is_static()) return;
    const auto same = std::find_if(all.begin(), all.end(), [&](const StaticActivation& other) {
      return other.value == value && *other.args == *args;
    });
    if (same != all.end()) same->names.push_back(std::move(name));
    else all.push_back({value, &*args, heads, {std::move(name)}});
  };
  for (const Node& node : block.nodes) {
    if (const ModuleDecision* decision = node.linear() ? plan.find(node.name) : nullptr) {
      add(node.inputs[0], decision->scheme->input_activations, 1, node.name + ".input");
      add(node.output, decision->scheme->output_activations, 1, node.name + ".output");
    }
    if (const auto* attention = std::get_if<Attention>(&node.operation))
      if (const auto scales = plan.attentions.find(attention->module); scales != plan.attentions.end())
        for (const auto& state : scales->second.states(*attention))
          add(node.inputs[state.input], scales->second.args, state.heads, state.name);
  }
  return all;
}

}  // namespace llmc
