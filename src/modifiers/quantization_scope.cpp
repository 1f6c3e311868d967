#include "modifiers/quantization_scope.hpp"

#include "core/quantize/qparams.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/quantize/mse_observer.hpp"
#include "core/recipe/quantization_args_reader.hpp"
#include "llmc/error.hpp"

namespace llmc {

QuantizationScope::QuantizationScope(Arguments& arguments) {
  const RecipeValue* groups = arguments.find("config_groups");
  const RecipeValue* scheme = arguments.find("scheme");
  const std::vector<std::string> targets = arguments.texts("targets", {"Linear"});
  if (groups && scheme) arguments.fail("scheme", "given together with config_groups; wanted one of the two");
  if (!groups && !scheme && !arguments.find("kv_cache_scheme"))
    arguments.fail("scheme",
                   "missing; wanted a preset name (W4A16, W8A8, FP8_DYNAMIC, ...) or config_groups");
  if (groups) read_config_groups(arguments, *groups);
  else if (scheme) read_scheme(arguments, *scheme, targets);
  set_observers(arguments);
  arguments.boolean("bypass_divisibility_checks", false);
  read_kv_cache(arguments);
  check(arguments);

  std::vector<std::string> all_targets;
  for (const auto& [target, index] : scheme_of_target_) all_targets.push_back(target);
  targets_.emplace(all_targets);
  ignored_ = arguments.texts("ignore", {});
  ignore_.emplace(ignored_);
}

void QuantizationScope::add_scheme(Scheme scheme) {
  for (const std::string& target : scheme.targets) scheme_of_target_[target] = schemes_.size();
  schemes_.push_back(std::move(scheme));
}

void QuantizationScope::add_preset(Arguments& arguments,
                                   const char* key,
                                   const std::string& name,
                                   const std::vector<std::string>& targets) {
  try {
    Scheme scheme = preset_scheme(name);
    scheme.targets = targets;
    add_scheme(std::move(scheme));
  } catch (const Error& problem) {
    arguments.fail(key, problem.what());
  }
}

void QuantizationScope::read_scheme(Arguments& arguments,
                                    const RecipeValue& value,
                                    const std::vector<std::string>& targets) {
  if (value.kind != RecipeValue::Kind::map)
    return add_preset(arguments, "scheme", value.as_string(arguments.what("scheme")), targets);
  for (const auto& [name, of] : value.entries)
    add_preset(arguments, "scheme", name, of.as_strings(arguments.what("scheme")));
}

void QuantizationScope::read_config_groups(Arguments& arguments, const RecipeValue& groups) {
  if (groups.kind != RecipeValue::Kind::map || groups.entries.empty())
    arguments.fail("config_groups", "wanted a mapping of group names to groups");
  for (const auto& [name, value] : groups.entries) {
    const std::string what = fmt::format("{}.{}", arguments.what("config_groups"), name);
    // "W4A16": ["Linear"]
    if (value.kind == RecipeValue::Kind::list || value.kind == RecipeValue::Kind::string) {
      add_preset(arguments, "config_groups", name, value.as_strings(what));
    } else {
      add_scheme(read_scheme_value(value, what));
    }
  }
}

void QuantizationScope::set_observers(Arguments& arguments) {
  struct Field {
    const char* key;
    const char* part;
    std::optional<QuantizationArgs> Scheme::*args;
  };
  static constexpr Field kFields[] = {{"weight_observer", "weights", &Scheme::weights},
                                      {"input_observer", "input", &Scheme::input_activations},
                                      {"output_observer", "output", &Scheme::output_activations}};
  const RecipeValue* both = arguments.find("observer");
  if (both && both->kind != RecipeValue::Kind::map)
    arguments.fail("observer",
                   "wanted a mapping with weights, input or output; weight_observer takes one name");
  for (const auto& [part, name] : both ? both->entries : decltype(both->entries){})
    if (std::none_of(std::begin(kFields), std::end(kFields),
                     [&, key = part](const Field& field) { return key == field.part; }))
      arguments.fail("observer", fmt::format("unknown key '{}'; it takes weights, input, output", part));
  for (const Field& field : kFields) {
    const RecipeValue* single = arguments.find(field.key);
    if (single && both) arguments.fail(field.key, "given together with observer; wanted one of the two");
    const RecipeValue* observer = single ? single : both ? both->find(field.part) : nullptr;
    if (!observer || observer->is_null()) continue;
    for (Scheme& scheme : schemes_)
      if (auto& args = scheme.*field.args; args && args->is_static())
        args->observer = observer->as_string(arguments.what(field.key));
  }
}

void QuantizationScope::read_kv_cache(Arguments& arguments) {
  const RecipeValue* value = arguments.find("kv_cache_scheme");
  if (!value || value->is_null()) return;
  kv_cache_ = read_quantization_args(*value, arguments.what("kv_cache_scheme"), std::nullopt);
  if (kv_cache_->dynamic != Dynamic::no)
    arguments.fail("kv_cache_scheme", "is dynamic; the cache's scales are fixed at calibration time");
  if (kv_cache_->strategy != Strategy::tensor && kv_cache_->strategy != Strategy::attn_head)
    arguments.fail("kv_cache_scheme", "wanted strategy tensor or attn_head");
}

bool QuantizationScope::needs_calibration() const {
  const auto is_fixed = [](const std::optional<QuantizationArgs>& args) { return args && args->is_static(); };
  return kv_cache_ || std::any_of(schemes_.begin(), schemes_.end(), [&](const Scheme& scheme) {
           return is_fixed(scheme.input_activations) || is_fixed(scheme.output_activations) ||
               weighs_channels(scheme);
         });
}

void QuantizationScope::check(Arguments& arguments) const {
  for (const Scheme& scheme : schemes_) {
    if (!scheme.weights) {  // UNQUANTIZED, or the states of attention modules
      if (scheme.output_activations)
        arguments.fail("config_groups",
                       "a group without weights quantizes the states of attention modules: wanted "
                       "input_activations alone");
      continue;
    }
    try {
      range_search(*scheme.weights);
    } catch (const Error& problem) {
      arguments.fail(arguments.find("weight_observer") ? "weight_observer"
                         : arguments.find("observer")  ? "observer"
                                                       : "config_groups",
                     problem.what());
    }
    for (const auto* args : {&scheme.input_activations, &scheme.output_activations})
      if (*args && (*args)->dynamic == Dynamic::no && (*args)->strategy != Strategy::tensor)
        arguments.fail("config_groups",
                       "static activations have one scale per tensor; wanted strategy tensor");
  }
}

const Scheme* QuantizationScope::scheme_for(const Module& module) const {
  const bool attention = module.class_name.ends_with("Attention");
  if (module.class_name != "Linear" && module.class_name != "Embedding" && !attention) return nullptr;
  if (ignore_->match(module.name, module.class_name)) return nullptr;
  const std::string* target = targets_->match(module.name, module.class_name);
  if (!target) return nullptr;
  const Scheme& scheme = schemes_[scheme_of_target_.at(*target)];
  if (scheme.weights) return attention ? nullptr : &scheme;
  if (!scheme.input_activations) return nullptr;  // UNQUANTIZED leaves a module alone
  if (!attention)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("recipe: '{}' is a {}, and target '{}' gives it a scheme without weights; only "
                            "attention modules can have one",
                            module.name, module.class_name, *target));
  return &scheme;
}

