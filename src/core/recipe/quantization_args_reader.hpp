// One entry of config_groups -> Scheme. Unknown keys are errors, as in compressed-tensors.
#pragma once
#include <optional>
#include <string>

#include "llmc/recipe.hpp"
#include "llmc/scheme.hpp"

namespace llmc {

// `what` names the entry in errors: "GPTQModifier.config_groups.group_0".
Scheme read_scheme_value(const RecipeValue& value, const std::string& what);
// `observer`: the one that stands when none is given.
QuantizationArgs read_quantization_args(const RecipeValue& value,
                                        const std::string& what,
                                        std::optional<std::string> observer = "memoryless_minmax");

// "static" | "weight" | "group" | "dynamic", or as a boolean: true for group, false for none; null or absent is
// for the caller.
ActOrder parse_actorder(const RecipeValue& value, const std::string& what);
// as config.json spells it
std::string actorder_text(const RecipeValue& value, ActOrder order);

}  // namespace llmc
