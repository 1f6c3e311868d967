#include "core/model/served_model.hpp"

#include <fmt/format.h>

#include <cmath>
#include <map>

#include "core/families/decoder_spec.hpp"
#include "core/files/weight_reader.hpp"
#include "core/model/model_outline.hpp"
#include "core/model/sound_folder.hpp"
#include "core/quantize/finite.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/rounding.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

std::vector<float> read_floats(const Checkpoint& from, const std::string& name) {
  if (!from.contains(name))
    throw Error(ErrorCode::bad_file, fmt::format("'{}': tensor '{}' is missing", from.directory(), name));
  const Tensor tensor = from.read(name);
  if (!tensor.size())
    throw Error(ErrorCode::bad_file, fmt::format("'{}': tensor '{}' is empty", from.directory(), name));
  std::vector<float> values(static_cast<size_t>(tensor.size()));
  to_float(tensor, values.data());
  for (const float value : values)
    if (!std::isfinite(value))
      throw Error(ErrorCode::bad_file,
                  fmt::format("'{}': tensor '{}' holds NaN or Inf", from.directory(), name));
  return values;
}

// `name`: the activation's parameters are stored as "<name>_scale", ...; attn_head: `heads` of each.
ActivationQuantization emulated(const Checkpoint& from,
                                const QuantizationArgs& args,
                                const std::string& name,
                                int64_t heads) {
  if (args.dynamic == Dynamic::yes && args.strategy == Strategy::tensor)
    throw Error(ErrorCode::unsupported,
                fmt::format("'{}': '{}' asks for one dynamic scale per tensor, which depends on the server's "
                            "batch and is not emulated",
                            from.directory(), name));
  ActivationQuantization how;
  how.grid = {args.type, args.num_bits, args.symmetric};
  how.group_size = args.strategy == Strategy::group || args.strategy == Strategy::tensor_group
      ? args.group_size.value_or(0)
      : 0;
  how.power_of_two = args.scale_dtype == DType::u8;
  if (args.dynamic == Dynamic::local) how.global_scale = read_floats(from, name + "_global_scale").at(0);
  if (args.dynamic != Dynamic::no) return how;
  how.fixed_scales = read_floats(from, name + "_scale");
  if (!args.symmetric)
    for (const float zero_point : read_floats(from, name + "_zero_point"))
      how.fixed_zero_points.push_back(static_cast<int8_t>(zero_point));
  const auto wanted = static_cast<size_t>(args.strategy == Strategy::attn_head ? heads : 1);
  if (how.fixed_scales.size() != wanted || (!args.symmetric && how.fixed_zero_points.size() != wanted))
    throw Error(ErrorCode::bad_file,
                fmt::format("'{}': '{}' has {} scale(s) and {} zero point(s), wanted {}", from.directory(),
                            name, how.fixed_scales.size(), how.fixed_zero_points.size(), wanted));
  return how;
}

}  // namespace

ServedModel::ServedModel(const std::string& directory)
    : checkpoint_(directory),
      graph_(graph_of(checkpoint_)),
      reader_(open_reader(checkpoint_, "config.json")) {
  require_sound(checkpoint_, reader_.get());
  if (reader_) round_activations();
}

void ServedModel::round_activations() {
  const auto add = [&](const std::string& name, const std::optional<QuantizationArgs>& args,
                       int64_t heads = 1) {
    if (args) rounding_[name] = emulated(checkpoint_, *args, name, heads);
  };
  std::map<std::string, std::string> class_of;
  for (const Module& module : graph_.modules) class_of[module.name] = module.class_name;
  for (const Block& block : graph_.blocks)
    for (const Node& node : block.nodes) {
      if (const Scheme* scheme = node.linear() ? reader_->scheme_of(node.name, "Linear") : nullptr) {
        add(node.name + ".input", scheme->input_activations);
        add(node.name + ".output", scheme->output_activations);
      }
      if (const auto* attention = std::get_if<Attention>(&node.operation)) {
        const Scheme* scheme = reader_->scheme_of(attention->module, class_of[attention->module]);
        const bool states = scheme && !scheme->weights;
        if (states) add(attention->module + ".q", scheme->input_activations, attention->heads);
        for (const char* state : {".k", ".v"})
          add(attention->module + state,
              states ? scheme->input_activations : reader_->config().kv_cache_scheme, attention->kv_heads);
      }
    }
}

