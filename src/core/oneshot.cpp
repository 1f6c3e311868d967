// The whole pipeline, from a model folder and a recipe to a compressed folder. Read this file first.
#include "llmc/oneshot.hpp"

#include <fmt/format.h>

#include "core/calibration/calibrated_run.hpp"
#include "core/calibration/statistics_run.hpp"
#include "core/output/compressed_output.hpp"
#include "core/data_free/data_free.hpp"
#include "core/model/model_outline.hpp"
#include "core/quantize/qparams.hpp"
#include "core/progress/run_clock.hpp"
#include "core/plan/run_plan.hpp"
#include "core/progress/run_reporter.hpp"
#include "llmc/error.hpp"
#include "llmc/model.hpp"

namespace llmc {

namespace {

constexpr std::pair<const char*, const char*> kWaysOut[] = {
    {"compressed-tensors", "--dequantize makes one of it"},
    {"bitsandbytes", "transformers' model.dequantize() and save_pretrained() make one of it"},
    {"fp8", "take the model's bfloat16 release, or multiply its weights by their weight_scale_inv first"},
};

[[noreturn]] void refuse_quantized(const Checkpoint& checkpoint) {
  const std::string& method = checkpoint.quantization_method();
  std::string way_out = "take the release that it was made from";
  for (const auto& [name, text] : kWaysOut)
    if (method == name) way_out = text;
  throw Error(
      ErrorCode::unsupported,
      fmt::format(
          "'{}': config.json says that the model is already quantized, by '{}'; wanted an unquantized "
          "one; {}",
          checkpoint.directory(), method, way_out));
}

RunPolicy policy_of(const OneshotOptions& options) {
  return {
      options.compat,
      options.rounding.value_or(options.compat == Compat::reference ? Rounding::reference : Rounding::exact),
      options.custom_quantizers};
}

Propagation propagation_of(const OneshotOptions& options) {
  return options.propagation.value_or(options.compat == Compat::reference ? Propagation::layer
                                                                          : Propagation::sublayer);
}

Recipe read_recipe(const OneshotOptions& options, RunReporter& reporter) {
  Recipe recipe = options.scheme.empty() ? parse_recipe(options.recipe, options.stage)
                                         : recipe_for_scheme(options.scheme);
  for (const std::string& line : recipe.notes) reporter.note(line);
  return recipe;
}

RunPlan plan_run(const Checkpoint& checkpoint,
                 const ModelOutline& model,
                 const ModifierList& modifiers,
                 const OneshotOptions& options,
                 RunReporter& reporter) {
  RunPlan plan = make_plan(checkpoint, model, modifiers, options);
  for (const std::string& line : plan.notes) reporter.note(line);
  if (model.graph && modifiers.need_calibration())
    for (const std::string& line : model.graph->notes) reporter.note(line);
  if (!model.graph)
    for (const std::string& line : outline_notes(model, plan.order)) reporter.note(line);
  return plan;
}

}  // namespace

// One way from the model to a folder: planned when it is made, then compress, then finish.
class Model::Run {
 public:
  Run(const Checkpoint& checkpoint, OneshotOptions&& options, Backend& backend, const Callbacks& callbacks)
      : checkpoint_(checkpoint),
        options_(std::move(options)),
        backend_(backend),
        callbacks_(callbacks),
        recipe_(read_recipe(options_, reporter_)),
        modifiers_(recipe_, policy_of(options_)),
        calibrated_(modifiers_.need_calibration()),
        model_(outline_model(checkpoint, calibrated_)),
        plan_(plan_run(checkpoint, model_, modifiers_, options_, reporter_)),
        output_(checkpoint, plan_, options_, backend, calibrated_, [this] { reporter_.poll(); }) {
    report_.model_type = model_.model_type;
    report_.device = backend.description();
    report_.compat = options_.compat == Compat::reference ? "reference" : "vllm";
    report_.propagation = !options_.statistics.empty()   ? "none"
        : propagation_of(options_) == Propagation::layer ? "layer"
                                                         : "sublayer";
    report_.template_date = options_.template_date;
    report_.bytes_before = checkpoint.total_bytes();
    report_.bytes_after = output_.total_bytes();
    for (const std::string& line : checkpoint.notes()) reporter_.note(line);
    for (const std::string& line : output_.notes()) reporter_.note(line);
  }

