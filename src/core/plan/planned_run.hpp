// A run as far as it can be decided without reading a weight or writing a byte.
#pragma once
#include "core/plan/run_plan.hpp"
#include "llmc/oneshot.hpp"
#include "llmc/recipe.hpp"

namespace llmc {

struct PlannedRun {
  OneshotOptions options;
  RunPolicy policy;
  Propagation propagation = Propagation::sublayer;
  Recipe recipe;
  ModifierList modifiers;
  bool calibrated = false;  // it needs data, or statistics that data once gave
  ModelOutline model;       // with a graph when it is calibrated
  RunPlan plan;
  std::vector<std::string> notes;  // of all of these, in this order
};

// From config.json, the tensors' headers and the recipe. Errors as parse_recipe, make_modifier, outline_model and
// make_plan.
PlannedRun plan_run(const Checkpoint& source, OneshotOptions options);

}  // namespace llmc
