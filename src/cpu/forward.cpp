#include "cpu/forward.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/attention.hpp"
#include "cpu/activation_rounding.hpp"
#include "llmc/error.hpp"

namespace llmc::cpu {
namespace {

constexpr int64_t kRowGrain = 64;  // tokens of one task

[[noreturn]] void fail(const Node& node, const std::string& text) {
  throw Error(ErrorCode::internal, "cpu: node '" + node.name + "': " + text);
}

// Runs one segment. One method per kind of node; each reads its inputs and fills the output value.
class Forward {
 public:
  Forward(Engine& engine,
          RopeTables& rope,
          const WeightTable& weights,
          const TokenBatch& batch,
          const ForwardOptions& options,
          ValueTable& values,
          const ActivationRounding* rounding)
      : engine_(engine),
        rope_(rope),
        weights_(weights),
        batch_(batch),
        dtype_(options.value_dtype),
        item_(static_cast<int64_t>(item_size(dtype_))),
        values_(values),
        rounding_(rounding) {
    if (dtype_ != DType::f32 && dtype_ != DType::bf16)
      throw Error(ErrorCode::unsupported,
                  "cpu: values of dtype " + std::string(dtype_name(dtype_)) + ", wanted F32 or BF16");
  }

  void run(std::span<const Node> nodes, const ValueLifetimes* lifetimes) {
    for (size_t at = 0; at < nodes.size();) {
      const auto linears = linears_of_one_input(nodes.subspan(at));
      const size_t count = std::max<size_t>(1, linears.size());
      for (size_t i = at; lifetimes && i < at + count; ++i) lifetimes->starting(nodes[i]);
      if (linears.empty())
        std::visit([&](const auto& operation) { apply(nodes[at], operation); }, nodes[at].operation);
      else apply(linears);
      for (size_t i = at; lifetimes && i < at + count; ++i) lifetimes->finished(i);
      at += count;
    }
  }

 private:
  // A value seen as rows, one per token.
  template <class Byte>
  struct Rows {
    Byte* data;
    int64_t bytes;  // of one row
    Byte* operator[](int64_t t) const { return data + t * bytes; }
  };
  Rows<const std::byte> rows_of(const Tensor& tensor) const {
    return {tensor.data(), tensor.columns() * item_};
  }
  Rows<std::byte> rows_of(Tensor& tensor) const { return {tensor.data(), tensor.columns() * item_}; }

  // The Linears at the front that read the same value: one product. Empty when the front is no Linear.
  std::span<const Node> linears_of_one_input(std::span<const Node> nodes) const {
    size_t count = 0;
    while (count < nodes.size() && nodes[count].linear() && nodes[count].inputs == nodes[0].inputs &&
           (count == 0 || !rounding_))
      ++count;
    return nodes.first(count);
  }

  void apply(const Node& node, const Embedding& embedding) {
    const Tensor& table = weight(node, node.weight(WeightRole::weight)->name,
                                 {embedding.vocabulary, embedding.width});
    const int64_t width = embedding.width, source_item = static_cast<int64_t>(item_size(table.dtype()));
    for (size_t i = 0; i < batch_.token_ids.size(); ++i)
      if (batch_.token_ids[i] < 0 || batch_.token_ids[i] >= embedding.vocabulary)
        throw Error(ErrorCode::invalid_argument,
                    "token id " + std::to_string(batch_.token_ids[i]) + " at position " + std::to_string(i) +
                        " is outside the vocabulary of " + std::to_string(embedding.vocabulary));
    const auto out = rows_of(output(node, width));
    engine_.pool.parallel_for(batch_.tokens(), kRowGrain, [&](int64_t begin, int64_t end) {
      std::vector<float> row(static_cast<size_t>(width));
      for (int64_t t = begin; t < end; ++t) {
        const std::byte* from = table.data() + batch_.token_ids[static_cast<size_t>(t)] * width * source_item;
        if (table.dtype() == dtype_) {
          std::memcpy(out[t], from, static_cast<size_t>(width * item_));
        } else {
          engine_.elements.load_row(from, table.dtype(), width, row.data());
          engine_.elements.store_row(row.data(), nullptr, width, dtype_, out[t]);
        }
      }
    });
  }

