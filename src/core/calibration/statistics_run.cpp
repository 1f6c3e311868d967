#include "core/calibration/statistics_run.hpp"

#include <filesystem>
#include <optional>

#include "core/calibration/block_weights.hpp"
#include "core/calibration/calibrator.hpp"
#include "core/files/output_folder.hpp"
#include "llmc/error.hpp"
#include "llmc/matrix.hpp"

namespace llmc {

namespace {

// Of every input that Linears of blocks[b] share, on the host.
std::vector<Statistics> observe(const StatisticsRun& run,
                                BlockLoader& loader,
                                Calibrator& calibrator,
                                size_t b,
                                const std::vector<SharedInput>& inputs,
                                bool last) {
  const Block& block = run.graph.blocks[b];
  const WeightTable weights = loader.take(b);
  std::vector<Statistics> seen(inputs.size());
  std::vector<Observation> observations;
  for (size_t i = 0; i < inputs.size(); ++i)
    observations.push_back({inputs[i].value, true, true, &seen[i], nullptr});
  calibrator.run(block, weights, 0, last ? inputs.back().nodes.front() : block.nodes.size(), observations,
                 !last);
  for (Statistics& one : seen) one.gram = run.backend.to_host(one.gram);
  return seen;
}

}  // namespace

void save_model_statistics(const StatisticsRun& run) {
  if (!run.sequences && run.merged.empty())
    throw Error(ErrorCode::invalid_argument,
                "statistics: nothing to save; wanted calibration data or loaded statistics");
  const auto& blocks = run.graph.blocks;
  std::vector<InputPath> inputs;
  if (run.source.is_folder()) inputs.push_back({"the model's folder", run.source.directory()});
  OutputFolder folder(run.target, inputs, false);
  std::optional<Calibrator> calibrator;
  if (run.sequences) calibrator.emplace(run.graph, run.backend, *run.sequences, [&] { run.reporter.step(); });
  size_t end = blocks.size();
  while (end > 0 && shared_inputs(blocks[end - 1]).empty()) --end;
  BlockLoader loader(run.source, blocks, run.backend, end);
  run.reporter.begin(static_cast<int64_t>(end * (calibrator ? calibrator->tiles() : 0)));
  for (size_t b = 0; b < end; ++b) {
    run.reporter.enter("calibrate", blocks[b].name);
    const std::vector<SharedInput> inputs = shared_inputs(blocks[b]);
    std::vector<Statistics> seen;
    if (calibrator) seen = observe(run, loader, *calibrator, b, inputs, b + 1 == end);
    for (size_t i = 0; i < inputs.size(); ++i) {
      run.reporter.poll();
      Statistics all;
      if (!run.merged.empty()) all = run.merged.read(blocks[b], inputs[i]);
      if (all.gram.empty()) all = std::move(seen[i]);
      else if (calibrator) merge_statistics(all, seen[i]);
      save_statistics(
          all, (std::filesystem::path(folder.partial()) / statistics_file(blocks[b], inputs[i])).string());
    }
  }
  folder.publish();
}

}  // namespace llmc
