#include "core/data_free/data_free.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "core/data_free/matrix_tiles.hpp"
#include "core/files/weight_reader.hpp"
#include "core/quantize/finite.hpp"
#include "core/quantize/row_tiles.hpp"
#include "core/progress/run_clock.hpp"

namespace llmc {
namespace {

enum class StepKind { enter, scan, settle, quantize, finish, whole, copy };
struct Step {
  StepKind kind;
  size_t item;                 // of the matrices (scan, quantize), the copies, or else the batches
  int64_t begin = 0, end = 0;  // rows; bytes of a copy
  int64_t first_byte = 0;      // of what is copied, in its tensor
};

// Reads in the order of the source's files: a disk is fastest front to back.
class ReadingOrder {
 public:
  explicit ReadingOrder(const Checkpoint& source) {
    for (const std::string& name : source.names()) position_.emplace(name, position_.size());
  }
  size_t of(const std::string& tensor) const { return position_.at(tensor); }

 private:
  std::unordered_map<std::string, size_t> position_;
};

void add_copy_steps(const Checkpoint& source, const TensorCopy& copy, size_t item, std::vector<Step>& steps) {
  const WeightReader reader(source, copy.from);
  const int64_t bytes = reader.info().bytes;
  if (copy.from.transposed) return steps.push_back({StepKind::copy, item, 0, bytes});
  for (int64_t begin = 0; begin < bytes; begin += kTileBytes)
    steps.push_back({StepKind::copy, item, begin, std::min(bytes, begin + kTileBytes), reader.first_byte()});
}

// Nothing for a matrix that lies as [in, out]: it is read when its turn comes.
TileRead read_of_copy(const TensorCopy& copy, const Step& step) {
  if (copy.from.transposed) return {};
  return {&copy.from.tensor, step.first_byte + step.begin, step.end - step.begin};
}

void run_copy_step(const Checkpoint& source,
                   const TensorCopy& copy,
                   const Step& step,
                   Backend& backend,
                   TilePipeline& pipeline,
                   TileBuffer& input) {
  WeightReader reader(source, copy.from);
  const TensorInfo& info = reader.info();
  if (copy.from.transposed) {
    input = pipeline.allocate(info.bytes);
    reader.read(0, info.bytes, input.data());
  }
  const auto item = static_cast<int64_t>(item_size(info.dtype));
  if (is_floating(info.dtype))
    if (const auto bad = backend.scan(TensorView(input.data(), info.dtype, {(step.end - step.begin) / item}))
                             .first_non_finite)
      refuse_non_finite(source.directory(), copy.from.tensor, step.begin / item + *bad);
  pipeline.write(copy.to, step.begin, std::move(input), step.end - step.begin);
}

class DataFreeCompressor {
 public:
  DataFreeCompressor(const DataFreeRun& run, const std::vector<TensorCopy>& copies, Report& report)
      : run_(run),
        copies_(copies),
        report_(report),
        pipeline_(run.source, run.output.writer()),
        matrix_run_{run.source, run.backend, pipeline_, run.output.writer(), run.rounding, *run.plan.output} {
    for (const auto& modules : run.plan.scale_partners) {
      batches_.emplace_back();
      for (const std::string& module : modules) {
        batches_.back().push_back(matrices_.size());
        matrices_.emplace_back(matrix_run_, run.plan.decisions.at(module));
      }
    }
    make_steps();
  }

  void run() {
    pipeline_.run(
        steps_.size(), [this](size_t step) { return read_of(steps_[step]); },
        [this](size_t step, TileBuffer& input) {
          run_.reporter.poll();
          const Stopwatch watch;
          take(steps_[step], input);
          if (steps_[step].kind != StepKind::copy) report_.quantization_seconds += watch.seconds();
        });
    append_rows();
  }

  bool checked_all() const { return whole_rows_.empty(); }

 private:
  void make_steps() {
    const ReadingOrder order(run_.source);
    std::multimap<size_t, std::pair<bool, size_t>> work;  // by place in the source: (is a batch, index)
    for (size_t b = 0; b < batches_.size(); ++b)
      work.insert({order.of(matrices_[batches_[b][0]].decision().weight.source.tensor), {true, b}});
    for (size_t c = 0; c < copies_.size(); ++c) work.insert({order.of(copies_[c].from.tensor), {false, c}});
    for (const auto& [place, what] : work)
      what.first ? add_batch_steps(what.second)
                 : add_copy_steps(run_.source, copies_[what.second], what.second, steps_);
  }

  void add_batch_steps(size_t batch) {
    const auto& members = batches_[batch];
    if (matrices_[members[0]].needs_whole()) return steps_.push_back({StepKind::whole, batch});
    const auto add_tiles = [&](StepKind kind) {
      for (const size_t m : members)
        for (int64_t row = 0, rows = matrices_[m].rows(), step = matrices_[m].tile_rows(); row < rows;
             row += step)
          steps_.push_back({kind, m, row, std::min(rows, row + step)});
    };
    steps_.push_back({StepKind::enter, batch});
    if (matrices_[members[0]].needs_scan()) {
      add_tiles(StepKind::scan);
      steps_.push_back({StepKind::settle, batch});
    }
    add_tiles(StepKind::quantize);
    steps_.push_back({StepKind::finish, batch});
  }