  void apply(const Node& node, const Norm& norm) {
    const Tensor& x = input(node, 0);
    if (norm.width <= 0 || x.columns() % norm.width != 0)
      fail(node,
           "norm over " + std::to_string(norm.width) + " of " + std::to_string(x.columns()) + " channels");
    std::vector<float> scale = floats(weight(node, node.weight(WeightRole::weight)->name, {norm.width}));
    if (norm.kind == NormKind::rms_plus_one)
      for (float& value : scale) value += 1.0f;
    std::vector<float> bias;
    if (const auto found = weights_.find(node.name + ".bias");
        norm.kind == NormKind::layer && found != weights_.end())
      bias = floats(found->second);
    const int64_t groups = x.columns() / norm.width;
    const auto from = rows_of(x);
    const auto to = rows_of(output(node, x.columns()));
    engine_.pool.parallel_for(batch_.tokens(), kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        for (int64_t g = 0; g < groups; ++g) {
          const int64_t offset = g * norm.width * item_;
          engine_.elements.norm_row(norm.kind, from[t] + offset, dtype_, norm.width,
                                    static_cast<float>(norm.epsilon), scale.data(),
                                    bias.empty() ? nullptr : bias.data(), to[t] + offset);
        }
    });
  }

  void apply(const Node& node, const Linear&) { apply(std::span(&node, 1)); }

  void apply(std::span<const Node> linears) {
    Tensor rounded;
    const Tensor& x = rounded_as(linears[0].name + ".input", input(linears[0], 0), rounded);
    const Operand a = operand_of(x);
    std::vector<std::vector<float>> biases(linears.size());
    std::vector<Product> products;
    for (size_t i = 0; i < linears.size(); ++i) {
      const Node& node = linears[i];
      const Linear& linear = *node.linear();
      if (x.columns() != linear.in_features)
        fail(node,
             "input of " + std::to_string(x.columns()) + " channels, wanted " +
                 std::to_string(linear.in_features));
      const Tensor& matrix = weight(node, node.weight(WeightRole::weight)->name,
                                    {linear.out_features, linear.in_features});
      if (linear.bias) biases[i] = floats(weight(node, node.name + ".bias", {linear.out_features}));
      products.push_back({operand_of(matrix),
                          linear.bias ? biases[i].data() : nullptr,
                          {output(node, linear.out_features).data(), dtype_, linear.out_features}});
    }
    gemm(engine_, a, products);
    for (const Node& node : linears)
      if (const ActivationQuantization* how = rounding_of(node.name + ".output")) {
        Tensor& out = values_[static_cast<size_t>(node.output)];
        round_activation(engine_, *how, out.data(), dtype_, out.rows(), out.columns(), out.data());
      }
  }

  void apply(const Node& node, const Rope& rope) {
    const Tensor& x = input(node, 0);
    if (x.columns() != rope.heads * rope.head_dim)
      fail(node,
           "input of " + std::to_string(x.columns()) + " channels, wanted " +
               std::to_string(rope.heads * rope.head_dim));
    const auto from_rows = rows_of(x);
    const auto to_rows = rows_of(output(node, x.columns()));
    if (rope.spec.rotary_dim < 0 || rope.spec.rotary_dim > rope.head_dim || rope.spec.rotary_dim % 2)
      fail(node,
           "rotates " + std::to_string(rope.spec.rotary_dim) +
               " channels, wanted an even number of at most " + std::to_string(rope.head_dim));
    const int64_t half = rope.spec.rotary_dim / 2, kept = rope.head_dim - 2 * half;
    const std::vector<int64_t>& starts = batch_.sequence_starts;
    const auto tables = rope_.of_sequences(rope.spec, starts);  // [sequences]
    engine_.pool.parallel_for(batch_.tokens(), kRowGrain, [&](int64_t begin, int64_t end) {
      auto s = static_cast<size_t>(std::upper_bound(starts.begin(), starts.end(), begin) - starts.begin()) -
          1;
      for (int64_t t = begin; t < end; ++t) {
        while (t >= starts[s + 1]) ++s;
        const int64_t at = (t - starts[s]) * half;
        for (int64_t h = 0; h < rope.heads; ++h) {
          const std::byte* from = from_rows[t] + h * rope.head_dim * item_;
          std::byte* to = to_rows[t] + h * rope.head_dim * item_;
          engine_.elements.rotate_row(from, dtype_, half, tables[s]->cosine.data() + at,
                                      tables[s]->sine.data() + at, to);
          if (kept > 0)
            std::memcpy(to + 2 * half * item_, from + 2 * half * item_, static_cast<size_t>(kept * item_));
        }
      }
    });
  }