  void compress() {
    const Timed timed(report_.seconds);
    if (!calibrated_) return compress_without_data();
    if (options_.load_calibration)
      options_.calibration = options_.load_calibration(
          [this](const std::string& line) { reporter_.note(line); });
    const CalibratedRun run{
        checkpoint_, *model_.graph, modifiers_, plan_,  options_, propagation_of(options_),
        backend_,    output_,       reporter_,  report_};
    if (options_.statistics.empty()) compress_calibrated(run);
    else compress_from_statistics(run);
  }

  Report finish() {
    {
      const Timed all(report_.seconds), writing(report_.writing_seconds);
      copy_tensors(checkpoint_, output_.writer(), backend_, output_.take_rest(), [&] { reporter_.poll(); });
      output_.finish(recipe_, values_checked_);
    }
    report_.peak_memory = std::max(report_.peak_memory, anonymous_memory());
    return std::move(report_);
  }

 private:
  // Every tensor streams by once, or twice where a scale belongs to a whole tensor.
  void compress_without_data() {
    if (options_.load_calibration) reporter_.note("calibration: this recipe needs no data; none was read");
    reporter_.begin(static_cast<int64_t>(plan_.batches.size()));
    const DataFreeRun run{checkpoint_,
                          plan_,
                          options_,
                          policy_of(options_).rounding,
                          backend_,
                          output_.writer(),
                          [&] { reporter_.poll(); },
                          [&](const std::string& module) { reporter_.enter("quantize", module); },
                          [&] { reporter_.step(); },
                          [&](const Assignment& assignment, const QuantizedMatrix& matrix) {
                            output_.put_quantized(assignment, matrix);
                          }};
    values_checked_ = compress_data_free(run, output_.take_rest(), report_);
  }

  const Checkpoint& checkpoint_;
  OneshotOptions options_;
  Backend& backend_;
  const Callbacks callbacks_;
  Report report_;
  RunReporter reporter_{callbacks_, report_};
  const Recipe recipe_;
  const ModifierList modifiers_;
  const bool calibrated_;
  const ModelOutline model_;
  const RunPlan plan_;
  CompressedOutput output_;
  bool values_checked_ = false;  // all of them, on the way
};

Model::Model(const std::string& directory) : Model(std::make_unique<const Checkpoint>(directory)) {}
Model::Model(const TensorSource& source) : Model(std::make_unique<const Checkpoint>(source)) {}
Model::Model(std::unique_ptr<const Checkpoint> checkpoint) : checkpoint_(std::move(checkpoint)) {
  if (checkpoint_->is_quantized()) refuse_quantized(*checkpoint_);
}
Model::~Model() = default;

void Model::save_statistics(const TokenBatch* calibration,
                            const std::vector<std::string>& merged,
                            const std::string& folder,
                            Backend& backend,
                            const Callbacks& callbacks) const {
  const ModelOutline model = outline_model(*checkpoint_, true);
  Report unused;
  RunReporter reporter(callbacks, unused);
  for (const std::string& line : model.graph->notes) reporter.note(line);
  save_model_statistics({*checkpoint_, *model.graph, calibration, StatisticsFolders(merged, *model.graph),
                         folder, backend, reporter});
}

void Model::check_statistics(const std::string& folder) const {
  StatisticsFolders({folder}, *outline_model(*checkpoint_, true).graph);
}

void Model::quantize(OneshotOptions options, Backend& backend, const Callbacks& callbacks) {
  run_ = nullptr;
  auto run = std::make_unique<Run>(*checkpoint_, std::move(options), backend, callbacks);
  run->compress();
  run_ = std::move(run);
}

Report Model::save() {
  if (!run_)
    throw Error(ErrorCode::invalid_argument,
                "model: nothing to save; wanted a quantize that succeeded, and one save for each");
  const std::unique_ptr<Run> run = std::move(run_);
  return run->finish();
}

Report oneshot(const OneshotOptions& options, Backend& backend, const Callbacks& callbacks) {
  const Stopwatch watch;
  const std::unique_ptr<Model> model = options.source ? std::make_unique<Model>(*options.source)
                                                      : std::make_unique<Model>(options.model_dir);
  model->quantize(options, backend, callbacks);
  Report report = model->save();
  report.seconds = watch.seconds();
  return report;
}

}  // namespace llmc
