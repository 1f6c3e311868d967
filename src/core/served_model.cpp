#include "core/served_model.hpp"

#include <fmt/format.h>

#include "core/checkpoint/compressed_tensors.hpp"
#include "core/compressed_output.hpp"
#include "core/families/decoder_spec.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/rounding.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

ActivationQuantization emulated(const QuantizationArgs& args, const std::string& module) {
  if (args.dynamic != Dynamic::yes || (args.strategy != Strategy::token && args.strategy != Strategy::group) || !args.symmetric)
    throw Error(ErrorCode::unsupported, fmt::format("'{}': only symmetric dynamic activation quantization per token or group is emulated; this folder asks for another kind", module));
  return {{args.type, args.num_bits, args.symmetric}, args.strategy == Strategy::group ? args.group_size.value_or(0) : 0};
}

}  // namespace

ServedModel::ServedModel(const std::string& directory) : checkpoint_(directory), graph_(build_graph(checkpoint_.config())), quantization_(parse_quantization_config(checkpoint_.config())) {
  if (!quantization_) return;
  groups_ = std::make_unique<GroupMatcher>(*quantization_);
  for (const Block& block : graph_.blocks)
    for (const Node& node : block.nodes)
      if (node.linear())
        if (const auto* group = groups_->match(node.name); group && group->scheme.input_activations) input_quantization_[node.name] = emulated(*group->scheme.input_activations, node.name);
}

WeightTable ServedModel::load(const Block& block, DType dtype) const {
  WeightTable weights;
  for (const Node& node : block.nodes) {
    if (node.name.empty()) continue;
    const std::string name = node.weight_name();
    const auto* group = groups_ && node.linear() ? groups_->match(node.name) : nullptr;
    if (group) {
      QuantizedMatrix matrix = read_quantized(checkpoint_, node.name, *group->scheme.weights, group->scheme.format.value_or(infer_format(group->scheme)));
      Tensor& scales = matrix.parameters.scales;
      if (dtype == DType::f32 && (scales.dtype() == DType::bf16 || scales.dtype() == DType::f16)) scales = converted(scales, DType::f32);
      weights.emplace(name, dequantize_matrix(matrix, dtype == DType::f32 ? dtype : graph_.dtype));
    } else if (checkpoint_.contains(name)) {
      weights.emplace(name, checkpoint_.read(name));
    } else {
      throw Error(ErrorCode::bad_file, fmt::format("'{}': tensor '{}' is missing", checkpoint_.directory(), name));
    }
    if (checkpoint_.contains(node.name + ".bias")) weights.emplace(node.name + ".bias", checkpoint_.read(node.name + ".bias"));
  }
  for (const auto& [name, tensor] : weights) check_finite(checkpoint_.directory(), name, tensor);
  return weights;
}

Tensor ServedModel::run_block(Backend& backend, const Block& block, const WeightTable& weights, const TokenBatch& tile, const ForwardOptions& options, Tensor input) const {
  ValueTable values(graph_.values.size());
  if (block.input >= 0) values[static_cast<size_t>(block.input)] = std::move(input);
  const auto dying = last_uses(block);
  for (size_t i = 0; i < block.nodes.size(); ++i) {
    backend.execute(std::span(block.nodes).subspan(i, 1), weights, tile, options, values, &input_quantization_);
    for (ValueId value : dying[i]) values[static_cast<size_t>(value)] = Tensor();
  }
  return std::move(values[static_cast<size_t>(block.output)]);
}

std::vector<Tensor> ServedModel::run_body(Backend& backend, const std::vector<TokenBatch>& tiles, const ForwardOptions& options, const Visit& visit) const {
  std::vector<Tensor> hidden(tiles.size());
  for (size_t b = 0; b + 1 < graph_.blocks.size(); ++b) {
    const WeightTable weights = load(graph_.blocks[b], options.value_dtype);
    for (size_t t = 0; t < tiles.size(); ++t) {
      hidden[t] = run_block(backend, graph_.blocks[b], weights, tiles[t], options, std::move(hidden[t]));
      if (visit) visit(b, t, hidden[t]);
    }
  }
  return hidden;
}

}  // namespace llmc
