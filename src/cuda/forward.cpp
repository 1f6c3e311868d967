#include "cuda/forward.hpp"

#include <algorithm>

#include "cuda/kernels.hpp"
#include "llmc/error.hpp"

namespace llmc::cuda {
namespace {

[[noreturn]] void fail(const Node& node, const std::string& text) {
  throw Error(ErrorCode::internal, "cuda: node '" + node.name + "': " + text);
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
          const ActivationRounding* rounding,
          const ValueLifetimes* lifetimes)
      : engine_(engine),
        rope_(rope),
        weights_(weights),
        batch_(batch),
        dtype_(options.value_dtype),
        values_(values),
        rounding_(rounding),
        lifetimes_(lifetimes) {
    if (dtype_ != DType::f32 && dtype_ != DType::bf16)
      throw Error(ErrorCode::unsupported,
                  "cuda: values of dtype " + std::string(dtype_name(dtype_)) + ", wanted F32 or BF16");
  }

  void run(std::span<const Node> nodes) {
    for (size_t at = 0; at < nodes.size();) {
      const Node& node = nodes[at];
      const Node* const next = at + 1 < nodes.size() ? &nodes[at + 1] : nullptr;
      const auto* activation = std::get_if<Activation>(&node.operation);
      size_t count = 1;
      if (activation && next && std::holds_alternative<Multiply>(next->operation) &&
          is_read_by(*next, node.output) && dies_at(at + 1, node.output)) {
        starting(*next);
        activate_and_multiply(node, *activation, *next);
        count = 2;
      } else if (std::holds_alternative<Add>(node.operation) && next && next->norm() &&
                 next->inputs[0] == node.output && next->norm()->width == columns_of(node)) {
        starting(node);
        starting(*next);
        add_and_norm(node, *next, *next->norm());
        count = 2;
      } else {
        starting(node);
        std::visit([&](const auto& operation) { apply(node, operation); }, node.operation);
      }
      for (size_t i = at; lifetimes_ && i < at + count; ++i) lifetimes_->finished(i);
      at += count;
    }
  }

 private:
  void starting(const Node& node) {
    if (lifetimes_) lifetimes_->starting(node);
  }
  bool dies_at(size_t node, ValueId value) const {
    if (!lifetimes_ || node >= lifetimes_->last_uses.size()) return false;
    const auto& dying = lifetimes_->last_uses[node];
    return std::find(dying.begin(), dying.end(), value) != dying.end();
  }
  static bool is_read_by(const Node& node, ValueId value) {
    return node.inputs.size() == 2 && node.inputs[0] != node.inputs[1] &&
        (node.inputs[0] == value || node.inputs[1] == value);
  }
  int64_t columns_of(const Node& node) { return input(node, 0).columns(); }

  void apply(const Node& node, const Embedding& embedding) {
    for (size_t i = 0; i < batch_.token_ids.size(); ++i)
      if (batch_.token_ids[i] < 0 || batch_.token_ids[i] >= embedding.vocabulary)
        throw Error(ErrorCode::invalid_argument,
                    "token id " + std::to_string(batch_.token_ids[i]) + " at position " + std::to_string(i) +
                        " is outside the vocabulary of " + std::to_string(embedding.vocabulary));
    Tensor holder;
    const Tensor& table = weight(node, node.weight(WeightRole::weight)->name,
                                 {embedding.vocabulary, embedding.width}, holder);
    const Tensor ids = engine_.heap.upload(batch_.token_ids, DType::i32);
    gather_embeddings(table.data(), table.dtype(), ids.as<int32_t>(), batch_.tokens(), embedding.width,
                      output(node, embedding.width).data(), dtype_, engine_.stream);
  }

  void apply(const Node& node, const Norm& norm) { normalize(node, norm, input(node, 0), nullptr, nullptr); }

  void add_and_norm(const Node& add, const Node& node, const Norm& norm) {
    const Tensor &x = input(add, 0), &y = input(add, 1);
    if (x.columns() != y.columns())
      fail(add,
           "inputs of " + std::to_string(x.columns()) + " and " + std::to_string(y.columns()) + " channels");
    Tensor& total = output(add, x.columns());
    normalize(node, norm, x, &y, &total);
  }

