#include "core/forward/forward_pass.hpp"

#include <algorithm>

#include "core/forward/fusions.hpp"
#include "core/forward/operations/checks.hpp"
#include "llmc/error.hpp"

namespace llmc {
ForwardPass::ForwardPass(ForwardDevice& device, RopeTables& rope, const Execution& execution)
    : device_(device),
      rope_(rope),
      execution_(execution),
      dtype_(execution.options.value_dtype) {
  if (dtype_ != DType::f32 && dtype_ != DType::bf16)
    throw Error(ErrorCode::unsupported,
                std::string(device.name()) + ": values of dtype " + std::string(dtype_name(dtype_)) +
                    ", wanted F32 or BF16");
  const std::vector<int64_t>& starts = batch().sequence_starts;
  if (execution.state) past_ = execution.state->past;
  const size_t sequences = starts.empty() ? 0 : starts.size() - 1;
  if (past_.empty()) past_.resize(sequences);
  if (past_.size() != sequences)
    throw Error(ErrorCode::internal,
                std::string(device.name()) + ": a state of " + std::to_string(past_.size()) +
                    " sequences, wanted the " + std::to_string(sequences) + " of the batch");
  int64_t before = 0;
  for (size_t s = 0; s < starts.size(); ++s) {
    key_starts_.push_back(starts[s] + before);
    if (s < past_.size()) before += past_[s];
  }
}

void ForwardPass::run(std::span<const Node> nodes) {
  const ValueLifetimes* const lifetimes = execution_.lifetimes;
  for (size_t at = 0; at < nodes.size();) {
    const FusedNodes fused = find_fusion(*this, device_.fusions(), nodes, at);
    const auto run = nodes.subspan(at, fused.count);
    if (lifetimes)
      for (const Node& node : run)
        if (fused.makes_inner_values || &node == &run.back()) lifetimes->starting(node);
    device_.run(fused.check
                    ? fused.check(*this, run)
                    : std::visit([&](const auto& operation) { return check(*this, run[0], operation); },
                                 run[0].operation));
    for (const Node& node : run) round_output(node);
    held_.clear();
    for (size_t i = at; lifetimes && i < at + run.size(); ++i) lifetimes->finished(i);
    at += run.size();
  }
}

void ForwardPass::fail(const Node& node, const std::string& text) const {
  throw Error(ErrorCode::internal, std::string(device_.name()) + ": node '" + node.name + "': " + text);
}

bool ForwardPass::dies_at(size_t node, ValueId value) const {
  if (!execution_.lifetimes || node >= execution_.lifetimes->last_uses.size()) return false;
  const auto& dying = execution_.lifetimes->last_uses[node];
  return std::find(dying.begin(), dying.end(), value) != dying.end();
}

const Tensor& ForwardPass::input(const Node& node, size_t index) {
  if (index >= node.inputs.size())
    fail(node,
         "has " + std::to_string(node.inputs.size()) + " inputs, wanted more than " + std::to_string(index));
  const ValueId id = node.inputs[index];
  ValueTable& values = execution_.values;
  if (id < 0 || static_cast<size_t>(id) >= values.size() || values[static_cast<size_t>(id)].empty())
    fail(node, "input value " + std::to_string(id) + " is not alive");
  Tensor& value = values[static_cast<size_t>(id)];
  if (value.dtype() != dtype_ || value.rows() != batch().tokens())
    fail(node,
         "input value " + std::to_string(id) + " is " + std::string(dtype_name(value.dtype())) + " " +
             to_string(value.shape()) + ", wanted " + std::string(dtype_name(dtype_)) + " of " +
             std::to_string(batch().tokens()) + " tokens");
  if (value.device() != device_.device()) value = device_.bring_value(value);
  return value;
}

Tensor& ForwardPass::output(const Node& node, int64_t width) {
  ValueTable& values = execution_.values;
  if (node.output < 0 || static_cast<size_t>(node.output) >= values.size())
    fail(node,
         "output value " + std::to_string(node.output) + " is outside the table of " +
             std::to_string(values.size()));
  Tensor& value = values[static_cast<size_t>(node.output)];
  const Shape shape{batch().tokens(), width};
  if (value.empty() || value.dtype() != dtype_ || value.shape() != shape ||
      value.device() != device_.device())
    value = device_.make(dtype_, shape);
  return value;
}

const Tensor* ForwardPass::find_weight(const Node& node, WeightRole role) {
  const NodeWeight* const weight = node.weight(role);
  if (!weight) return nullptr;
  const auto found = execution_.weights.find(weight->name);
  if (found == execution_.weights.end()) fail(node, "weight '" + weight->name + "' is missing");
  const Tensor& tensor = found->second;
  if (const Shape shape = weight_shape(node, role); tensor.shape() != shape)
    fail(node,
         "weight '" + weight->name + "' has shape " + to_string(tensor.shape()) + ", wanted " +
             to_string(shape));
  if (tensor.dtype() != DType::f32 && tensor.dtype() != DType::bf16 && tensor.dtype() != DType::f16)
    fail(node,
         "weight '" + weight->name + "' is " + std::string(dtype_name(tensor.dtype())) +
             ", wanted F32, BF16 or F16");
  return tensor.device() == device_.device() ? &tensor : &held_.emplace_back(device_.bring_weight(tensor));
}

const Tensor& ForwardPass::weight(const Node& node, WeightRole role) {
  const Tensor* const found = find_weight(node, role);
  if (!found) fail(node, "has no weight, wanted one");
  return *found;
}

const Tensor& ForwardPass::with_past(const Node& node,
                                     const Tensor& fresh,
                                     Tensor SequenceState::Kept::*kept) {
  if (!execution_.state) return fresh;
  const std::vector<int64_t>& starts = batch().sequence_starts;
  const int64_t all = key_starts_.empty() ? 0 : key_starts_.back(), before = all - fresh.rows();
  Tensor& place = execution_.state->attention[node.output].*kept;
  if (before > 0 && (place.shape() != Shape{before, fresh.columns()} || place.dtype() != dtype_))
    fail(node,
         "its state holds " + std::string(dtype_name(place.dtype())) + " " + to_string(place.shape()) +
             ", wanted " + std::string(dtype_name(dtype_)) + " " + to_string({before, fresh.columns()}) +
             " of the past tokens");
  // Made anew for every call: as many bytes are copied as attention reads anyway.
  Tensor joined = device_.make(dtype_, {all, fresh.columns()});
  if (before > 0 && place.device() != device_.device()) place = device_.bring_value(place);
  int64_t from = 0;
  for (size_t s = 0; s < past_.size(); ++s) {
    if (past_[s] > 0) device_.copy_rows(place, from, past_[s], joined, key_starts_[s]);
    from += past_[s];
    if (starts[s + 1] > starts[s])
      device_.copy_rows(fresh, starts[s], starts[s + 1] - starts[s], joined, key_starts_[s] + past_[s]);
  }
  return place = std::move(joined);
}

const ActivationQuantization* ForwardPass::rounding_of(const std::string& name) const {
  if (!execution_.rounding) return nullptr;
  const auto found = execution_.rounding->find(name);
  return found == execution_.rounding->end() ? nullptr : &found->second;
}

const Tensor& ForwardPass::rounded_input(const Node& node, size_t index, const std::string& name) {
  const Tensor& x = input(node, index);
  const ActivationQuantization* const how = rounding_of(name);
  if (!how) return x;
  Tensor& rounded = held_.emplace_back(device_.make(dtype_, x.shape()));
  round(*how, x, rounded);
  return rounded;
}

void ForwardPass::round_output(const Node& node) {
  if (!execution_.rounding || !node.linear()) return;
  if (const ActivationQuantization* const how = rounding_of(node.name + ".output")) {
    Tensor& out = execution_.values[static_cast<size_t>(node.output)];
    round(*how, out, out);
  }
}

void ForwardPass::round(const ActivationQuantization& how, const Tensor& x, Tensor& out) {
  const int64_t heads = std::max<int64_t>(1, static_cast<int64_t>(how.fixed_scales.size())),
                width = x.columns(), group = how.group_size > 0 ? how.group_size : width / heads;
  if (group <= 0 || width % group != 0 || (heads > 1 && width / group != heads))
    throw Error(ErrorCode::invalid_argument,
                std::string(device_.name()) + ": activations in groups of " + std::to_string(group) +
                    " channels does not divide a width of " + std::to_string(width));
  device_.run(RoundingCall{how, x, out, group, heads});
}

}  // namespace llmc
