// Compression without a forward pass: statistics of the unquantized model, which an earlier call saved, take
// its place.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/calibration/block_quantizer.hpp"
#include "core/calibration/block_weights.hpp"
#include "core/calibration/static_activations.hpp"
#include "core/calibration/statistics_folder.hpp"
#include "core/progress/run_clock.hpp"
#include "llmc/matrix.hpp"

namespace llmc {

namespace {

void check_request(const CalibratedRun& run, const BlockQuantizer& quantizer) {
  if (run.calibration)
    throw Error(ErrorCode::invalid_argument,
                "calibration: data and statistics were both given; wanted one of them (saved statistics can "
                "be merged with data)");
  if (run.options.propagation)
    throw Error(ErrorCode::invalid_argument,
                "calibration: propagation was given with statistics, which are those of the unquantized "
                "model; wanted none");
  for (const Block& block : run.graph.blocks)
    for (const PairWork& work : quantizer.pairs_of(block))
      if (!work.pair.out_of_norm())
        throw Error(
            ErrorCode::invalid_argument,
            fmt::format("calibration: {} moves scale out of '{}', whose outputs statistics do not tell; "
                        "wanted calibration data",
                        work.transform->type(), block.nodes[work.pair.smooth].name));
  for (const Block& block : run.graph.blocks)
    if (const auto fixed = static_activations(block, run.plan); !fixed.empty())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("calibration: '{}' gets a scale that is fixed ahead of time, which statistics "
                              "do not tell; wanted calibration data",
                              fixed.front().names.front()));
}

// Statistics of one block's inputs, with what its transforms did to the values since they were seen.
class BlockStatistics {
 public:
  BlockStatistics(const StatisticsFolders& folders, const Block& block)
      : folders_(folders),
        block_(block),
        inputs_(shared_inputs(block)) {}

  Statistics read(ValueId value) const {
    const auto input = std::find_if(inputs_.begin(), inputs_.end(),
                                    [&](const SharedInput& one) { return one.value == value; });
    Statistics statistics = folders_.read(block_, *input);
    if (const auto found = divisors_.find(value); found != divisors_.end())
      divide_channels(statistics, found->second);
    return statistics;
  }
  void divide(ValueId value, const std::vector<float>& scales) {
    std::vector<float>& all = divisors_.try_emplace(value, scales.size(), 1.0f).first->second;
    for (size_t j = 0; j < scales.size(); ++j) all[j] *= scales[j];
  }

 private:
  const StatisticsFolders& folders_;
  const Block& block_;
  const std::vector<SharedInput> inputs_;
  std::map<ValueId, std::vector<float>> divisors_;
};

}  // namespace

void compress_from_statistics(const CalibratedRun& run) {
  const BlockQuantizer quantizer(run, false);
  check_request(run, quantizer);
  const auto& blocks = run.graph.blocks;
  const StatisticsFolders folders(run.options.statistics, run.graph);
  size_t end = blocks.size();
  while (end > 0 && !quantizer.has_work(blocks[end - 1])) --end;
  run.reporter.begin(std::count_if(blocks.begin(), blocks.end(),
                                   [&](const Block& block) { return quantizer.has_work(block); }));
  BlockLoader loader(run.source, blocks, run.backend, end);
  for (size_t b = 0; b < end; ++b) {
    const Block& block = blocks[b];
    if (!quantizer.has_work(block)) continue;
    const size_t first_row = run.report.linears.size();
    run.reporter.enter("quantize", block.name);
    WeightTable weights = loader.take(b);
    BlockStatistics statistics(folders, block);
    const auto read = [&](ValueId value) {
      run.reporter.poll();
      Statistics seen = statistics.read(value);
      run.report.samples = seen.samples;
      run.report.tokens = seen.tokens;
      return seen;
    };
    quantizer.quantize_embeddings(block, weights);
    for (const PairWork& work : quantizer.pairs_of(block)) {
      const ValueId value = work.pair.value;
      statistics.divide(value, work.transform->apply(block, work.pair, read(value), weights, run.backend));
    }
    for (const SharedInputJob& group : quantizer.groups_of(block))
      quantizer.quantize(block, group, read(group.value), weights);
    {
      const Timed timed(run.report.writing_seconds);
      for (const auto& [name, tensor] : weights) run.output.put_tensor(name, tensor);
    }
    run.reporter.leave_layer(first_row);
    run.reporter.step();
  }
}

}  // namespace llmc
