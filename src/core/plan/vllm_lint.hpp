// What vLLM would make of a planned folder, said before the work instead of after the upload. The rules are
// one table in vllm_rules.cpp.
#pragma once
#include <string>
#include <vector>

#include "core/plan/run_plan.hpp"

namespace llmc {

// One module as its reader sees it.
struct LintCase {
  const Scheme* scheme = nullptr;
  Format format = Format::dense;
  std::string class_name;         // "Linear", "Embedding"
  int64_t rows = 0, columns = 0;  // [out, in]
  bool last_of_fused = true;      // not fused, or the last part of its fused layer
};

// The rules that a module breaks, as texts; empty when vLLM loads it with its usual kernels.
std::vector<std::string> broken_rules(const LintCase& module);

// One line per rule and scheme of the plan, with the modules it concerns.
std::vector<std::string> vllm_notes(const RunPlan& plan, const ModelOutline& model);

// Parts of a layer that vLLM runs as one, but that have different schemes, or a scheme only in part: one line
// per layer.
std::vector<std::string> unequal_fused_parts(const RunPlan& plan, const ModelOutline& model);

}  // namespace llmc
