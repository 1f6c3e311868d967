// The whole pipeline, from a model folder and a recipe to a compressed folder. Read this file first.
#include "llmc/oneshot.hpp"

#include <fmt/format.h>

#include "core/calibration/calibrated_run.hpp"
#include "core/compressed_output.hpp"
#include "core/data_free/data_free.hpp"
#include "core/model_outline.hpp"
#include "core/quantize/qparams.hpp"
#include "core/run_clock.hpp"
#include "core/run_plan.hpp"
#include "core/run_reporter.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

[[noreturn]] void refuse_quantized(const Checkpoint& checkpoint) {
  const std::string method = checkpoint.quantization_method();
  const std::string way_out = method == "compressed-tensors" ? "; --dequantize makes one of it" : "";
  throw Error(ErrorCode::unsupported, fmt::format("'{}': config.json says that the model is already quantized, by '{}'; wanted an unquantized one{}", checkpoint.directory(), method, way_out));
}

// No data needed: every tensor streams by once, or twice where a scale belongs to a whole tensor. True: all values were checked on the way.
bool compress_without_data(const Checkpoint& checkpoint, const RunPlan& plan, const OneshotOptions& options, Rounding rounding, Backend& backend, CompressedOutput& output, RunReporter& reporter,
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
  RunReporter reporter(callbacks, report);
  const Checkpoint checkpoint = options.source ? Checkpoint(*options.source) : Checkpoint(options.model_dir);
  if (checkpoint.is_quantized()) refuse_quantized(checkpoint);

  const bool reference = options.compat == Compat::reference;
  const RunPolicy policy{options.compat, options.rounding.value_or(reference ? Rounding::reference : Rounding::exact), options.custom_quantizers};
  const Propagation propagation = options.propagation.value_or(reference ? Propagation::layer : Propagation::sublayer);
  const Recipe recipe = options.scheme.empty() ? parse_recipe(options.recipe, options.stage) : recipe_for_scheme(options.scheme);
  for (const std::string& line : recipe.notes) reporter.note(line);
  const ModifierList modifiers(recipe, policy);
  const bool calibrated = modifiers.need_calibration();
  const ModelOutline model = outline_model(checkpoint, calibrated);
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

  CompressedOutput output(checkpoint, plan, options, backend, calibrated, [&] { reporter.poll(); });
  report.bytes_after = output.total_bytes();
  bool values_checked = false;
  if (calibrated) compress_calibrated({checkpoint, *model.graph, modifiers, plan, options, propagation, backend, output, reporter, report});
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