  void apply(const Node& node, const Attention& attention) {
    Tensor rounded[3];
    const Tensor& q = rounded_as(attention.module + ".q", input(node, 0), rounded[0]);
    const Tensor& k = rounded_as(attention.module + ".k", input(node, 1), rounded[1]);
    const Tensor& v = rounded_as(attention.module + ".v", input(node, 2), rounded[2]);
    const int64_t width = attention.heads * attention.head_dim,
                  kv_width = attention.kv_heads * attention.head_dim;
    if (attention.kv_heads <= 0 || attention.heads % attention.kv_heads != 0 || q.columns() != width ||
        k.columns() != kv_width || v.columns() != kv_width)
      fail(node,
           "queries of " + std::to_string(q.columns()) + " and keys of " + std::to_string(k.columns()) +
               " channels, wanted " + std::to_string(width) + " and " + std::to_string(kv_width));
    Tensor& out = output(node, width);
    attend(engine_, attention, dtype_, q.data(), k.data(), v.data(), batch_.sequence_starts, out.data());
  }

  void apply(const Node& node, const Activation& activation) {
    const Tensor& x = input(node, 0);
    const auto from = rows_of(x);
    const auto to = rows_of(output(node, x.columns()));
    each_element(x.columns(), [&](int64_t t, int64_t count) {
      engine_.elements.activate(activation.kind, from[t], dtype_, count, to[t]);
    });
  }

  void apply(const Node& node, const Multiply&) { combine(node, engine_.elements.multiply); }
  void apply(const Node& node, const Add&) { combine(node, engine_.elements.add); }

  void apply(const Node& node, const Slice& slice) {
    const Tensor& x = input(node, 0);
    if (slice.first < 0 || slice.width < 1 || slice.first > x.columns() - slice.width)
      fail(node,
           "channels [" + std::to_string(slice.first) + ", " + std::to_string(slice.first + slice.width) +
               ") of " + std::to_string(x.columns()));
    const auto from = rows_of(x);
    const auto to = rows_of(output(node, slice.width));
    engine_.pool.parallel_for(batch_.tokens(), kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        std::memcpy(to[t], from[t] + slice.first * item_, static_cast<size_t>(slice.width * item_));
    });
  }

  void combine(const Node& node, void (*kernel)(const void*, const void*, DType, int64_t, void*)) {
    const Tensor &x = input(node, 0), &y = input(node, 1);
    if (x.columns() != y.columns())
      fail(node,
           "inputs of " + std::to_string(x.columns()) + " and " + std::to_string(y.columns()) + " channels");
    const auto left = rows_of(x), right = rows_of(y);
    const auto to = rows_of(output(node, x.columns()));
    each_element(x.columns(),
                 [&](int64_t t, int64_t count) { kernel(left[t], right[t], dtype_, count, to[t]); });
  }

  // body(t, count): `count` elements from token t on; whole rows.
  template <class Body>
  void each_element(int64_t width, const Body& body) {
    engine_.pool.parallel_for(batch_.tokens(), kRowGrain,
                              [&](int64_t begin, int64_t end) { body(begin, (end - begin) * width); });
  }

