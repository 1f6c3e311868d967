#include "core/calibration/calibrated_run.hpp"

#include "core/calibration/block_compressor.hpp"
#include "core/calibration/block_weights.hpp"

namespace llmc {

void compress_calibrated(const CalibratedRun& run) {
  const auto& blocks = run.graph.blocks;
  Calibrator calibrator(run.graph, run.backend, run.calibration.value_or(TokenBatch{}),
                        [&] { run.reporter.step(); });
  BlockCompressor compressor(run, calibrator);
  size_t end = blocks.size();
  // nothing after the last block with work needs a forward
  while (end > 0 && !compressor.has_work(blocks[end - 1])) --end;
  size_t surveyed = run.propagation == Propagation::layer ? end : 0;
  while (surveyed > 0 && !compressor.needs_survey(blocks[surveyed - 1])) --surveyed;

  int64_t walks = 0;
  for (size_t b = 0; b < surveyed; ++b) walks += compressor.survey_run_count(blocks[b], b + 1 == surveyed);
  for (size_t b = 0; b < end; ++b) walks += compressor.run_count(blocks[b], run.propagation, b + 1 == end);
  run.reporter.begin(walks * static_cast<int64_t>(calibrator.tiles()));
  run.report.samples = calibrator.samples();
  run.report.tokens = calibrator.tokens();

  {
    BlockLoader loader(run.source, blocks, run.backend, surveyed);
    for (size_t b = 0; b < surveyed; ++b) {
      run.reporter.enter("survey", blocks[b].name);
      WeightTable weights = loader.take(b);
      compressor.survey(blocks[b], weights, b + 1 == surveyed);
    }
  }
  calibrator.restart();
  BlockLoader loader(run.source, blocks, run.backend, end);
  for (size_t b = 0; b < end; ++b) {
    const size_t first_row = run.report.linears.size();
    run.reporter.enter("calibrate", blocks[b].name);
    WeightTable weights = loader.take(b);
    compressor.compress(blocks[b], weights, run.propagation, b + 1 == end);
    const Timed timed(run.report.writing_seconds);
    for (const auto& [name, tensor] : weights) run.output.put_tensor(name, tensor);
    run.reporter.leave_layer(first_row);
  }
}

}  // namespace llmc