std::vector<std::string> QuantizationScope::unmatched_targets(std::span<const Module> modules) const {
  std::vector<std::string> unmatched;
  for (const auto& [target, index] : scheme_of_target_) {
    const TargetMatcher matcher({target});
    if (std::none_of(modules.begin(), modules.end(),
                     [&](const Module& m) { return matcher.match(m.name, m.class_name); }))
      unmatched.push_back(target);
  }
  return unmatched;
}

std::vector<std::string> QuantizationScope::unmatched_ignores(std::span<const Module> modules) const {
  return unmatched_of(ignored_, modules);
}

std::vector<std::string> unmatched_of(const std::vector<std::string>& entries,
                                      std::span<const Module> modules) {
  std::vector<std::string> unmatched;
  for (const std::string& entry : entries) {
    const TargetMatcher matcher({entry});
    if (!matcher.match("lm_head", "Linear") &&
        std::none_of(modules.begin(), modules.end(),
                     [&](const Module& m) { return matcher.match(m.name, m.class_name); }))
      unmatched.push_back(entry);
  }
  return unmatched;
}

std::vector<std::string> take_group_order_as_static(QuantizationScope& scope,
                                                    Arguments& arguments,
                                                    Compat compat) {
  bool taken = false;
  for (Scheme& scheme : scope.schemes()) {
    if (!scheme.weights || scheme.weights->actorder != ActOrder::group) continue;
    if (compat == Compat::reference)
      arguments.fail("actorder",
                     "'group' needs a column index on disk, which llm-compressor no longer takes; wanted "
                     "'static', which visits columns in the same order");
    scheme.weights->actorder = ActOrder::weight;
    scheme.weights->actorder_text = "static";
    taken = true;
  }
  if (!taken) return {};
  return {
      fmt::format("recipe: {}: 'group' is taken as 'static', which visits columns in the same order and "
                  "needs no column index on disk",
                  arguments.what("actorder"))};
}

std::vector<std::vector<QuantizedMatrix>> ScopedQuantizer::quantize_all(
    std::span<const MatrixSet> sets,
    Backend& backend,
    std::vector<LinearReport>& rows) const {
  std::vector<std::vector<QuantizedMatrix>> results;
  for (const MatrixSet& set : sets) results.push_back(quantize(set, backend, rows));
  return results;
}

}  // namespace llmc
