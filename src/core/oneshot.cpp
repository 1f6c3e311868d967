// The whole pipeline, from a model folder and a recipe to a compressed folder. Read this file first.
#include "llmc/oneshot.hpp"

#include <fmt/format.h>

#include "core/calibration/block_compressor.hpp"
#include "core/compressed_output.hpp"
#include "core/data_free/data_free.hpp"
#include "core/model_outline.hpp"
#include "core/quantize/qparams.hpp"
#include "core/run_clock.hpp"
#include "core/run_plan.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

// Tells the caller how far we are, looks for a cancellation and keeps the memory high-water mark.
class Reporter {
 public:
  Reporter(const Callbacks& callbacks, Report& report) : callbacks_(callbacks), report_(report) {}

  void begin(int64_t steps) { progress_.steps = steps; }
  void enter(std::string stage, std::string layer) { progress_.stage = std::move(stage), progress_.layer = std::move(layer); }
  void leave_layer(size_t first_row) {
    double sum = 0;
    for (size_t i = first_row; i < report_.linears.size(); ++i) sum += report_.linears[i].relative_error;
    if (first_row < report_.linears.size()) progress_.loss = sum / static_cast<double>(report_.linears.size() - first_row);
  }
  void poll() const {
    if (callbacks_.cancel && callbacks_.cancel->load(std::memory_order_relaxed)) throw Error(ErrorCode::cancelled, "oneshot: cancelled");
  }
  void step() {
    poll();
    report_.peak_memory = std::max(report_.peak_memory, anonymous_memory());
    ++progress_.step;
    if (callbacks_.progress) callbacks_.progress(progress_);
  }
  void note(const std::string& line) {
    report_.notes.push_back(line);
    if (callbacks_.log) callbacks_.log(2, line);
  }

 private:
  const Callbacks& callbacks_;
  Report& report_;
  Progress progress_;
};

[[noreturn]] void refuse_quantized(const Checkpoint& checkpoint) {
  const std::string method = checkpoint.quantization_method();
  const std::string way_out = method == "compressed-tensors" ? "; --dequantize makes one of it" : "";
  throw Error(ErrorCode::unsupported, fmt::format("'{}': config.json says that the model is already quantized, by '{}'; wanted an unquantized one{}", checkpoint.directory(), method, way_out));
}

WeightTable load_weights(const Checkpoint& checkpoint, const Block& block) {
  WeightTable weights;
  for (const Node& node : block.nodes)
    for (const std::string& name : {node.weight_name(), node.name + ".bias"}) {
      if (node.name.empty() || !checkpoint.contains(name)) continue;
      Tensor tensor = checkpoint.read(name);
      check_finite(checkpoint.directory(), name, tensor);
      weights.emplace(name, std::move(tensor));
    }
  return weights;
}

// Block by block: read, observe, transform, quantize, write. One block's weights in memory at a time.
void compress_calibrated(const Checkpoint& checkpoint, const ModelOutline& model, const ModifierList& modifiers, const RunPlan& plan, const OneshotOptions& options,
                         Propagation propagation, Backend& backend, CompressedOutput& output, Reporter& reporter, Report& report) {
  const Graph& graph = *model.graph;
  Calibrator calibrator(graph, backend, options.calibration.value_or(TokenBatch{}), [&] { reporter.step(); });
  BlockCompressor compressor(graph, modifiers, plan, options.compat, calibrator, backend, output, report);
  size_t blocks = graph.blocks.size();
  while (blocks > 0 && !compressor.has_work(graph.blocks[blocks - 1])) --blocks;  // nothing after the last block with work needs a forward
  size_t surveyed = propagation == Propagation::layer ? blocks : 0;
  while (surveyed > 0 && !compressor.needs_survey(graph.blocks[surveyed - 1])) --surveyed;
  int64_t runs = 0;
  for (size_t b = 0; b < surveyed; ++b) runs += compressor.survey_run_count(graph.blocks[b]);
  for (size_t b = 0; b < blocks; ++b) runs += compressor.run_count(graph.blocks[b], propagation);
  reporter.begin(runs * static_cast<int64_t>(calibrator.tiles()));
  report.samples = calibrator.samples();
  report.tokens = calibrator.tokens();
  for (size_t b = 0; b < surveyed; ++b) {
    reporter.enter("survey", graph.blocks[b].name);
    WeightTable weights = load_weights(checkpoint, graph.blocks[b]);
    compressor.survey(graph.blocks[b], weights);
  }
  calibrator.restart();
  for (size_t b = 0; b < blocks; ++b) {
    const Block& block = graph.blocks[b];
    const size_t first_row = report.linears.size();
    reporter.enter("calibrate", block.name);
    WeightTable weights = load_weights(checkpoint, block);
    compressor.compress(block, weights, propagation);
    const Timed timed(report.writing_seconds);
    for (const auto& [name, tensor] : weights) output.put_tensor(name, tensor);
    reporter.leave_layer(first_row);
  }
}