  void normalize(const Node& node, const Norm& norm, const Tensor& x, const Tensor* residual, Tensor* total) {
    if (norm.width <= 0 || x.columns() % norm.width != 0)
      fail(node,
           "norm over " + std::to_string(norm.width) + " of " + std::to_string(x.columns()) + " channels");
    Tensor weight_holder, bias_holder;
    const Tensor& scale = weight(node, node.weight(WeightRole::weight)->name, {norm.width}, weight_holder);
    const bool biased = norm.kind == NormKind::layer && weights_.contains(node.name + ".bias");
    const float* const bias = biased
        ? weight(node, node.name + ".bias", {norm.width}, bias_holder).as<float>()
        : nullptr;
    Tensor& out = output(node, x.columns());
    norm_values(norm.kind, x.data(), residual ? residual->data() : nullptr, total ? total->data() : nullptr,
                dtype_, x.size() / norm.width, norm.width, static_cast<float>(norm.epsilon),
                scale.as<float>(), bias, out.data(), engine_.stream);
  }

  void apply(const Node& node, const Linear& linear) {
    Tensor rounded, weight_holder, bias_holder;
    const Tensor& x = rounded_as(node.name + ".input", input(node, 0), rounded);
    if (x.columns() != linear.in_features)
      fail(node,
           "input of " + std::to_string(x.columns()) + " channels, wanted " +
               std::to_string(linear.in_features));
    const Tensor& matrix = weight(node, node.weight(WeightRole::weight)->name,
                                  {linear.out_features, linear.in_features}, weight_holder);
    Tensor& out = output(node, linear.out_features);
    multiply(x, matrix, out);
    if (linear.bias)
      add_bias_to_rows(out.data(), dtype_,
                       weight(node, node.name + ".bias", {linear.out_features}, bias_holder).as<float>(),
                       out.rows(), linear.out_features, engine_.stream);
    if (const ActivationQuantization* how = rounding_of(node.name + ".output")) round(*how, out, out);
  }

  // out = x matrix^T. Tensor cores take bf16 by bf16; anything else is multiplied in float32.
  void multiply(const Tensor& x, const Tensor& matrix, Tensor& out) {
    Product product;
    product.rows = x.rows();
    product.columns = matrix.rows();
    product.depth = product.a_stride = product.b_stride = x.columns();
    product.c_stride = matrix.rows();
    product.result_dtype = out.dtype();
    if (x.dtype() == DType::bf16 && matrix.dtype() == DType::bf16) {
      product.operand_dtype = DType::bf16;
      product.a = x.data();
      product.b = matrix.data();
      product.c = out.data();
      engine_.products.multiply(product);
      return;
    }
    Tensor left, right, wide;
    product.operand_dtype = product.result_dtype = DType::f32;
    product.a = widened(x, left).data();
    product.b = widened(matrix, right).data();
    if (out.dtype() != DType::f32) wide = engine_.heap.tensor(DType::f32, out.shape());
    product.c = wide.empty() ? out.data() : wide.data();
    engine_.products.multiply(product);
    if (!wide.empty()) convert(wide.data(), DType::f32, out.data(), out.dtype(), out.size(), engine_.stream);
  }

  const Tensor& widened(const Tensor& x, Tensor& holder) {
    if (x.dtype() == DType::f32) return x;
    holder = engine_.heap.tensor(DType::f32, x.shape());
    convert(x.data(), x.dtype(), holder.data(), DType::f32, x.size(), engine_.stream);
    return holder;
  }

