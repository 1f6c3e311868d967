#include "core/formats/conv1d.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/json/json_value.hpp"

namespace llmc {

namespace {

constexpr std::string_view kModelTypes[] = {
    "gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp_decoder", "jukebox", "jukebox_prior"};
constexpr std::string_view kLeaves[] = {"c_attn", "c_proj", "c_fc", "q_attn", "c_enc_kv"};

template <size_t count>
bool contains_text(const std::string_view (&list)[count], std::string_view text) {
  return std::find(std::begin(list), std::end(list), text) != std::end(list);
}

std::string_view leaf_of(std::string_view module) { return module.substr(module.rfind('.') + 1); }

// of the whole or of a part: "decoder": {"model_type": "gpt2"}
std::string telling_model_type(const JsonValue& config) {
  const JsonValue* type = config.find("model_type");
  if (type && contains_text(kModelTypes, type->as_string().value_or("")))
    return type->as_string().value_or("");
  for (const auto& [key, value] : config.members)
    if (const JsonValue* part = value.find("model_type");
        part && contains_text(kModelTypes, part->as_string().value_or("")))
      return part->as_string().value_or("");
  return "";
}

}  // namespace

Conv1dModules::Conv1dModules(const Checkpoint& folder) {
  const std::string type = telling_model_type(parse_json(folder.config(), "config.json"));
  if (!type.empty()) why_ = fmt::format("model_type '{}'", type);
  for (const std::string& name : folder.names()) {
    if (!why_.empty()) return;
    if (!name.ends_with("c_attn.weight")) continue;
    const Shape shape = folder.info(name).shape;
    if (shape.size() == 2 && shape[1] % 3 == 0 && shape[1] / 3 == shape[0])
      why_ = fmt::format("'{}' {}", name, to_string(shape));
  }
}

bool Conv1dModules::contains(const std::string& module) const {
  return !why_.empty() && contains_text(kLeaves, leaf_of(module));
}

}  // namespace llmc
