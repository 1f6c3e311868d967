// QuantizationModifier: round each weight to the nearest code. No data needed.
#include "modifiers/arguments.hpp"
#include "modifiers/joint_scales.hpp"
#include "modifiers/quantization_scope.hpp"
#include "modifiers/registry.hpp"
#include "core/quantize/row_tiles.hpp"

namespace llmc {

namespace {

class RoundToNearest final : public Quantizer {
 public:
  RoundToNearest(Arguments&& arguments, const RunPolicy& policy) : policy_(policy), scope_(arguments) { arguments.finish(); }

  std::string_view type() const override { return "QuantizationModifier"; }
  const Scheme* scheme_for(const Module& module) const override { return scope_.scheme_for(module); }
  std::vector<std::string> unmatched_targets(std::span<const Module> modules) const override { return scope_.unmatched_targets(modules); }
  const std::vector<Scheme>& schemes() const override { return scope_.schemes(); }
  bool needs_gram() const override { return false; }
  bool needs_calibration() const override { return scope_.needs_calibration(); }
  const QuantizationArgs* kv_cache_scheme() const override { return scope_.kv_cache_scheme(); }
  bool needs_channels(const Scheme& scheme) const override { return weighs_channels(scheme); }

  std::vector<QuantizedMatrix> quantize(std::span<const MatrixJob> jobs, const Scheme& scheme, const Statistics* statistics, Backend& backend, std::vector<LinearReport>& rows) const override {
    std::vector<QuantizedMatrix> results;
    const QuantizationArgs& args = *scheme.weights;
    std::string note;
    std::vector<QuantizationParameters> parameters = joint_scales(jobs, args, statistics, backend, &note);
    for (size_t j = 0; j < jobs.size(); ++j) {
      const MatrixJob& job = jobs[j];
      QuantizedMatrix result{args, job.weight->shape(), {}, std::move(parameters[j])};
      result.codes = quantize_in_tiles(*job.weight, result.parameters, args, policy_.rounding, backend);
      LinearReport row;
      row.name = job.module;
      row.scheme = describe(args);
      row.method = "RTN";
      row.note = note;
      row.relative_error = relative_weight_error(*job.weight, result, backend);
      rows.push_back(std::move(row));
      results.push_back(std::move(result));
    }
    return results;
  }

 private:
  RunPolicy policy_;
  QuantizationScope scope_;
};

}  // namespace

std::unique_ptr<Modifier> make_rtn(const ModifierSpec& spec, const RunPolicy& policy) { return std::make_unique<RoundToNearest>(Arguments(spec), policy); }

}  // namespace llmc
