// The whole pipeline, from a model folder and a recipe to a compressed folder. Read this file first.
#include "llmc/oneshot.hpp"

#include "core/calibration/calibrated_run.hpp"
#include "core/calibration/statistics_run.hpp"
#include "core/data_free/data_free.hpp"
#include "core/files/quantization_method.hpp"
#include "core/output/compressed_output.hpp"
#include "core/plan/planned_run.hpp"
#include "core/progress/run_clock.hpp"
#include "core/progress/run_reporter.hpp"
#include "llmc/error.hpp"
#include "llmc/model.hpp"

namespace llmc {

// What a plan turns into: weights compressed into a hidden folder, which finish() gives its name.
class Model::Run {
 public:
  Run(const Checkpoint& source,
      std::shared_ptr<const PlannedRun> planned,
      Backend& backend,
      const Callbacks& callbacks)
      : source_(source),
        planned_(std::move(planned)),
        backend_(backend),
        callbacks_(callbacks),
        output_(source, planned_->plan, planned_->options, backend, planned_->calibrated, [this] {
          reporter_.poll();
        }) {
    const OneshotOptions& options = planned_->options;
    report_.model_type = planned_->model.model_type;
    report_.device = backend.description();
    report_.compat = options.compat == Compat::reference ? "reference" : "vllm";
    report_.propagation = !options.statistics.empty() ? "none"
        : planned_->propagation == Propagation::layer ? "layer"
                                                      : "sublayer";
    report_.template_date = options.template_date;
    report_.bytes_before = source.total_bytes();
    report_.bytes_after = output_.total_bytes();
    for (const std::string& line : planned_->notes) reporter_.note(line);
    for (const std::string& line : output_.notes()) reporter_.note(line);
  }

  void compress() {
    const Timed timed(report_.seconds);
    if (!planned_->calibrated) return compress_without_data();
    const OneshotOptions& options = planned_->options;
    const std::optional<TokenBatch> loaded = load_calibration();
    const CalibratedRun run{source_,
                            *planned_->model.graph,
                            planned_->modifiers,
                            planned_->plan,
                            options,
                            loaded ? loaded : options.calibration,
                            planned_->propagation,
                            backend_,
                            output_,
                            reporter_,
                            report_};
    options.statistics.empty() ? compress_calibrated(run) : compress_from_statistics(run);
  }

  Report finish() {
    {
      const Timed all(report_.seconds), writing(report_.writing_seconds);
      copy_tensors(source_, output_.writer(), backend_, output_.take_rest(), [&] { reporter_.poll(); });
      output_.finish(planned_->recipe, values_checked_);
    }
    report_.peak_memory = std::max(report_.peak_memory, anonymous_memory());
    return std::move(report_);
  }

 private:
  // Every tensor streams by once, or twice where a scale belongs to a whole tensor.
  void compress_without_data() {
    if (planned_->options.load_calibration)
      reporter_.note("calibration: this recipe needs no data; none was read");
    const DataFreeRun run{source_, planned_->plan, planned_->policy.rounding, backend_, output_, reporter_};
    values_checked_ = compress_data_free(run, output_.take_rest(), report_);
  }

  std::optional<TokenBatch> load_calibration() {
    const auto& load = planned_->options.load_calibration;
    if (!load) return std::nullopt;
    return load([this](const std::string& line) { reporter_.note(line); });
  }

  const Checkpoint& source_;
  const std::shared_ptr<const PlannedRun> planned_;
  Backend& backend_;
  const Callbacks callbacks_;
  Report report_;
  RunReporter reporter_{callbacks_, report_};
  CompressedOutput output_;
  bool values_checked_ = false;  // all of them, on the way
};

Model::Model(const std::string& directory) : Model(std::make_unique<const Checkpoint>(directory)) {}
Model::Model(const TensorSource& source) : Model(std::make_unique<const Checkpoint>(source)) {}
Model::Model(std::unique_ptr<const Checkpoint> checkpoint) : checkpoint_(std::move(checkpoint)) {
  if (checkpoint_->is_quantized())
    refuse_quantized(checkpoint_->directory(), checkpoint_->quantization_method());
}
Model::~Model() = default;

std::shared_ptr<const PlannedRun> Model::plan(OneshotOptions options) const {
  return std::make_shared<const PlannedRun>(plan_run(*checkpoint_, std::move(options)));
}

void Model::quantize(std::shared_ptr<const PlannedRun> planned,
                     Backend& backend,
                     const Callbacks& callbacks) {
  run_ = nullptr;
  auto run = std::make_unique<Run>(*checkpoint_, std::move(planned), backend, callbacks);
  run->compress();
  run_ = std::move(run);
}

void Model::quantize(OneshotOptions options, Backend& backend, const Callbacks& callbacks) {
  run_ = nullptr;  // also when there is no plan
  quantize(plan(std::move(options)), backend, callbacks);
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
  model->quantize(model->plan(options), backend, callbacks);
  Report report = model->save();
  report.seconds = watch.seconds();
  return report;
}

// ---- statistics, for a later run without a forward pass

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

}  // namespace llmc
