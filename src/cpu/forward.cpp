#include "cpu/forward.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/attention.hpp"
#include "cpu/input_quantization.hpp"
#include "llmc/error.hpp"

namespace llmc::cpu {
namespace {

constexpr int64_t kRowGrain = 16;           // tokens of one task
constexpr int64_t kTableKeep = 8;           // rotation tables

[[noreturn]] void fail(const Node& node, const std::string& text) { throw Error(ErrorCode::internal, "cpu: node '" + node.name + "': " + text); }

// Runs one segment. One method per kind of node; each reads its inputs and fills the output value.
class Forward {
 public:
  Forward(Engine& engine, RopeTables& rope, const WeightTable& weights, const TokenBatch& batch, const ForwardOptions& options, ValueTable& values, const Backend::InputQuantization* quantization)
      : engine_(engine), rope_(rope), weights_(weights), batch_(batch), dtype_(options.value_dtype), item_(static_cast<int64_t>(item_size(dtype_))), values_(values), quantization_(quantization) {
    if (dtype_ != DType::f32 && dtype_ != DType::bf16) throw Error(ErrorCode::unsupported, "cpu: values of dtype " + std::string(dtype_name(dtype_)) + ", wanted F32 or BF16");
  }

  void run(const Node& node) {
    std::visit([&](const auto& operation) { apply(node, operation); }, node.operation);
  }

 private:
  void apply(const Node& node, const Embedding& embedding) {
    const Tensor& table = weight(node, node.weight_name(), {embedding.vocabulary, embedding.width});
    const int64_t width = embedding.width, source_item = static_cast<int64_t>(item_size(table.dtype()));
    for (size_t i = 0; i < batch_.token_ids.size(); ++i)
      if (batch_.token_ids[i] < 0 || batch_.token_ids[i] >= embedding.vocabulary)
        throw Error(ErrorCode::invalid_argument,
                    "token id " + std::to_string(batch_.token_ids[i]) + " at position " + std::to_string(i) + " is outside the vocabulary of " + std::to_string(embedding.vocabulary));
    Tensor& out = output(node, width);
    engine_.pool.parallel_for(batch_.tokens(), kRowGrain, [&](int64_t begin, int64_t end) {
      std::vector<float> row(static_cast<size_t>(width));
      for (int64_t t = begin; t < end; ++t) {
        const std::byte* from = table.data() + batch_.token_ids[static_cast<size_t>(t)] * width * source_item;
        if (table.dtype() == dtype_) {
          std::memcpy(row_of(out, t), from, static_cast<size_t>(width * item_));
        } else {
          engine_.elements.load_row(from, table.dtype(), width, row.data());
          engine_.elements.store_row(row.data(), nullptr, width, dtype_, row_of(out, t));
        }
      }
    });
  }

  void apply(const Node& node, const Norm& norm) {
    const Tensor& x = input(node, 0);
    if (norm.width <= 0 || x.columns() % norm.width != 0) fail(node, "norm over " + std::to_string(norm.width) + " of " + std::to_string(x.columns()) + " channels");
    std::vector<float> scale = floats(weight(node, node.name + ".weight", {norm.width}));
    if (norm.kind == NormKind::rms_plus_one)
      for (float& value : scale) value += 1.0f;
    std::vector<float> bias;
    if (const auto found = weights_.find(node.name + ".bias"); norm.kind == NormKind::layer && found != weights_.end()) bias = floats(found->second);
    const int64_t groups = x.columns() / norm.width;
    Tensor& out = output(node, x.columns());
    each_row([&](int64_t t) {
      for (int64_t g = 0; g < groups; ++g) {
        const int64_t offset = g * norm.width * item_;
        engine_.elements.norm_row(norm.kind, row_of(x, t) + offset, dtype_, norm.width, static_cast<float>(norm.epsilon), scale.data(), bias.empty() ? nullptr : bias.data(), row_of(out, t) + offset);
      }
    });
  }

