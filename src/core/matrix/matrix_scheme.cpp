// A scheme becomes the modifier that a recipe would make of it: one road for whole runs and for single
// matrices.
#include <fmt/format.h>

#include "core/formats/compressed_tensors.hpp"
#include "core/quantize/finite.hpp"
#include "core/quantize/mse_observer.hpp"
#include "core/quantize/row_tiles.hpp"
#include "llmc/error.hpp"
#include "llmc/matrix.hpp"

namespace llmc {

namespace {

RecipeValue value_of(RecipeValue::Kind kind, std::string text) {
  RecipeValue value;
  value.kind = kind;
  value.scalar = std::move(text);
  return value;
}
RecipeValue string_value(std::string text) { return value_of(RecipeValue::Kind::string, std::move(text)); }

RecipeValue map_of(std::string key, RecipeValue item) {
  RecipeValue map;
  map.kind = RecipeValue::Kind::map;
  map.entries.emplace_back(std::move(key), std::move(item));
  return map;
}

// A preset's name, a group, or the arguments of weights.
void add_scheme(RecipeValue& arguments, const std::string& text) {
  if (text.empty())
    throw Error(ErrorCode::invalid_argument,
                "scheme: is empty; wanted a preset such as W4A16, or the text of a config group");
  RecipeValue scheme = parse_recipe_value(text);
  if (scheme.kind != RecipeValue::Kind::map) {
    if (scheme.scalar.empty())
      throw Error(ErrorCode::invalid_argument,
                  "scheme: wanted a preset such as W4A16, or the text of a config group");
    arguments.entries.emplace_back("scheme", string_value(scheme.scalar));
    return;
  }
  const bool is_group = scheme.find("weights") || scheme.find("input_activations") ||
      scheme.find("output_activations") || scheme.find("targets") || scheme.find("format");
  if (!is_group) scheme = map_of("weights", std::move(scheme));
  if (!scheme.find("targets")) scheme.entries.emplace_back("targets", string_value("Linear"));
  arguments.entries.emplace_back("config_groups", map_of("group_0", std::move(scheme)));
}

ModifierSpec spec_of(const MatrixSchemeOptions& options) {
  ModifierSpec spec;
  spec.type = options.gptq ? "GPTQModifier" : "QuantizationModifier";
  spec.arguments.kind = RecipeValue::Kind::map;
  const auto add = [&](const char* key, RecipeValue value) {
    spec.arguments.entries.emplace_back(key, std::move(value));
  };
  add_scheme(spec.arguments, options.scheme);
  const bool for_gptq = options.relative_dampening || options.activation_order || options.dampening_frac ||
      options.block_size;
  if (!options.gptq && for_gptq)
    throw Error(ErrorCode::invalid_argument,
                "scheme: dampening, activation order and block size belong to GPTQ, but the method is "
                "rounding to nearest");
  if (options.relative_dampening)
    add("dampening", string_value(*options.relative_dampening ? "relative" : "mean"));
  if (options.activation_order)
    add("actorder", *options.activation_order ? string_value("static") : RecipeValue{});
  if (options.dampening_frac)
    add("dampening_frac", value_of(RecipeValue::Kind::number, fmt::format("{}", *options.dampening_frac)));
  if (options.block_size)
    add("block_size", value_of(RecipeValue::Kind::integer, fmt::format("{}", *options.block_size)));
  return spec;
}

}  // namespace

struct MatrixScheme::Impl {
  Compat compat;
  std::unique_ptr<Modifier> modifier;
  const Quantizer* quantizer = nullptr;
  Format format = Format::dense;
  std::string description;
};

MatrixScheme::MatrixScheme(const MatrixSchemeOptions& options) {
  auto impl = std::make_shared<Impl>();
  impl->compat = options.compat;
  const bool reference = options.compat == Compat::reference;
  impl->modifier = make_modifier(
      spec_of(options),
      {options.compat, options.rounding.value_or(reference ? Rounding::reference : Rounding::exact)});
  impl->quantizer = dynamic_cast<const Quantizer*>(impl->modifier.get());
  const Scheme& scheme = impl->quantizer->schemes().at(0);
  if (!scheme.weights)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("scheme '{}': has no weights to quantize", options.scheme));
  const QuantizationArgs& args = *scheme.weights;
  if (args.dynamic != Dynamic::no || args.strategy == Strategy::token || args.strategy == Strategy::attn_head)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("scheme '{}': weights are quantized per token, per head or at run time; wanted "
                            "scales of their own",
                            options.scheme));
  impl->format = choose_format(scheme, reference ? ConfigFlavor::reference : ConfigFlavor::vllm);
  stored_layout("scheme", *scheme.weights, impl->format);  // refuses a format that cannot hold the codes
  impl->description = describe(*scheme.weights);
  impl_ = std::move(impl);
}

MatrixScheme::~MatrixScheme() = default;
MatrixScheme::MatrixScheme(MatrixScheme&&) noexcept = default;

const Scheme& MatrixScheme::scheme() const { return impl_->quantizer->schemes()[0]; }
Format MatrixScheme::format() const { return impl_->format; }
Compat MatrixScheme::compat() const { return impl_->compat; }
const Quantizer& MatrixScheme::quantizer() const { return *impl_->quantizer; }
const std::string& MatrixScheme::description() const { return impl_->description; }

float common_global_scale(const MatrixScheme& scheme,
                          std::span<const TensorView> weights,
                          const Statistics* statistics,
                          Backend& backend) {
  const QuantizationArgs& args = *scheme.scheme().weights;
  if (args.strategy != Strategy::tensor_group)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("global scale: scheme {} has none, wanted one with strategy tensor_group (NVFP4)",
                            scheme.description()));
  if (weights.empty()) throw Error(ErrorCode::invalid_argument, "global scale: got no weights");
  const auto importance = statistics
      ? mean_squares(statistics->channels.sum_squares, statistics->channels.tokens)
      : std::vector<float>{};
  std::vector<ValueRanges> ranges;
  for (const TensorView& weight : weights) {
    if (weight.dtype != weights[0].dtype)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("global scale: got weights of {} and of {}, wanted one dtype",
                              dtype_name(weights[0].dtype), dtype_name(weight.dtype)));
    if (const auto bad = backend.scan(weight).first_non_finite)
      throw Error(ErrorCode::numeric,
                  fmt::format("global scale: a weight {} has NaN or Inf at element {}",
                              to_string(weight.shape), *bad));
    ranges.push_back(weight_ranges(weight, args, importance, backend));
  }
  return joint_global_scale(ranges, weights[0].dtype);
}

}  // namespace llmc
