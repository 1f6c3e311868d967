#include "modifiers/registry.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "llmc/error.hpp"

namespace llmc {

namespace {

struct Row {
  const char* type;
  std::unique_ptr<Modifier> (*make)(const ModifierSpec&, const RunPolicy&);
};
constexpr Row kModifiers[] = {
    {"GPTQModifier", make_gptq},
    {"LogarithmicEqualizationModifier", make_smoothquant},
    {"QuantizationModifier", make_rtn},
    {"SmoothQuantModifier", make_smoothquant},
};

// Known to llm-compressor's users; llmc cannot run them yet.
constexpr const char* kNotBuilt[] = {
    "AWQModifier",        "AutoRoundModifier",    "SpinQuantModifier",        "QuIPModifier",
    "SparseGPTModifier",  "WandaPruningModifier", "MagnitudePruningModifier", "ConstantPruningModifier",
    "REAPPruningModifier"};

}  // namespace

std::vector<std::string> modifier_names() {
  std::vector<std::string> names;
  for (const Row& row : kModifiers) names.emplace_back(row.type);
  return names;
}

std::unique_ptr<Modifier> make_modifier(const ModifierSpec& spec, const RunPolicy& policy) {
  for (const Row& row : kModifiers)
    if (spec.type == row.type) return row.make(spec, policy);
  for (const CustomQuantizer& own : policy.custom)
    if (spec.type == own.type) return make_custom(spec, own, policy);
  std::string names;
  for (const Row& row : kModifiers) names += (names.empty() ? "" : ", ") + std::string(row.type);
  for (const CustomQuantizer& own : policy.custom) names += ", " + own.type;
  const bool known = std::any_of(std::begin(kNotBuilt), std::end(kNotBuilt),
                                 [&](const char* name) { return spec.type == name; });
  throw Error(known ? ErrorCode::unsupported : ErrorCode::invalid_argument,
              fmt::format("recipe line {}: {} modifier '{}'; there are {}", spec.line,
                          known ? "not yet built:" : "unknown", spec.type, names));
}

}  // namespace llmc
