// A model as a list of blocks; a block as a list of nodes over named values, each written once.
// Everything special (shared Hessians, fused layers, smoothing pairs) is derived from this structure, not
// from names.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "llmc/tensor.hpp"

namespace llmc {

using ValueId = int32_t;  // index into Graph::values

// How position enters queries and keys. Source of the formulas: transformers/modeling_rope_utils.py.
enum class RopeKind { standard, linear, dynamic, yarn, llama3 };
struct RopeSpec {
  RopeKind kind = RopeKind::standard;
  double theta = 10000.0;
  // leading channels of each head that rotate (half-split pairs: i with i + rotary_dim / 2)
  int64_t rotary_dim = 0;
  double factor = 1.0;
  int64_t max_position = 0;                                           // of the model, for dynamic
  int64_t original_max_position = 0;                                  // before extension, for yarn and llama3
  double low_freq_factor = 1.0, high_freq_factor = 4.0;               // llama3
  double beta_fast = 32.0, beta_slow = 1.0;                           // yarn
  double attention_factor = 0.0, mscale = 0.0, mscale_all_dim = 0.0;  // yarn; 0 = derive
  // yarn: round the correction range to whole channels
  bool truncate = true;
  bool operator==(const RopeSpec&) const = default;
};
struct RopeFrequencies {
  std::vector<float> inverse;     // [rotary_dim / 2]
  float attention_factor = 1.0f;  // multiplies cos and sin
};
RopeFrequencies rope_frequencies(const RopeSpec& spec, int64_t sequence_length);

enum class NormKind { rms, rms_plus_one, layer };
enum class ActivationKind { silu, gelu, gelu_tanh, relu };

// ---- weights ----------------------------------------------------------------------------------------------

// Where a checkpoint keeps one matrix or vector: a whole tensor, or a part of one. A matrix is [out, in].
struct WeightRef {
  std::string tensor;
  int64_t index = -1;                // of a stack [count, ...]: which of its matrices; -1: no stack
  int64_t first_row = 0, rows = -1;  // of a fused one: its rows; -1: all
  bool transposed = false;           // it lies there as [in, out]; index and rows count in what it stands for

  bool is_whole() const { return index < 0 && first_row == 0 && rows < 0 && !transposed; }
  bool operator==(const WeightRef&) const = default;
};

enum class WeightRole { weight, bias };

// A weight that a node reads.
struct NodeWeight {
  WeightRole role = WeightRole::weight;
  std::string name;  // in a WeightTable: "<module>.weight"; of another module when it is tied to that one
  WeightRef source;
};

// ---- operations -------------------------------------------------------------------------------------------

// [vocabulary, width]; reads the batch's token ids, no input value
struct Embedding {
  int64_t vocabulary = 0, width = 0;
};
// over groups of `width` channels (a head's width for q/k norms)
struct Norm {
  NormKind kind = NormKind::rms;
  double epsilon = 1e-6;
  int64_t width = 0;
};
// [out, in]
struct Linear {
  int64_t in_features = 0, out_features = 0;
  bool bias = false;
};
struct Rope {
  RopeSpec spec;
  int64_t heads = 0, head_dim = 0;
};
struct Attention {  // inputs q, k, v; causal
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  double scale = 1.0;
  int64_t sliding_window = 0;  // 0 = no window
  std::string module = {};     // "model.layers.3.self_attn": whose keys, values and queries it reads
};
struct Activation {
  ActivationKind kind = ActivationKind::silu;
};
struct Multiply {};
struct Add {};
// `width` channels from `first` on: one part of what a fused Linear makes
struct Slice {
  int64_t first = 0, width = 0;
};

using Operation = std::variant<Embedding, Norm, Linear, Rope, Attention, Activation, Multiply, Add, Slice>;

enum class Part { other, attention, mlp };  // which half of a decoder layer a node belongs to

struct Node {
  std::string name;  // module path as in the checkpoint; empty when the node has no weights
  Operation operation;
  std::vector<ValueId> inputs;
  ValueId output = -1;
  Part part = Part::other;
  std::vector<NodeWeight> weights = {};

  const NodeWeight* weight(WeightRole role) const;  // null: it has none of this role
  const Linear* linear() const { return std::get_if<Linear>(&operation); }
  const Norm* norm() const { return std::get_if<Norm>(&operation); }
};

// What the operation wants of a weight of that role: [out, in], [vocabulary, width], [width], [out].
Shape weight_shape(const Node& node, WeightRole role);

struct Value {
  std::string name;   // for error messages and debugging
  int64_t width = 0;  // channels per token
};

struct Block {
  std::string name;  // "model.layers.3"
  std::vector<Node> nodes;
  ValueId input = -1, output = -1;  // input is -1 in the first block
};

struct Module {  // what a recipe's targets and ignore lists match against
  std::string name, class_name;
};

struct Graph {
  std::vector<Value> values;
  std::vector<Block> blocks;    // embedding, decoder layers, final norm and head
  std::vector<Module> modules;  // in the reference's named_modules() order
  DType dtype = DType::bf16;    // the model's dtype
  int64_t vocabulary = 0;
  bool tied_embeddings = false;  // lm_head reads embed_tokens' tensor
  std::string model_type;
  // Of the values between nodes. A float16 model is run in float32: its own range is too small for sums, and bfloat16
  // would lose three of its ten bits.
  DType value_dtype() const { return dtype == DType::bf16 ? DType::bf16 : DType::f32; }
  bool has_head = true;            // the last block ends in logits; otherwise in the final norm
  std::vector<std::string> notes;  // what of config.json the forward pass leaves out
};

// ---- derived structure ------------------------------------------------------------------------------------

// Linears of one block that read the same value, in execution order: one Hessian serves them all.
struct SharedInput {
  ValueId value = -1;
  std::vector<size_t> nodes;  // indices into block.nodes
};
std::vector<SharedInput> shared_inputs(const Block& block);

// Where a per-channel scale can move without changing the function: smooth / s, balance * s.
struct SmoothingPair {
  // What lies between the two: nothing; a product with another value; an attention whose values they are.
  enum class Through { nothing, multiply, attention };

  size_t smooth = 0;            // index of the Norm or Linear that makes the channels
  std::vector<size_t> balance;  // indices of the Linears that read them
  Through through = Through::nothing;
  ValueId value = -1;     // the channels as `smooth` makes them
  int64_t first_row = 0;  // of a Linear's weight: the row that makes the first of them
  // which channel each input channel of `balance` is scaled with; empty: its own. Query heads that share a
  // value head share its channels.
  std::vector<int32_t> channel_of = {};

  bool out_of_norm() const { return through == Through::nothing; }
};
// In execution order of what makes the channels. Norms and their readers belong to one part of the layer.
std::vector<SmoothingPair> smoothing_pairs(const Block& block);

// Linears that vLLM fuses into one layer: they read one value and their outputs meet in one Attention or one
// Multiply.
std::vector<std::vector<size_t>> fused_linears(const Block& block);

// For every node i: the values that no node after i reads and that are not the block's output.
std::vector<std::vector<ValueId>> last_uses(const Block& block);

}  // namespace llmc