  TileRead read_of(const Step& step) const {
    if (step.kind == StepKind::copy) return read_of_copy(copies_[step.item], step);
    if (step.kind == StepKind::scan || step.kind == StepKind::quantize)
      return matrices_[step.item].read_of(step.begin, step.end);
    return {};
  }

  void take(const Step& step, TileBuffer& input) {
    switch (step.kind) {
      case StepKind::enter:
        return run_.reporter.enter("quantize", run_.plan.scale_partners[step.item].front());
      case StepKind::settle:
        return settle(batches_[step.item]);
      case StepKind::scan:
      case StepKind::quantize:
        return take_tile(matrices_[step.item], step, input);
      case StepKind::whole:
        return quantize_whole(step.item);
      case StepKind::copy:
        return run_copy_step(run_.source, copies_[step.item], step, run_.backend, pipeline_, input);
      case StepKind::finish:
        for (const size_t m : batches_[step.item]) matrices_[m].finish();
        run_.reporter.step();
    }
  }

  static void take_tile(MatrixTiles& matrix, const Step& step, const TileBuffer& input) {
    const Timed timed(matrix.seconds);
    step.kind == StepKind::scan ? matrix.scan(step.begin, step.end, input)
                                : matrix.quantize(step.begin, step.end, input);
  }

  // The partners of a fused layer share NVFP4's global scale.
  void settle(const std::vector<size_t>& members) {
    float largest = 0;
    for (const size_t m : members) largest = std::max(largest, matrices_[m].largest());
    const float global_scale = nvfp4_global_scale(largest, matrices_[members[0]].decision().weight.dtype);
    for (const size_t m : members) matrices_[m].settle(global_scale);
  }

  void quantize_whole(size_t batch) {
    const auto& modules = run_.plan.scale_partners[batch];
    run_.reporter.enter("quantize", modules.front());
    std::vector<Tensor> weights;
    for (const std::string& module : modules) {
      const WeightRef& source = run_.plan.decisions.at(module).weight.source;
      weights.push_back(WeightReader(run_.source, source).read_all());
      if (const auto bad = run_.backend.scan(weights.back()).first_non_finite)
        refuse_non_finite(run_.source.directory(), source.tensor, *bad);
    }
    const ModuleDecision& first = run_.plan.decisions.at(modules.front());
    MatrixSet set{{}, first.scheme, nullptr};
    for (size_t i = 0; i < modules.size(); ++i) set.jobs.push_back({modules[i], weights[i]});
    std::vector<LinearReport> rows;
    const Stopwatch watch;
    const auto results = first.quantizer->quantize(set, run_.backend, rows);
    for (size_t i = 0; i < modules.size(); ++i) {
      run_.output.put_quantized(run_.plan.decisions.at(modules[i]), results[i]);
      rows[i].seconds = watch.seconds() / static_cast<double>(modules.size());
      whole_rows_[modules[i]] = std::move(rows[i]);
    }
    run_.reporter.step();
  }

  void append_rows() {
    std::unordered_map<std::string, const MatrixTiles*> of_module;
    for (const MatrixTiles& matrix : matrices_) of_module[matrix.decision().weight.module.name] = &matrix;
    for (const std::string& module : run_.plan.order) {
      if (const auto whole = whole_rows_.find(module); whole != whole_rows_.end()) {
        report_.linears.push_back(whole->second);
        continue;
      }
      const MatrixTiles& matrix = *of_module.at(module);
      LinearReport row;
      row.name = module;
      row.scheme = describe(*matrix.decision().scheme->weights);
      row.method = "RTN";
      row.relative_error = matrix.relative_error();
      row.seconds = matrix.seconds;
      report_.linears.push_back(std::move(row));
    }
  }

  const DataFreeRun& run_;
  const std::vector<TensorCopy>& copies_;
  Report& report_;
  TilePipeline pipeline_;
  MatrixRun matrix_run_;
  std::vector<MatrixTiles> matrices_;
  std::vector<std::vector<size_t>> batches_;  // of matrices_
  std::vector<Step> steps_;
  std::unordered_map<std::string, LinearReport> whole_rows_;
};

}  // namespace

bool compress_data_free(const DataFreeRun& run, const std::vector<TensorCopy>& copies, Report& report) {
  run.reporter.begin(static_cast<int64_t>(run.plan.scale_partners.size()));
  DataFreeCompressor compressor(run, copies, report);
  compressor.run();
  return compressor.checked_all();
}

void copy_tensors(const Checkpoint& source,
                  CheckpointWriter& writer,
                  Backend& backend,
                  const std::vector<TensorCopy>& copies,
                  const std::function<void()>& poll) {
  std::vector<Step> steps;
  for (size_t c = 0; c < copies.size(); ++c) add_copy_steps(source, copies[c], c, steps);
  TilePipeline pipeline(source, writer);
  pipeline.run(
      steps.size(), [&](size_t step) { return read_of_copy(copies[steps[step].item], steps[step]); },
      [&](size_t step, TileBuffer& input) {
        poll();
        run_copy_step(source, copies[steps[step].item], steps[step], backend, pipeline, input);
      });
}

}  // namespace llmc