  void apply(const Node& node, const Linear& linear) {
    const Tensor& x = input(node, 0);
    if (x.columns() != linear.in_features) fail(node, "input of " + std::to_string(x.columns()) + " channels, wanted " + std::to_string(linear.in_features));
    const Tensor& matrix = weight(node, node.weight_name(), {linear.out_features, linear.in_features});
    std::vector<float> bias;
    if (linear.bias) bias = floats(weight(node, node.name + ".bias", {linear.out_features}));
    Operand a = rows(x), b = rows(matrix);
    Tensor quantized;
    if (quantization_)
      if (const auto found = quantization_->find(node.name); found != quantization_->end()) {
        quantized = Tensor(dtype_, x.shape());
        quantize_input(engine_, found->second, x.data(), dtype_, x.rows(), x.columns(), quantized.data());
        a.data = quantized.data();
      }
    Tensor& out = output(node, linear.out_features);
    gemm(engine_, a, b, linear.bias ? bias.data() : nullptr, {out.data(), dtype_, linear.out_features});
  }

  void apply(const Node& node, const Rope& rope) {
    const Tensor& x = input(node, 0);
    if (x.columns() != rope.heads * rope.head_dim) fail(node, "input of " + std::to_string(x.columns()) + " channels, wanted " + std::to_string(rope.heads * rope.head_dim));
    Tensor& out = output(node, x.columns());
    const int64_t half = rope.spec.rotary_dim / 2, kept = rope.head_dim - 2 * half;
    for (size_t s = 0; s + 1 < batch_.sequence_starts.size(); ++s) {
      const int64_t start = batch_.sequence_starts[s], length = batch_.sequence_starts[s + 1] - start;
      const auto table = rope_.find(rope.spec, length);
      engine_.pool.parallel_for(length, kRowGrain, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p)
          for (int64_t h = 0; h < rope.heads; ++h) {
            const std::byte* from = row_of(x, start + p) + h * rope.head_dim * item_;
            std::byte* to = row_of(out, start + p) + h * rope.head_dim * item_;
            engine_.elements.rotate_row(from, dtype_, half, table->cosine.data() + p * half, table->sine.data() + p * half, to);
            if (kept > 0) std::memcpy(to + 2 * half * item_, from + 2 * half * item_, static_cast<size_t>(kept * item_));
          }
      });
    }
  }

  void apply(const Node& node, const Attention& attention) {
    const Tensor &q = input(node, 0), &k = input(node, 1), &v = input(node, 2);
    const int64_t width = attention.heads * attention.head_dim, kv_width = attention.kv_heads * attention.head_dim;
    if (attention.kv_heads <= 0 || attention.heads % attention.kv_heads != 0 || q.columns() != width || k.columns() != kv_width || v.columns() != kv_width)
      fail(node, "queries of " + std::to_string(q.columns()) + " and keys of " + std::to_string(k.columns()) + " channels, wanted " + std::to_string(width) + " and " + std::to_string(kv_width));
    Tensor& out = output(node, width);
    attend(engine_, attention, dtype_, q.data(), k.data(), v.data(), batch_.sequence_starts, out.data());
  }

  void apply(const Node& node, const Activation& activation) {
    const Tensor& x = input(node, 0);
    Tensor& out = output(node, x.columns());
    each_row([&](int64_t t) { engine_.elements.activate(activation.kind, row_of(x, t), dtype_, x.columns(), row_of(out, t)); });
  }

  void apply(const Node& node, const Multiply&) { combine(node, engine_.elements.multiply); }
  void apply(const Node& node, const Add&) { combine(node, engine_.elements.add); }

  void combine(const Node& node, void (*kernel)(const void*, const void*, DType, int64_t, void*)) {
    const Tensor &x = input(node, 0), &y = input(node, 1);
    if (x.columns() != y.columns()) fail(node, "inputs of " + std::to_string(x.columns()) + " and " + std::to_string(y.columns()) + " channels");
    Tensor& out = output(node, x.columns());
    each_row([&](int64_t t) { kernel(row_of(x, t), row_of(y, t), dtype_, x.columns(), row_of(out, t)); });
  }

  // ---- values and weights

  const Tensor& input(const Node& node, size_t index) const {
    if (index >= node.inputs.size()) fail(node, "has " + std::to_string(node.inputs.size()) + " inputs, wanted more than " + std::to_string(index));
    const ValueId id = node.inputs[index];
    if (id < 0 || static_cast<size_t>(id) >= values_.size() || values_[static_cast<size_t>(id)].empty()) fail(node, "input value " + std::to_string(id) + " is not alive");
    const Tensor& value = values_[static_cast<size_t>(id)];
    if (value.dtype() != dtype_ || value.rows() != batch_.tokens())
      fail(node, "input value " + std::to_string(id) + " is " + std::string(dtype_name(value.dtype())) + " " + to_string(value.shape()) + ", wanted " + std::string(dtype_name(dtype_)) + " of " +
                     std::to_string(batch_.tokens()) + " tokens");
    return value;
  }