  void apply(const Node& node, const Rope& rope) {
    const Tensor& x = input(node, 0);
    if (x.columns() != rope.heads * rope.head_dim)
      fail(node,
           "input of " + std::to_string(x.columns()) + " channels, wanted " +
               std::to_string(rope.heads * rope.head_dim));
    if (rope.spec.rotary_dim < 0 || rope.spec.rotary_dim > rope.head_dim || rope.spec.rotary_dim % 2)
      fail(node,
           "rotates " + std::to_string(rope.spec.rotary_dim) +
               " channels, wanted an even number of at most " + std::to_string(rope.head_dim));
    const int64_t half = rope.spec.rotary_dim / 2;
    // The tables of all sequences, one after another, each only once.
    std::vector<float> cosine, sine;
    std::vector<int32_t> row_of;
    const RopeTables::Table* last = nullptr;
    int64_t first_row = 0;
    const auto tables = rope_.of_sequences(rope.spec, batch_.sequence_starts);
    for (size_t s = 0; s < tables.size(); ++s) {
      if (tables[s].get() != last) {
        last = tables[s].get();
        first_row = static_cast<int64_t>(cosine.size()) / std::max<int64_t>(half, 1);
        cosine.insert(cosine.end(), last->cosine.begin(), last->cosine.end());
        sine.insert(sine.end(), last->sine.begin(), last->sine.end());
      }
      for (int64_t t = batch_.sequence_starts[s]; t < batch_.sequence_starts[s + 1]; ++t)
        row_of.push_back(static_cast<int32_t>(first_row + t - batch_.sequence_starts[s]));
    }
    const Tensor cosines = engine_.heap.upload(cosine, DType::f32),
                 sines = engine_.heap.upload(sine, DType::f32),
                 rows = engine_.heap.upload(row_of, DType::i32);
    rotate_values(x.data(), dtype_, cosines.as<float>(), sines.as<float>(), rows.as<int32_t>(),
                  batch_.tokens(), rope.heads, rope.head_dim, half, output(node, x.columns()).data(),
                  engine_.stream);
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
    if (attention.head_dim > attention_most_channels())
      throw Error(ErrorCode::unsupported,
                  "cuda: attention heads of " + std::to_string(attention.head_dim) +
                      " channels; there is a kernel for at most " +
                      std::to_string(attention_most_channels()));
    std::vector<AttentionTile> tiles;
    for (size_t s = 0; s + 1 < batch_.sequence_starts.size(); ++s)
      for (int64_t query = batch_.sequence_starts[s]; query < batch_.sequence_starts[s + 1];
           query += attention_queries_per_tile())
        tiles.push_back({query, batch_.sequence_starts[s], batch_.sequence_starts[s + 1]});
    const Tensor tile_table = engine_.heap.upload(tiles, DType::u8);
    AttentionProblem problem;
    problem.queries = q.data();
    problem.keys = k.data();
    problem.values = v.data();
    problem.out = output(node, width).data();
    problem.tiles = tile_table.as<AttentionTile>();
    problem.tile_count = static_cast<int64_t>(tiles.size());
    problem.heads = static_cast<int>(attention.heads);
    problem.kv_heads = static_cast<int>(attention.kv_heads);
    problem.head_dim = static_cast<int>(attention.head_dim);
    problem.scale = static_cast<float>(attention.scale);
    // a window as wide as all tokens masks nothing
    problem.window = attention.sliding_window < batch_.tokens()
        ? std::max<int64_t>(0, attention.sliding_window)
        : 0;
    attend(problem, dtype_, engine_.stream);
  }

  void apply(const Node& node, const Activation& activation) {
    const Tensor& x = input(node, 0);
    activate_values(activation.kind, x.data(), dtype_, x.size(), output(node, x.columns()).data(),
                    engine_.stream);
  }

  void activate_and_multiply(const Node& activated, const Activation& activation, const Node& node) {
    const Tensor& x = input(activated, 0);
    const Tensor& y = input(node, node.inputs[0] == activated.output ? 1 : 0);
    if (x.columns() != y.columns())
      fail(node,
           "inputs of " + std::to_string(x.columns()) + " and " + std::to_string(y.columns()) + " channels");
    cuda::activate_and_multiply(activation.kind, x.data(), y.data(), dtype_, x.size(),
                                output(node, x.columns()).data(), engine_.stream);
  }

  void apply(const Node& node, const Multiply&) { combine(node, multiply_values); }
  void apply(const Node& node, const Add&) { combine(node, add_values); }

  void apply(const Node& node, const Slice& slice) {
    const Tensor& x = input(node, 0);
    if (slice.first < 0 || slice.width < 1 || slice.first > x.columns() - slice.width)
      fail(node,
           "channels [" + std::to_string(slice.first) + ", " + std::to_string(slice.first + slice.width) +
               ") of " + std::to_string(x.columns()));
    slice_channels(x.data(), dtype_, x.rows(), x.columns(), slice.first, slice.width,
                   output(node, slice.width).data(), engine_.stream);
  }

  void combine(const Node& node,
               void (*kernel)(const void*, const void*, DType, int64_t, void*, cudaStream_t)) {
    const Tensor &x = input(node, 0), &y = input(node, 1);
    if (x.columns() != y.columns())
      fail(node,
           "inputs of " + std::to_string(x.columns()) + " and " + std::to_string(y.columns()) + " channels");
    kernel(x.data(), y.data(), dtype_, x.size(), output(node, x.columns()).data(), engine_.stream);
  }

  // ---- values and weights

  const ActivationQuantization* rounding_of(const std::string& name) const {
    if (!rounding_) return nullptr;
    const auto found = rounding_->find(name);
    return found == rounding_->end() ? nullptr : &found->second;
  }

