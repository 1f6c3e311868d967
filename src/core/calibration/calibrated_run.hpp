// Compression with calibration data, block by block: read, observe, transform, quantize, write. One block's
// weights in memory at a time.
#pragma once
#include "core/files/checkpoint.hpp"
#include "core/output/compressed_output.hpp"
#include "core/plan/run_plan.hpp"
#include "core/progress/run_reporter.hpp"

namespace llmc {

struct CalibratedRun {
  const Checkpoint& source;
  const Graph& graph;
  const ModifierList& modifiers;
  const RunPlan& plan;
  const OneshotOptions& options;
  const std::optional<TokenBatch>& calibration;  // options', or what options.load_calibration gave
  Propagation propagation;
  Backend& backend;
  CompressedOutput& output;
  RunReporter& reporter;
  Report& report;
};
// statistics from a forward pass over `calibration`
void compress_calibrated(const CalibratedRun& run);
void compress_from_statistics(const CalibratedRun& run);  // from options.statistics; no forward pass

}  // namespace llmc
