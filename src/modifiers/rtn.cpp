// QuantizationModifier: round each weight to the nearest code. No data needed, unless an observer or a fixed
// activation scale asks for it.
#include "core/quantize/qparams.hpp"
#include "modifiers/arguments.hpp"
#include "modifiers/quantization_scope.hpp"
#include "modifiers/registry.hpp"
#include "modifiers/round_to_nearest.hpp"

namespace llmc {

namespace {

class RoundToNearest final : public ScopedQuantizer {
 public:
  RoundToNearest(Arguments&& arguments, const RunPolicy& policy)
      : ScopedQuantizer(arguments),
        policy_(policy) {
    notes_ = take_group_order_as_static(scope_, arguments, policy.compat);
    arguments.finish();
  }

  std::string_view type() const override { return "QuantizationModifier"; }
  bool needs_gram() const override { return false; }

  std::vector<QuantizedMatrix> quantize(const MatrixSet& set,
                                        Backend& backend,
                                        std::vector<LinearReport>& rows) const override {
    return round_to_nearest(set, policy_.rounding, backend, rows);
  }

 private:
  RunPolicy policy_;
};

}  // namespace

std::unique_ptr<Modifier> make_rtn(const ModifierSpec& spec, const RunPolicy& policy) {
  return std::make_unique<RoundToNearest>(Arguments(spec), policy);
}

}  // namespace llmc