// No data needed: every tensor streams by once, or twice where a scale belongs to a whole tensor. True: all values were checked on the way.
bool compress_without_data(const Checkpoint& checkpoint, const RunPlan& plan, const OneshotOptions& options, Rounding rounding, Backend& backend, CompressedOutput& output, Reporter& reporter,
                           Report& report) {
  reporter.begin(static_cast<int64_t>(plan.batches.size()));
  const DataFreeRun run{checkpoint, plan, options, rounding, backend, output.writer(), [&] { reporter.poll(); }, [&](const std::string& module) { reporter.enter("quantize", module); },
                        [&] { reporter.step(); }, [&](const Assignment& assignment, const QuantizedMatrix& matrix) { output.put_quantized(assignment, matrix); }};
  return compress_data_free(run, output.take_rest(), report);
}

}  // namespace

Report oneshot(const OneshotOptions& options, Backend& backend, const Callbacks& callbacks) {
  const Stopwatch watch;
  Report report;
  Reporter reporter(callbacks, report);
  const Checkpoint checkpoint(options.model_dir);
  if (checkpoint.is_quantized()) refuse_quantized(checkpoint);

  const bool reference = options.compat == Compat::reference;
  const RunPolicy policy{options.compat, options.rounding.value_or(reference ? Rounding::reference : Rounding::exact)};
  const Propagation propagation = options.propagation.value_or(reference ? Propagation::layer : Propagation::sublayer);
  const Recipe recipe = options.scheme.empty() ? parse_recipe(options.recipe, options.stage) : recipe_for_scheme(options.scheme);
  for (const std::string& line : recipe.notes) reporter.note(line);
  const ModifierList modifiers(recipe, policy);
  const ModelOutline model = outline_model(checkpoint, modifiers.need_calibration());
  const RunPlan plan = make_plan(checkpoint, model, modifiers, options);
  for (const std::string& line : plan.notes) reporter.note(line);
  if (!model.graph)
    for (const std::string& line : outline_notes(model, plan.order)) reporter.note(line);

  report.model_type = model.model_type;
  report.device = backend.description();
  report.compat = reference ? "reference" : "vllm";
  report.propagation = propagation == Propagation::layer ? "layer" : "sublayer";
  report.template_date = options.template_date;
  report.bytes_before = checkpoint.total_bytes();

  CompressedOutput output(checkpoint, plan, options, backend, [&] { reporter.poll(); });
  report.bytes_after = output.total_bytes();
  bool values_checked = false;
  if (modifiers.need_calibration()) compress_calibrated(checkpoint, model, modifiers, plan, options, propagation, backend, output, reporter, report);
  else values_checked = compress_without_data(checkpoint, plan, options, policy.rounding, backend, output, reporter, report);
  {
    const Timed timed(report.writing_seconds);
    copy_tensors(checkpoint, output.writer(), backend, output.take_rest(), [&] { reporter.poll(); });
    output.finish(recipe, values_checked);
  }
  report.peak_memory = std::max(report.peak_memory, anonymous_memory());
  report.seconds = watch.seconds();
  return report;
}

}  // namespace llmc