  // ---- values and weights

  const ActivationQuantization* rounding_of(const std::string& name) const {
    const auto found = rounding_ ? rounding_->find(name) : ActivationRounding::const_iterator{};
    return rounding_ && found != rounding_->end() ? &found->second : nullptr;
  }

  // `x`, or its rounded copy in `holder`.
  const Tensor& rounded_as(const std::string& name, const Tensor& x, Tensor& holder) const {
    const ActivationQuantization* how = rounding_of(name);
    if (!how) return x;
    holder = Tensor(dtype_, x.shape());
    round_activation(engine_, *how, x.data(), dtype_, x.rows(), x.columns(), holder.data());
    return holder;
  }

  const Tensor& input(const Node& node, size_t index) const {
    if (index >= node.inputs.size())
      fail(
          node,
          "has " + std::to_string(node.inputs.size()) + " inputs, wanted more than " + std::to_string(index));
    const ValueId id = node.inputs[index];
    if (id < 0 || static_cast<size_t>(id) >= values_.size() || values_[static_cast<size_t>(id)].empty())
      fail(node, "input value " + std::to_string(id) + " is not alive");
    const Tensor& value = values_[static_cast<size_t>(id)];
    if (value.dtype() != dtype_ || value.rows() != batch_.tokens())
      fail(node,
           "input value " + std::to_string(id) + " is " + std::string(dtype_name(value.dtype())) + " " +
               to_string(value.shape()) + ", wanted " + std::string(dtype_name(dtype_)) + " of " +
               std::to_string(batch_.tokens()) + " tokens");
    return value;
  }

  Tensor& output(const Node& node, int64_t width) {
    if (node.output < 0 || static_cast<size_t>(node.output) >= values_.size())
      fail(node,
           "output value " + std::to_string(node.output) + " is outside the table of " +
               std::to_string(values_.size()));
    Tensor& value = values_[static_cast<size_t>(node.output)];
    const Shape shape{batch_.tokens(), width};
    if (value.empty() || value.dtype() != dtype_ || value.shape() != shape) value = Tensor(dtype_, shape);
    return value;
  }

  const Tensor& weight(const Node& node, const std::string& name, const Shape& shape) const {
    const auto found = weights_.find(name);
    if (found == weights_.end()) fail(node, "weight '" + name + "' is missing");
    const Tensor& tensor = found->second;
    if (tensor.shape() != shape)
      fail(node,
           "weight '" + name + "' has shape " + to_string(tensor.shape()) + ", wanted " + to_string(shape));
    if (tensor.dtype() != DType::f32 && tensor.dtype() != DType::bf16 && tensor.dtype() != DType::f16)
      fail(node,
           "weight '" + name + "' is " + std::string(dtype_name(tensor.dtype())) +
               ", wanted F32, BF16 or F16");
    return tensor;
  }

  std::vector<float> floats(const Tensor& tensor) const {
    std::vector<float> result(static_cast<size_t>(tensor.size()));
    engine_.elements.load_row(tensor.data(), tensor.dtype(), tensor.size(), result.data());
    return result;
  }

  static Operand operand_of(const Tensor& tensor) {
    Operand operand;
    operand.data = tensor.data();
    operand.dtype = tensor.dtype();
    operand.rows = tensor.rows();
    operand.depth = operand.row_stride = tensor.columns();
    return operand;
  }

  Engine& engine_;
  RopeTables& rope_;
  const WeightTable& weights_;
  const TokenBatch& batch_;
  const DType dtype_;
  const int64_t item_;
  ValueTable& values_;
  const ActivationRounding* rounding_;
};

}  // namespace

void execute_nodes(Engine& engine,
                   RopeTables& rope,
                   std::span<const Node> segment,
                   const Execution& execution) {
  Forward(engine, rope, execution.weights, execution.batch, execution.options, execution.values,
          execution.rounding)
      .run(segment, execution.lifetimes);
}

}  // namespace llmc::cpu
