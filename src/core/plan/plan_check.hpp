// What a planned folder must hold so that it is sound in the end: looked for before the first weight is read.
#pragma once
#include "core/model/model_outline.hpp"
#include "core/plan/run_plan.hpp"

namespace llmc {

// Error(invalid_argument): a tensor of the source is a part of a quantized weight, or has the name of one that
// the run is going to write.
void refuse_quantized_parts(const Checkpoint& source);

// Error(invalid_argument): Linears that are solved together, because they read one input, have different
// dtypes.
void check_shared_inputs(const RunPlan& plan, const ModelOutline& model);

// Matrices that are copied although a target of the config would name them (a value head, layers beyond
// num_hidden_layers) come into its ignore list, with a note.
void ignore_copied_matrices(RunPlan& plan, const Checkpoint& source);

// Error(invalid_argument): verify_folder would refuse what the plan makes.
void check_planned_folder(const RunPlan& plan, const Checkpoint& source, const OneshotOptions& options);

}  // namespace llmc
