// SmoothQuantModifier (arXiv 2211.10438): moves outlier channels from activations into weights, s_j = range(x_j)^a / (2 max|W_j|)^(1 - a).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/quantize/number_formats.hpp"
#include "llmc/error.hpp"
#include "modifiers/arguments.hpp"
#include "modifiers/registry.hpp"

namespace llmc {

namespace {

constexpr float kSmallestScale = 1e-5f;

struct Mapping {
  TargetMatcher balance, smooth;
};

// Multiplies column j of every row by factor(j), rounded once to the tensor's dtype.
template <class Factor>
void scale_columns_in_place(Tensor& tensor, Factor factor) {
  const int64_t columns = tensor.shape().back(), rows = tensor.size() / columns;
  std::vector<float> row(static_cast<size_t>(columns));
  const int64_t row_bytes = columns * static_cast<int64_t>(item_size(tensor.dtype()));
  for (int64_t r = 0; r < rows; ++r) {
    std::byte* bytes = tensor.data() + r * row_bytes;
    to_float(TensorView(bytes, tensor.dtype(), {columns}), row.data());
    for (int64_t j = 0; j < columns; ++j) row[static_cast<size_t>(j)] = factor(row[static_cast<size_t>(j)], static_cast<size_t>(j));
    from_float(row.data(), columns, tensor.dtype(), bytes);
  }
}

std::vector<float> largest_per_column(const Block& block, const std::vector<size_t>& nodes, const WeightTable& weights) {
  std::vector<float> largest;
  for (size_t node : nodes) {
    const Tensor& weight = weights.at(block.nodes[node].weight_name());
    std::vector<float> row(static_cast<size_t>(weight.columns()));
    largest.resize(row.size(), 0.0f);
    for (int64_t r = 0; r < weight.rows(); ++r) {
      to_float(weight.view().row_range(r, r + 1), row.data());
      for (size_t j = 0; j < row.size(); ++j) largest[j] = std::max(largest[j], std::fabs(row[j]));
    }
  }
  return largest;
}

class SmoothQuant final : public Transform {
 public:
  SmoothQuant(const ModifierSpec& spec, const RunPolicy& policy) : type_(spec.type), rounds_like_reference_(policy.compat == Compat::reference), arguments_(spec), ignore_(arguments_.texts("ignore", {})) {
    strength_ = static_cast<float>(arguments_.number("smoothing_strength", 0.5));
    const std::string algorithm = arguments_.text("algorithm", spec.type == "LogarithmicEqualizationModifier" ? "log_equalization" : "smoothquant");
    if (algorithm != "smoothquant" && algorithm != "log_equalization") arguments_.fail("algorithm", fmt::format("got '{}', wanted smoothquant or log_equalization", algorithm));
    logarithmic_ = algorithm == "log_equalization";
    if (!(strength_ >= 0.0f && strength_ <= 1.0f)) arguments_.fail("smoothing_strength", fmt::format("got {}, wanted 0 to 1", strength_));
    if (arguments_.find("calibration_function")) arguments_.fail("calibration_function", "a Python function cannot run here; leave it out");
    arguments_.integer("num_calibration_steps", 0);  // deprecated there: every sample is used
    if (const RecipeValue* mappings = arguments_.find("mappings")) read_mappings(*mappings);
    arguments_.finish();
  }

  std::string_view type() const override { return type_; }

  std::vector<SmoothingPair> select(const Graph&, const Block& block) const override {
    std::vector<SmoothingPair> selected;
    for (const SmoothingPair& pair : smoothing_pairs(block)) {
      const auto name = [&](size_t node) -> const std::string& { return block.nodes[node].name; };
      if (std::all_of(pair.balance.begin(), pair.balance.end(), [&](size_t node) { return ignore_.match(name(node), "Linear"); })) continue;
      if (mappings_.empty() || std::any_of(mappings_.begin(), mappings_.end(), [&](const Mapping& mapping) { return covers(mapping, block, pair); })) selected.push_back(pair);
    }
    return selected;
  }

