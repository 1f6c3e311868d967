#include "core/plan/planned_run.hpp"

namespace llmc {
namespace {

RunPolicy policy_of(const OneshotOptions& options) {
  return {
      options.compat,
      options.rounding.value_or(options.compat == Compat::reference ? Rounding::reference : Rounding::exact),
      options.custom_quantizers};
}

Propagation propagation_of(const OneshotOptions& options) {
  return options.propagation.value_or(options.compat == Compat::reference ? Propagation::layer
                                                                          : Propagation::sublayer);
}

}  // namespace

PlannedRun plan_run(const Checkpoint& source, OneshotOptions options) {
  const RunPolicy policy = policy_of(options);
  Recipe recipe = options.scheme.empty() ? parse_recipe(options.recipe, options.stage)
                                         : recipe_for_scheme(options.scheme);
  ModifierList modifiers(recipe, policy);
  const bool calibrated = modifiers.need_calibration();
  ModelOutline model = outline_model(source, calibrated);
  RunPlan plan = make_plan(source, model, modifiers, options);

  std::vector<std::string> notes = recipe.notes;
  const auto note = [&](const std::vector<std::string>& lines) {
    notes.insert(notes.end(), lines.begin(), lines.end());
  };
  note(plan.notes);
  if (model.graph && calibrated) note(model.graph->notes);
  if (!model.graph) note(outline_notes(model, plan.order));
  note(source.notes());
  const Propagation propagation = propagation_of(options);
  // `policy` and the modifiers refer to the custom quantizers where they lie, which moving `options` does not change
  return {std::move(options), policy,           propagation,     std::move(recipe), std::move(modifiers),
          calibrated,         std::move(model), std::move(plan), std::move(notes)};
}

}  // namespace llmc
