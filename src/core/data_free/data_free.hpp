// Compression without data: every weight rounded to nearest as it streams by, everything else copied, in the
// order of the source's files. Any folder of safetensors will do; memory stays under 300 MB whatever the
// model. One exception: observers that search (memoryless_mse, ...) see whole weights, since the reference
// stops their search when no row of the whole weight gains any more; then memory is that of the largest
// weight, or of the largest fused set.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/output/compressed_output.hpp"
#include "core/plan/run_plan.hpp"
#include "core/progress/run_reporter.hpp"

namespace llmc {

struct DataFreeRun {
  const Checkpoint& source;
  const RunPlan& plan;
  Rounding rounding = Rounding::exact;
  Backend& backend;
  CompressedOutput& output;
  RunReporter& reporter;  // polled between tiles; a step per batch
};

// Quantizes plan.scale_partners and copies `copies`. Appends one report row per weight, in plan.order.
// True: all values were checked while they were made, and only names and shapes remain to be verified. (Not
// those of an observer that searches.)
bool compress_data_free(const DataFreeRun& run, const std::vector<TensorCopy>& copies, Report& report);

// The copies alone.
void copy_tensors(const Checkpoint& source,
                  CheckpointWriter& writer,
                  Backend& backend,
                  const std::vector<TensorCopy>& copies,
                  const std::function<void()>& poll);

}  // namespace llmc
