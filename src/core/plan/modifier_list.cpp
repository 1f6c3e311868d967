#include "core/plan/modifier_list.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "llmc/error.hpp"

namespace llmc {

namespace {

bool has_argument(const ModifierSpec& spec, std::string_view key) {
  const RecipeValue* value = spec.arguments.find(key);
  return value && !value->is_null();
}

// The QuantizationModifier before a GPTQModifier without a scheme says what is quantized; GPTQModifier how. Both
// become one GPTQModifier.
ModifierSpec with_scheme_of(const ModifierSpec& gptq, const ModifierSpec& what) {
  const auto texts = [](const ModifierSpec& spec, const char* key) {
    const RecipeValue* value = spec.arguments.find(key);
    return value ? value->as_strings(fmt::format("{}.{}", spec.type, key)) : std::vector<std::string>{};
  };
  const std::vector<std::string> targets = texts(gptq, "targets"), ignored = texts(what, "ignore");
  bool same = targets.empty() || targets == std::vector<std::string>{"Linear"} ||
      targets == texts(what, "targets");
  for (const std::string& entry : texts(gptq, "ignore"))
    same = same && std::find(ignored.begin(), ignored.end(), entry) != ignored.end();
  if (!same)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("recipe line {}: {} has no scheme and takes that of {} (line {}), but has other "
                            "targets or ignores more; wanted its own scheme, or the same modules",
                            gptq.line, gptq.type, what.type, what.line));
  ModifierSpec merged = gptq;
  std::erase_if(merged.arguments.entries,
                [](const auto& entry) { return entry.first == "targets" || entry.first == "ignore"; });
  for (const auto& [key, value] : what.arguments.entries)
    if (!has_argument(merged, key)) {
      std::erase_if(merged.arguments.entries,
                    [&, name = key](const auto& entry) { return entry.first == name; });
      merged.arguments.entries.emplace_back(key, value);
    }
  return merged;
}

std::vector<ModifierSpec> with_schemes(const std::vector<ModifierSpec>& modifiers,
                                       std::vector<std::string>& notes) {
  const auto says_what = [](const ModifierSpec& spec) {
    return has_argument(spec, "scheme") || has_argument(spec, "config_groups");
  };
  std::vector<ModifierSpec> all;
  for (const ModifierSpec& spec : modifiers) {
    const bool bare = spec.type == "GPTQModifier" && !says_what(spec) &&
        !has_argument(spec, "kv_cache_scheme");
    const auto what = std::find_if(all.rbegin(), all.rend(), [&](const ModifierSpec& before) {
      return bare && before.type == "QuantizationModifier" && says_what(before);
    });
    if (what == all.rend()) {
      all.push_back(spec);
      continue;
    }
    notes.push_back(
        fmt::format("recipe line {}: {} has no scheme and takes that of {} (line {}), which does "
                    "nothing else",
                    spec.line, spec.type, what->type, what->line));
    ModifierSpec merged = with_scheme_of(spec, *what);
    all.erase(std::next(what).base());
    all.push_back(std::move(merged));
  }
  return all;
}

}  // namespace

ModifierList::ModifierList(const Recipe& recipe, const RunPolicy& policy) {
  for (const ModifierSpec& spec : with_schemes(recipe.modifiers, notes)) {
    all.push_back(make_modifier(spec, policy));
    if (const auto* quantizer = dynamic_cast<const Quantizer*>(all.back().get()))
      quantizers.push_back(quantizer);
    if (const auto* transform = dynamic_cast<const Transform*>(all.back().get())) {
      if (!quantizers.empty())
        throw Error(
            ErrorCode::invalid_argument,
            fmt::format("recipe line {}: {} comes after {}; it changes weights, so it must come first",
                        spec.line, spec.type, quantizers.back()->type()));
      transforms.push_back(transform);
    }
  }
}

bool ModifierList::need_calibration() const {
  return !transforms.empty() || std::any_of(quantizers.begin(), quantizers.end(), [](const Quantizer* q) {
    return q->needs_gram() || q->needs_calibration();
  });
}

}  // namespace llmc
