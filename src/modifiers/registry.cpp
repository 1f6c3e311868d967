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
struct NotBuilt {
  const char* type;
  const char* instead;
};
constexpr const char* kWithoutPruning =
    "llmc does not prune; prune with llm-compressor first, or leave it out";
constexpr const char* kWithoutRotations = "leave it out; SmoothQuantModifier moves outliers too";
constexpr NotBuilt kNotBuilt[] = {
    {"AWQModifier",
     "leave it out, or put SmoothQuantModifier in its place, before GPTQModifier with its scheme"},
    {"AutoRoundModifier", "use GPTQModifier with its scheme, targets and ignore"},
    {"SpinQuantModifier", kWithoutRotations},
    {"QuIPModifier", kWithoutRotations},
    {"SparseGPTModifier", kWithoutPruning},
    {"WandaPruningModifier", kWithoutPruning},
    {"MagnitudePruningModifier", kWithoutPruning},
    {"ConstantPruningModifier", kWithoutPruning},
    {"REAPPruningModifier", kWithoutPruning}};

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
  for (const NotBuilt& missing : kNotBuilt)
    if (spec.type == missing.type)
      throw Error(ErrorCode::unsupported,
                  fmt::format("recipe line {}: not yet built: modifier '{}': {}; there are {}", spec.line,
                              spec.type, missing.instead, names));
  throw Error(
      ErrorCode::invalid_argument,
      fmt::format("recipe line {}: unknown modifier '{}'; there are {}", spec.line, spec.type, names));
}

}  // namespace llmc
