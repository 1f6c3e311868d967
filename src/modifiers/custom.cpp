// A caller's own quantizer: this file finds its modules and scales, hands it each matrix, and checks what
// comes back.
#include <fmt/format.h>

#include <algorithm>

#include "core/quantize/row_tiles.hpp"
#include "llmc/backend/host_view.hpp"
#include "llmc/custom_quantizer.hpp"
#include "llmc/error.hpp"
#include "modifiers/arguments.hpp"
#include "modifiers/joint_scales.hpp"
#include "modifiers/quantization_scope.hpp"
#include "modifiers/registry.hpp"

namespace llmc {

namespace {

class Custom final : public ScopedQuantizer {
 public:
  Custom(Arguments&& arguments, const CustomQuantizer& own, const RunPolicy& policy)
      : ScopedQuantizer(arguments),
        own_(own),
        policy_(policy) {
    notes_ = take_group_order_as_static(scope_, arguments, policy.compat);
    arguments.finish();
  }

  std::string_view type() const override { return own_.type; }
  bool needs_gram() const override { return own_.needs_gram; }
  bool needs_calibration() const override { return true; }  // runs without data never ask a quantizer
  bool needs_channels(const Scheme& scheme) const override {
    return own_.needs_channels || ScopedQuantizer::needs_channels(scheme);
  }

  std::vector<QuantizedMatrix> quantize(const MatrixSet& set,
                                        Backend& backend,
                                        std::vector<LinearReport>& rows) const override {
    const QuantizationArgs& args = *set.scheme->weights;
    const Statistics* const statistics = set.statistics;
    std::string note;
    std::vector<QuantizationParameters> parameters = joint_scales(set.jobs, args, statistics, backend, &note);
    Statistics on_host;
    if (statistics) {
      on_host.samples = statistics->samples;
      on_host.tokens = statistics->tokens;
      on_host.channels = statistics->channels;
      if (!statistics->gram.empty()) on_host.gram = backend.to_host(statistics->gram);
    }
    std::vector<QuantizedMatrix> results;
    for (size_t j = 0; j < set.jobs.size(); ++j) {
      const MatrixJob& job = set.jobs[j];
      const HostView weight(job.weight, backend);
      QuantizedMatrix result{args, job.weight.shape, {}, std::move(parameters[j])};
      result.codes = quantize_in_tiles(*weight, result.parameters, args, policy_.rounding, backend);
      const bool one_code = is_one_code(result.codes);
      const Tensor multipliers = scale_values(result.parameters, args);
      own_.quantize(
          {job.module, args, *weight, multipliers,
           result.parameters.zero_points.empty() ? TensorView() : result.parameters.zero_points.view(),
           statistics ? &on_host : nullptr, result.codes, result.codes.data()});
      check(result, job.module);
      LinearReport row;
      row.name = job.module;
      row.scheme = describe(args);
      row.method = own_.type;
      row.note = note;
      row.relative_error = relative_weight_error(*weight, result, backend);
      // The finished folder's check would refuse it as well, without knowing whose fault it is. Zeros for a
      // weight are an error of exactly 1.
      if ((!one_code && is_one_code(result.codes)) || row.relative_error == 1.0)
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("modifier '{}': the codes of '{}' hold nothing of its weight", own_.type,
                                job.module));
      rows.push_back(std::move(row));
      results.push_back(std::move(result));
    }
    return results;
  }

 private:
  static bool is_one_code(const Tensor& codes) {
    return std::all_of(codes.data(), codes.data() + codes.bytes(),
                       [&](std::byte code) { return code == codes.data()[0]; });
  }

  // Codes outside the range of num_bits would be truncated silently when they are packed.
  void check(const QuantizedMatrix& matrix, const std::string& module) const {
    const QuantizationArgs& args = matrix.args;
    const auto* codes = reinterpret_cast<const uint8_t*>(matrix.codes.data());
    const bool integer = args.type == NumberType::integer;
    for (int64_t i = 0; i < matrix.codes.size(); ++i) {
      const int code = integer ? static_cast<int8_t>(codes[i]) : codes[i];
      const bool fits = integer ? code >= args.quant_min() && code <= args.quant_max()
          : args.num_bits == 8  ? (code & 0x7F) != 0x7F
                                : code < 16;
      if (!fits)
        throw Error(
            ErrorCode::invalid_argument,
            fmt::format("modifier '{}': code {} of '{}' at [{}, {}], wanted one of {}", own_.type, code,
                        module, i / matrix.codes.columns(), i % matrix.codes.columns(), describe(args)));
    }
  }

  const CustomQuantizer& own_;
  RunPolicy policy_;
};

}  // namespace

std::unique_ptr<Modifier> make_custom(const ModifierSpec& spec,
                                      const CustomQuantizer& own,
                                      const RunPolicy& policy) {
  return std::make_unique<Custom>(Arguments(spec), own, policy);
}

}  // namespace llmc
