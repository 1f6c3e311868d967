// DecoderSpec -> Graph: the one place that knows how a pre-norm decoder is wired and what its modules are
// called on disk.
#include <fmt/format.h>

#include "core/families/decoder_spec.hpp"

namespace llmc {

namespace {

class DecoderBuilder {
 public:
  explicit DecoderBuilder(const DecoderSpec& spec) : spec_(spec) {}

  Graph build() {
    graph_.dtype = spec_.dtype;
    graph_.vocabulary = spec_.vocabulary;
    graph_.tied_embeddings = spec_.has_head && spec_.tied_embeddings;
    graph_.has_head = spec_.has_head;
    graph_.notes = spec_.notes;
    graph_.model_type = spec_.model_type;
    ValueId hidden = embedding_block();
    for (int64_t layer = 0; layer < spec_.layers; ++layer) hidden = decoder_block(layer, hidden);
    head_block(hidden);
    return std::move(graph_);
  }

 private:
  ValueId value(std::string name, int64_t width) {
    graph_.values.push_back({std::move(name), width});
    return static_cast<ValueId>(graph_.values.size() - 1);
  }

  // Appends a node to the current block; a node with a name is also a module recipes can target.
  ValueId add(std::string name,
              Operation operation,
              std::vector<ValueId> inputs,
              int64_t width,
              const char* label,
              std::vector<NodeWeight> weights = {}) {
    const ValueId output = value(fmt::format("{}:{}", block_.name, label), width);
    block_.nodes.push_back(
        {std::move(name), std::move(operation), std::move(inputs), output, part_, std::move(weights)});
    return output;
  }
  // A tensor of the module's own.
  static NodeWeight own(WeightRole role, const std::string& module) {
    const std::string name = module + (role == WeightRole::bias ? ".bias" : ".weight");
    return {role, name, {name}};
  }
  ValueId linear(const std::string& name,
                 ValueId input,
                 int64_t in,
                 int64_t out,
                 bool bias,
                 const char* label) {
    std::vector<NodeWeight> weights{own(WeightRole::weight, name)};
    if (bias) weights.push_back(own(WeightRole::bias, name));
    return add(name, Linear{in, out, bias}, {input}, out, label, std::move(weights));
  }
  ValueId slice(ValueId input, int64_t first, int64_t width, const char* label) {
    return add("", Slice{first, width}, {input}, width, label);
  }
  void module(std::string name, std::string class_name) {
    graph_.modules.push_back({std::move(name), std::move(class_name)});
  }
  void modules(const std::string& prefix,
               std::initializer_list<const char*> names,
               const std::string& class_name) {
    for (const char* name : names) module(prefix + name, class_name);
  }

  void begin_block(std::string name, ValueId input) {
    block_ = Block{};
    block_.name = std::move(name);
    block_.input = input;
    part_ = Part::other;
  }
  ValueId end_block(ValueId output) {
    block_.output = output;
    graph_.blocks.push_back(std::move(block_));
    return output;
  }

  ValueId norm(const std::string& name, ValueId input, int64_t group, int64_t width, const char* label) {
    return add(name, Norm{spec_.norm, spec_.norm_epsilon, group}, {input}, width, label,
               {own(WeightRole::weight, name)});
  }
  std::string norm_class() const { return spec_.class_prefix + "RMSNorm"; }

  ValueId embedding_block() {
    begin_block(embedding_, -1);
    module(embedding_, "Embedding");
    return end_block(add(embedding_, Embedding{spec_.vocabulary, spec_.hidden}, {}, spec_.hidden, "hidden",
                         {own(WeightRole::weight, embedding_)}));
  }

  ValueId decoder_block(int64_t layer, ValueId input) {
    const std::string prefix = fmt::format("{}layers.{}", spec_.prefix, layer);
    begin_block(prefix, input);
    module(prefix, spec_.class_prefix + "DecoderLayer");
    const ValueId middle = attention(prefix, layer, input);
    const ValueId output = mlp(prefix, middle);
    modules(prefix, {".input_layernorm", ".post_attention_layernorm"}, norm_class());
    return end_block(output);
  }