WeightTable ServedModel::load(const Block& block, DType dtype) const {
  WeightTable weights;
  for (const Node& node : block.nodes)
    for (const NodeWeight& weight : node.weights)
      weights.emplace(weight.name, load_weight(node, weight, dtype));
  for (const auto& [name, tensor] : weights) check_finite(checkpoint_.directory(), name, tensor);
  return weights;
}

Tensor ServedModel::load_weight(const Node& node, const NodeWeight& weight, DType dtype) const {
  // another module when tied
  const std::string owner = weight.name.substr(0, weight.name.rfind('.'));
  const bool embedding = owner != node.name || std::holds_alternative<Embedding>(node.operation);
  const Scheme* scheme = reader_ && (embedding || node.linear()) && weight.role == WeightRole::weight
      ? reader_->scheme_of(owner, embedding ? "Embedding" : "Linear")
      : nullptr;
  if (scheme && scheme->weights) {
    QuantizedMatrix matrix = reader_->read(owner, *scheme);
    Tensor& scales = matrix.parameters.scales;
    if (dtype == DType::f32 && (scales.dtype() == DType::bf16 || scales.dtype() == DType::f16))
      scales = converted(scales, DType::f32);
    return dequantize_matrix(matrix, dtype == DType::f32 ? dtype : graph_.dtype);
  }
  // a compressed folder keeps parts that nobody quantized under names of their own
  const WeightRef source = checkpoint_.contains(weight.name) ? WeightRef{weight.name} : weight.source;
  if (!checkpoint_.contains(source.tensor))
    throw Error(ErrorCode::bad_file,
                fmt::format("'{}': tensor '{}' is missing", checkpoint_.directory(), source.tensor));
  return WeightReader(checkpoint_, source).read_all();
}

Tensor ServedModel::run_block(Backend& backend,
                              const Block& block,
                              const WeightTable& weights,
                              const TokenBatch& tile,
                              const ForwardOptions& options,
                              Tensor input) const {
  ValueTable values(graph_.values.size());
  if (block.input >= 0) values[static_cast<size_t>(block.input)] = std::move(input);
  const auto dying = last_uses(block);
  const ValueLifetimes lifetimes{dying, [](const Node&) {},
                                 [&](size_t node) {
                                   for (ValueId value : dying[node])
                                     values[static_cast<size_t>(value)] = Tensor();
                                 }};
  backend.execute(block.nodes,
                  {.weights = weights,
                   .batch = tile,
                   .values = values,
                   .options = options,
                   .rounding = &rounding_,
                   .lifetimes = &lifetimes});
  return std::move(values[static_cast<size_t>(block.output)]);
}

std::vector<Tensor> ServedModel::run_body(Backend& backend,
                                          const std::vector<TokenBatch>& tiles,
                                          const ForwardOptions& options,
                                          const Visit& visit) const {
  std::vector<Tensor> hidden(tiles.size());
  for (size_t b = 0; b + 1 < graph_.blocks.size(); ++b) {
    const WeightTable loaded = load(graph_.blocks[b], options.value_dtype);
    const StagedWeights weights = backend.stage(graph_.blocks[b].nodes, loaded);
    for (size_t t = 0; t < tiles.size(); ++t) {
      hidden[t] = run_block(backend, graph_.blocks[b], weights, tiles[t], options, std::move(hidden[t]));
      if (visit) visit(b, t, hidden[t]);
    }
  }
  return hidden;
}

}  // namespace llmc