  void apply(const Block& block, const SmoothingPair& pair, const Statistics& statistics, WeightTable& weights) const override {
    const DType dtype = rounds_like_reference_ ? weights.at(block.nodes[pair.smooth].weight_name()).dtype() : DType::f32;
    const std::vector<float> scales = smoothing_scales(statistics.channels, largest_per_column(block, pair.balance, weights), dtype);
    for (size_t node : pair.balance)
      scale_columns_in_place(weights.at(block.nodes[node].weight_name()), [&](float w, size_t j) { return w * scales[j]; });
    const Node& norm = block.nodes[pair.smooth];
    const float offset = norm.norm()->kind == NormKind::rms_plus_one ? 1.0f : 0.0f;
    scale_columns_in_place(weights.at(norm.weight_name()), [&](float w, size_t j) { return (w + offset) / scales[j] - offset; });
    if (const auto bias = weights.find(norm.name + ".bias"); bias != weights.end())
      scale_columns_in_place(bias->second, [&](float b, size_t j) { return b / scales[j]; });
  }

 private:
  // [[balance targets ...], smooth target] as llm-compressor writes it, or a mapping with those two keys.
  void read_mappings(const RecipeValue& list) {
    if (list.kind != RecipeValue::Kind::list) arguments_.fail("mappings", "wanted a list of [[balance layers], smooth layer]");
    for (const RecipeValue& entry : list.items) {
      const RecipeValue* balance = entry.items.size() == 2 ? &entry.items[0] : entry.find("balance_layers");
      const RecipeValue* smooth = entry.items.size() == 2 ? &entry.items[1] : entry.find("smooth_layer");
      if (!balance || !smooth) arguments_.fail("mappings", "wanted a list of [[balance layers], smooth layer]");
      const std::string what = arguments_.what("mappings");
      mappings_.push_back({TargetMatcher(balance->as_strings(what)), TargetMatcher(smooth->as_strings(what))});
    }
  }

  // The pair is the mapping's when its norm and all of its readers are named; a norm with a reader left out cannot be smoothed alone.
  bool covers(const Mapping& mapping, const Block& block, const SmoothingPair& pair) const {
    if (!mapping.smooth.match(block.nodes[pair.smooth].name, "")) return false;
    for (size_t node : pair.balance)
      if (!mapping.balance.match(block.nodes[node].name, "Linear"))
        throw Error(ErrorCode::invalid_argument, fmt::format("{}: '{}' also feeds '{}', which the mapping leaves out: its function would change", arguments_.what("mappings"),
                                                             block.nodes[pair.smooth].name, block.nodes[node].name));
    return true;
  }

  // `dtype`: every step is rounded to it, as the reference computes in the model's dtype; float32 otherwise.
  std::vector<float> smoothing_scales(const ChannelStatistics& channels, const std::vector<float>& weight_maximum, DType dtype) const {
    const auto rounded = [&](float value) { return round_to(value, dtype); };
    std::vector<float> scales(channels.max.size());
    for (size_t j = 0; j < scales.size(); ++j) {
      const float range = rounded(channels.max[j] - channels.min[j]), weight = rounded(2.0f * weight_maximum[j]);
      float s = range;
      if (logarithmic_) s = rounded(range / rounded(std::log2(rounded(2.0f + range))));
      else if (weight > 0.0f) s = rounded(rounded(std::pow(range, strength_)) / rounded(std::pow(weight, 1.0f - strength_)));
      if (!std::isfinite(s)) throw Error(ErrorCode::numeric, fmt::format("{}: channel {} has range {} and largest weight {}: its scale is not finite", type_, j, range, weight_maximum[j]));
      scales[j] = std::max(s, kSmallestScale);
    }
    return scales;
  }

  std::string type_;
  bool rounds_like_reference_ = false;
  Arguments arguments_;
  TargetMatcher ignore_;
  float strength_ = 0.5f;
  bool logarithmic_ = false;
  std::vector<Mapping> mappings_;
};

}  // namespace

std::unique_ptr<Modifier> make_smoothquant(const ModifierSpec& spec, const RunPolicy& policy) { return std::make_unique<SmoothQuant>(spec, policy); }

}  // namespace llmc