  Tensor& output(const Node& node, int64_t width) {
    if (node.output < 0 || static_cast<size_t>(node.output) >= values_.size()) fail(node, "output value " + std::to_string(node.output) + " is outside the table of " + std::to_string(values_.size()));
    Tensor& value = values_[static_cast<size_t>(node.output)];
    const Shape shape{batch_.tokens(), width};
    if (value.empty() || value.dtype() != dtype_ || value.shape() != shape) value = Tensor(dtype_, shape);
    return value;
  }

  const Tensor& weight(const Node& node, const std::string& name, const Shape& shape) const {
    const auto found = weights_.find(name);
    if (found == weights_.end()) fail(node, "weight '" + name + "' is missing");
    const Tensor& tensor = found->second;
    if (tensor.shape() != shape) fail(node, "weight '" + name + "' has shape " + to_string(tensor.shape()) + ", wanted " + to_string(shape));
    if (tensor.dtype() != DType::f32 && tensor.dtype() != DType::bf16 && tensor.dtype() != DType::f16) fail(node, "weight '" + name + "' is " + std::string(dtype_name(tensor.dtype())) + ", wanted F32, BF16 or F16");
    return tensor;
  }

  std::vector<float> floats(const Tensor& tensor) const {
    std::vector<float> result(static_cast<size_t>(tensor.size()));
    engine_.elements.load_row(tensor.data(), tensor.dtype(), tensor.size(), result.data());
    return result;
  }

  static Operand rows(const Tensor& tensor) {
    Operand operand;
    operand.data = tensor.data();
    operand.dtype = tensor.dtype();
    operand.rows = tensor.rows();
    operand.depth = operand.row_stride = tensor.columns();
    return operand;
  }

  const std::byte* row_of(const Tensor& tensor, int64_t t) const { return tensor.data() + t * tensor.columns() * item_; }
  std::byte* row_of(Tensor& tensor, int64_t t) const { return tensor.data() + t * tensor.columns() * item_; }

  void each_row(const std::function<void(int64_t)>& body) {
    engine_.pool.parallel_for(batch_.tokens(), kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) body(t);
    });
  }

  Engine& engine_;
  RopeTables& rope_;
  const WeightTable& weights_;
  const TokenBatch& batch_;
  const DType dtype_;
  const int64_t item_;
  ValueTable& values_;
  const Backend::InputQuantization* quantization_;
};

}  // namespace

std::shared_ptr<const RopeTables::Table> RopeTables::find(const RopeSpec& spec, int64_t length) {
  const bool own_length = spec.kind == RopeKind::dynamic;  // its frequencies depend on the length
  const std::lock_guard lock(mutex_);
  for (const auto& table : tables_)
    if (table->spec == spec && (own_length ? table->length == length : table->length >= length)) return table;
  const RopeFrequencies frequencies = rope_frequencies(spec, length);
  auto table = std::make_shared<Table>();
  table->spec = spec;
  table->length = length;
  for (int64_t p = 0; p < length; ++p)
    for (const float inverse : frequencies.inverse) {
      const float angle = static_cast<float>(p) * inverse;
      table->cosine.push_back(static_cast<float>(std::cos(static_cast<double>(angle))) * frequencies.attention_factor);
      table->sine.push_back(static_cast<float>(std::sin(static_cast<double>(angle))) * frequencies.attention_factor);
    }
  if (tables_.size() == kTableKeep) tables_.erase(tables_.begin());
  tables_.push_back(table);
  return table;
}

void execute_nodes(Engine& engine, RopeTables& rope, std::span<const Node> segment, const WeightTable& weights, const TokenBatch& batch, const ForwardOptions& options, ValueTable& values,
                   const Backend::InputQuantization* input_quantization) {
  Forward forward(engine, rope, weights, batch, options, values, input_quantization);
  for (const Node& node : segment) forward.run(node);
}

}  // namespace llmc::cpu