  void round(const ActivationQuantization& how, const Tensor& x, Tensor& out) {
    const int64_t heads = std::max<int64_t>(1, static_cast<int64_t>(how.fixed_scales.size())),
                  width = x.columns(), group = how.group_size > 0 ? how.group_size : width / heads;
    if (group <= 0 || width % group != 0 || (heads > 1 && width / group != heads))
      throw Error(ErrorCode::invalid_argument,
                  "cuda: activations in groups of " + std::to_string(group) +
                      " channels does not divide a width of " + std::to_string(width));
    std::vector<ActivationScale> fixed;
    for (size_t i = 0; i < how.fixed_scales.size(); ++i)
      fixed.push_back({how.fixed_scales[i],
                       how.fixed_zero_points.empty() ? 0.0f : static_cast<float>(how.fixed_zero_points[i])});
    const Tensor scales = fixed.empty() ? Tensor() : engine_.heap.upload(fixed, DType::u8);
    round_activations(x.data(), dtype_, x.size() / group, group, ActivationGrid(how, dtype_),
                      fixed.empty() ? nullptr : scales.as<ActivationScale>(), heads, out.data(),
                      engine_.stream);
  }

  const Tensor& rounded_as(const std::string& name, const Tensor& x, Tensor& holder) {
    const ActivationQuantization* how = rounding_of(name);
    if (!how) return x;
    holder = engine_.heap.tensor(dtype_, x.shape());
    round(*how, x, holder);
    return holder;
  }

  // The value on the device; one that lies on the host is copied there first.
  const Tensor& input(const Node& node, size_t index) {
    if (index >= node.inputs.size())
      fail(
          node,
          "has " + std::to_string(node.inputs.size()) + " inputs, wanted more than " + std::to_string(index));
    const ValueId id = node.inputs[index];
    if (id < 0 || static_cast<size_t>(id) >= values_.size() || values_[static_cast<size_t>(id)].empty())
      fail(node, "input value " + std::to_string(id) + " is not alive");
    Tensor& value = values_[static_cast<size_t>(id)];
    if (value.dtype() != dtype_ || value.rows() != batch_.tokens())
      fail(node,
           "input value " + std::to_string(id) + " is " + std::string(dtype_name(value.dtype())) + " " +
               to_string(value.shape()) + ", wanted " + std::string(dtype_name(dtype_)) + " of " +
               std::to_string(batch_.tokens()) + " tokens");
    if (value.device() != engine_.heap.device()) value = engine_.heap.upload(value);
    return value;
  }

  Tensor& output(const Node& node, int64_t width) {
    if (node.output < 0 || static_cast<size_t>(node.output) >= values_.size())
      fail(node,
           "output value " + std::to_string(node.output) + " is outside the table of " +
               std::to_string(values_.size()));
    Tensor& value = values_[static_cast<size_t>(node.output)];
    const Shape shape{batch_.tokens(), width};
    if (value.empty() || value.dtype() != dtype_ || value.shape() != shape ||
        value.device() != engine_.heap.device())
      value = engine_.heap.tensor(dtype_, shape);
    return value;
  }

  // The weight in the form of stage_weights(); converted now, into `holder`, when it was not staged.
  const Tensor& weight(const Node& node, const std::string& name, const Shape& shape, Tensor& holder) {
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
    if (tensor.device() == engine_.heap.device()) return tensor;
    return holder = staged_weight(engine_, tensor);
  }

  Engine& engine_;
  RopeTables& rope_;
  const WeightTable& weights_;
  const TokenBatch& batch_;
  const DType dtype_;
  ValueTable& values_;
  const ActivationRounding* rounding_;
  const ValueLifetimes* lifetimes_;
};

}  // namespace

Tensor staged_weight(Engine& engine, const TensorView& host) {
  Tensor raw = engine.heap.upload(host);
  if (host.shape.size() != 1 || host.dtype == DType::f32) return raw;
  Tensor wide = engine.heap.tensor(DType::f32, host.shape);
  convert(raw.data(), raw.dtype(), wide.data(), DType::f32, raw.size(), engine.stream);
  return wide;
}

void execute_nodes(Engine& engine,
                   RopeTables& rope,
                   std::span<const Node> segment,
                   const Execution& execution) {
  Forward(engine, rope, execution.weights, execution.batch, execution.options, execution.values,
          execution.rounding, execution.lifetimes)
      .run(segment);
}

}  // namespace llmc::cuda
