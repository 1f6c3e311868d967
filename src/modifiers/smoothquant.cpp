// SmoothQuantModifier (arXiv 2211.10438): moves outlier channels from activations into weights, s_j =
// range(x_j)^a / (2 max|W_j|)^(1 - a).
#include <fmt/format.h>

#include <algorithm>

#include "core/quantize/smoothing.hpp"
#include "core/recipe/nearest_name.hpp"
#include "llmc/error.hpp"
#include "modifiers/arguments.hpp"
#include "modifiers/quantization_scope.hpp"
#include "modifiers/registry.hpp"

namespace llmc {

namespace {

struct Mapping {
  TargetMatcher balance, smooth;
  std::string smooth_text;  // "re:.*input_layernorm"
  int line = 0;
};

class SmoothQuant final : public Transform {
 public:
  SmoothQuant(const ModifierSpec& spec, const RunPolicy& policy)
      : type_(spec.type),
        rounds_like_reference_(policy.compat == Compat::reference),
        arguments_(spec),
        ignored_(arguments_.texts("ignore", {})),
        ignore_(ignored_) {
    strength_ = static_cast<float>(arguments_.number("smoothing_strength", 0.5, 0, 1));
    const std::string algorithm = arguments_.text(
        "algorithm", spec.type == "LogarithmicEqualizationModifier" ? "log_equalization" : "smoothquant");
    if (algorithm != "smoothquant" && algorithm != "log_equalization")
      arguments_.fail("algorithm",
                      fmt::format("got '{}', wanted smoothquant or log_equalization", algorithm));
    logarithmic_ = algorithm == "log_equalization";
    if (arguments_.find("calibration_function"))
      arguments_.fail("calibration_function", "a Python function cannot run here; leave it out");
    arguments_.integer("num_calibration_steps", 0, 0, INT64_MAX);  // deprecated there: every sample is used
    if (const RecipeValue* mappings = arguments_.find("mappings")) read_mappings(*mappings);
    arguments_.finish();
  }

  std::string_view type() const override { return type_; }
  TransformNeeds needs() const override { return {.channels = true}; }

  std::vector<std::string> unmatched_ignores(std::span<const Module> modules) const override {
    return unmatched_of(ignored_, modules);
  }

  std::vector<std::string> unused_mappings(const Graph& graph) const override {
    std::vector<std::string> lines;
    for (const Mapping& mapping : mappings_) {
      const bool used = std::any_of(graph.blocks.begin(), graph.blocks.end(), [&](const Block& block) {
        const std::vector<SmoothingPair> pairs = smoothing_pairs(block);
        return std::any_of(pairs.begin(), pairs.end(), [&](const SmoothingPair& pair) {
          return mapping.smooth.match(block.nodes[pair.smooth].name, "") != nullptr;
        });
      });
      if (!used)
        lines.push_back(fmt::format("recipe line {}: {}: smooth layer '{}' {}", mapping.line,
                                    arguments_.what("mappings"), mapping.smooth_text,
                                    why_unused(mapping, graph)));
    }
    return lines;
  }

  std::vector<SmoothingPair> select(const Graph&, const Block& block) const override {
    std::vector<SmoothingPair> selected;
    for (const SmoothingPair& pair : smoothing_pairs(block)) {
      const auto name = [&](size_t node) -> const std::string& { return block.nodes[node].name; };
      if (std::all_of(pair.balance.begin(), pair.balance.end(),
                      [&](size_t node) { return ignore_.match(name(node), "Linear"); }))
        continue;
      // by itself it moves scale out of norms alone, as llm-compressor does
      if (mappings_.empty() ? pair.out_of_norm()
                            : std::any_of(mappings_.begin(), mappings_.end(), [&](const Mapping& mapping) {
                                return covers(mapping, block, pair);
                              }))
        selected.push_back(pair);
    }
    return selected;
  }

  std::vector<float> apply(const Block& block,
                           const SmoothingPair& pair,
                           const Statistics& statistics,
                           WeightTable& weights,
                           Backend& backend) const override {
    const auto weight_of = [&](size_t node) -> Tensor& {
      return weights.at(block.nodes[node].weight(WeightRole::weight)->name);
    };
    const Tensor& smooth = weight_of(pair.smooth);
    const SmoothingRule rule{strength_, logarithmic_, rounds_like_reference_ ? smooth.dtype() : DType::f32};
    std::vector<float> readers;  // [inputs of balance]
    for (size_t node : pair.balance) backend.raise_column_maxima(weight_of(node), readers);
    std::vector<float> largest(pair.channel_of.empty() ? readers : std::vector<float>());
    for (size_t j = 0; j < pair.channel_of.size(); ++j) {
      const auto channel = static_cast<size_t>(pair.channel_of[j]);
      if (largest.size() <= channel) largest.resize(channel + 1, 0.0f);
      largest[channel] = std::max(largest[channel], readers[j]);
    }
    std::vector<float> scales = smoothing_scales(statistics.channels.min, statistics.channels.max, largest,
                                                 rule, type_);
    std::vector<float> multiplied(pair.channel_of.empty() ? scales : std::vector<float>());
    for (const int32_t channel : pair.channel_of) multiplied.push_back(scales[static_cast<size_t>(channel)]);
    for (size_t node : pair.balance)
      backend.use_smoothing_scales(weight_of(node), multiplied, SmoothingUse::multiply);
    divide_maker(block.nodes[pair.smooth], pair.first_row, scales, weights, backend);
    return scales;
  }

