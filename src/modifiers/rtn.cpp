// QuantizationModifier: round each weight to the nearest code. No data needed, unless an observer or a fixed activation scale asks for it.
#include "modifiers/arguments.hpp"
#include "modifiers/joint_scales.hpp"
#include "modifiers/quantization_scope.hpp"
#include "core/quantize/qparams.hpp"
#include "modifiers/registry.hpp"
#include "modifiers/round_to_nearest.hpp"

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
    return round_to_nearest(jobs, *scheme.weights, statistics, policy_.rounding, backend, rows);
  }

 private:
  RunPolicy policy_;
  QuantizationScope scope_;
};

}  // namespace

std::unique_ptr<Modifier> make_rtn(const ModifierSpec& spec, const RunPolicy& policy) { return std::make_unique<RoundToNearest>(Arguments(spec), policy); }

}  // namespace llmc