  ValueId attention(const std::string& prefix, int64_t layer, ValueId input) {
    part_ = Part::attention;
    const std::string self = prefix + ".self_attn";
    const int64_t q_width = spec_.heads * spec_.head_dim, kv_width = spec_.kv_heads * spec_.head_dim;
    module(self, spec_.class_prefix + "Attention");
    const ValueId x = norm(prefix + ".input_layernorm", input, spec_.hidden, spec_.hidden, "attention_input");
    ValueId q, k, v;
    if (spec_.fused_modules) {
      modules(self, {".qkv_proj", ".o_proj"}, "Linear");
      const ValueId qkv = linear(self + ".qkv_proj", x, spec_.hidden, q_width + 2 * kv_width, spec_.qkv_bias,
                                 "qkv");
      q = slice(qkv, 0, q_width, "q");
      k = slice(qkv, q_width, kv_width, "k");
      v = slice(qkv, q_width + kv_width, kv_width, "v");
    } else {
      modules(self, {".q_proj", ".k_proj", ".v_proj", ".o_proj"}, "Linear");
      q = linear(self + ".q_proj", x, spec_.hidden, q_width, spec_.qkv_bias, "q");
      k = linear(self + ".k_proj", x, spec_.hidden, kv_width, spec_.qkv_bias, "k");
      v = linear(self + ".v_proj", x, spec_.hidden, kv_width, spec_.qkv_bias, "v");
    }
    if (spec_.query_key_norm) {
      modules(self, {".q_norm", ".k_norm"}, norm_class());
      q = norm(self + ".q_norm", q, spec_.head_dim, q_width, "q_normed");
      k = norm(self + ".k_norm", k, spec_.head_dim, kv_width, "k_normed");
    }
    q = add("", Rope{spec_.rope, spec_.heads, spec_.head_dim}, {q}, q_width, "q_rotated");
    k = add("", Rope{spec_.rope, spec_.kv_heads, spec_.head_dim}, {k}, kv_width, "k_rotated");
    const Attention attend{spec_.heads,
                           spec_.kv_heads,
                           spec_.head_dim,
                           spec_.attention_scale,
                           spec_.sliding_window[static_cast<size_t>(layer)],
                           self};
    const ValueId mixed = add("", attend, {q, k, v}, q_width, "mixed");
    const ValueId out = linear(self + ".o_proj", mixed, q_width, spec_.hidden, spec_.output_bias,
                               "attention_output");
    return add("", Add{}, {input, out}, spec_.hidden, "middle");
  }

  ValueId mlp(const std::string& prefix, ValueId input) {
    part_ = Part::mlp;
    const std::string self = prefix + ".mlp";
    module(self, spec_.class_prefix + "MLP");
    const ValueId x = norm(prefix + ".post_attention_layernorm", input, spec_.hidden, spec_.hidden,
                           "mlp_input");
    ValueId gate, up;
    if (spec_.fused_modules) {
      modules(self, {".gate_up_proj", ".down_proj"}, "Linear");
      const ValueId both = linear(self + ".gate_up_proj", x, spec_.hidden, 2 * spec_.intermediate,
                                  spec_.mlp_bias, "gate_up");
      gate = slice(both, 0, spec_.intermediate, "gate");
      up = slice(both, spec_.intermediate, spec_.intermediate, "up");
    } else {
      modules(self, {".gate_proj", ".up_proj", ".down_proj"}, "Linear");
      gate = linear(self + ".gate_proj", x, spec_.hidden, spec_.intermediate, spec_.mlp_bias, "gate");
      up = linear(self + ".up_proj", x, spec_.hidden, spec_.intermediate, spec_.mlp_bias, "up");
    }
    const ValueId active = add("", Activation{spec_.activation}, {gate}, spec_.intermediate, "gate_active");
    const ValueId product = add("", Multiply{}, {active, up}, spec_.intermediate, "mlp_product");
    const ValueId out = linear(self + ".down_proj", product, spec_.intermediate, spec_.hidden, spec_.mlp_bias,
                               "mlp_output");
    return add("", Add{}, {input, out}, spec_.hidden, "hidden");
  }

  // Without a head the model ends with its last norm.
  void head_block(ValueId input) {
    const std::string last_norm = spec_.prefix + "norm";
    begin_block(spec_.has_head ? "lm_head" : last_norm, input);
    module(last_norm, norm_class());
    for (const std::string& head : spec_.other_heads) module(head, "Head");
    const ValueId x = norm(last_norm, input, spec_.hidden, spec_.hidden, "final");
    if (!spec_.has_head) {
      end_block(x);
      return;
    }
    module("lm_head", "Linear");
    end_block(add("lm_head", Linear{spec_.hidden, spec_.vocabulary, false}, {x}, spec_.vocabulary, "logits",
                  {own(WeightRole::weight, spec_.tied_embeddings ? embedding_ : "lm_head")}));
  }

  const DecoderSpec& spec_;
  const std::string embedding_ = spec_.prefix + "embed_tokens";
  Graph graph_;
  Block block_;
  Part part_ = Part::other;
};

}  // namespace

Graph build_decoder(const DecoderSpec& spec) { return DecoderBuilder(spec).build(); }

}  // namespace llmc