 private:
  // [[balance targets ...], smooth target] as llm-compressor writes it, or a mapping with those two keys.
  void read_mappings(const RecipeValue& list) {
    if (list.kind != RecipeValue::Kind::list)
      arguments_.fail("mappings", "wanted a list of [[balance layers], smooth layer]");
    for (const RecipeValue& entry : list.items) {
      const RecipeValue* balance = entry.items.size() == 2 ? &entry.items[0] : entry.find("balance_layers");
      const RecipeValue* smooth = entry.items.size() == 2 ? &entry.items[1] : entry.find("smooth_layer");
      if (!balance || !smooth)
        arguments_.fail("mappings", "wanted a list of [[balance layers], smooth layer]");
      const std::string what = arguments_.what("mappings");
      const std::vector<std::string> smooths = smooth->as_strings(what);
      mappings_.push_back({TargetMatcher(balance->as_strings(what)), TargetMatcher(smooths),
                           fmt::format("{}", fmt::join(smooths, "', '")), entry.line});
    }
  }

  static void divide_maker(const Node& node,
                           int64_t first_row,
                           const std::vector<float>& scales,
                           WeightTable& weights,
                           Backend& backend) {
    Tensor& weight = weights.at(node.weight(WeightRole::weight)->name);
    const NodeWeight* bias = node.weight(WeightRole::bias);
    if (const Norm* norm = node.norm()) {
      backend.use_smoothing_scales(
          weight, scales,
          norm->kind == NormKind::rms_plus_one ? SmoothingUse::divide_plus_one : SmoothingUse::divide);
      if (bias) backend.use_smoothing_scales(weights.at(bias->name), scales, SmoothingUse::divide);
      return;
    }
    // rows of a fused Linear that make other values are divided by 1, which leaves them as they are
    std::vector<float> of_rows(static_cast<size_t>(weight.rows()), 1.0f);
    std::copy(scales.begin(), scales.end(), of_rows.begin() + static_cast<std::ptrdiff_t>(first_row));
    backend.divide_rows(weight, of_rows);
    if (bias) backend.use_smoothing_scales(weights.at(bias->name), of_rows, SmoothingUse::divide);
  }

  static std::string why_unused(const Mapping& mapping, const Graph& graph) {
    for (const Block& block : graph.blocks)
      for (const Node& node : block.nodes)
        if (!node.name.empty() && mapping.smooth.match(node.name, ""))
          return fmt::format(
              "is '{}', a {}; wanted a norm that only Linears of its own layer read, or a Linear whose "
              "channels reach such Linears through a product or as an attention's values",
              node.name,
              node.norm()         ? "norm outside attention and MLP"
                  : node.linear() ? "Linear"
                                  : "table");
    return fmt::format("matches no module of this model{}; wanted a norm that Linears read",
                       nearest_name_hint(mapping.smooth_text, graph.modules));
  }

  // The pair is the mapping's when its norm and all of its readers are named; a norm with a reader left out
  // cannot be smoothed alone.
  bool covers(const Mapping& mapping, const Block& block, const SmoothingPair& pair) const {
    if (!mapping.smooth.match(block.nodes[pair.smooth].name, "")) return false;
    for (size_t node : pair.balance)
      if (!mapping.balance.match(block.nodes[node].name, "Linear"))
        throw Error(
            ErrorCode::invalid_argument,
            fmt::format("{}: '{}' also feeds '{}', which the mapping leaves out: its function would change",
                        arguments_.what("mappings"), block.nodes[pair.smooth].name, block.nodes[node].name));
    return true;
  }

  std::string type_;
  bool rounds_like_reference_ = false;
  Arguments arguments_;
  std::vector<std::string> ignored_;
  TargetMatcher ignore_;
  float strength_ = 0.5f;
  bool logarithmic_ = false;
  std::vector<Mapping> mappings_;
};

}  // namespace

std::unique_ptr<Modifier> make_smoothquant(const ModifierSpec& spec, const RunPolicy& policy) {
  return std::make_unique<SmoothQuant>(spec, policy);
}

}  // namespace llmc
