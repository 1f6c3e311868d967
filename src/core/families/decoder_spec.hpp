// A decoder-only model family as data: what its config.json says, in terms the one generic builder
// understands.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json/json_value.hpp"
#include "llmc/graph.hpp"

namespace llmc {

struct DecoderSpec {
  std::string model_type;
  std::string class_prefix;  // of the transformers classes: "Llama" as in LlamaAttention
  DType dtype = DType::bf16;
  int64_t vocabulary = 0, hidden = 0, intermediate = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  NormKind norm = NormKind::rms;
  double norm_epsilon = 1e-6;
  ActivationKind activation = ActivationKind::silu;
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  bool query_key_norm = false;  // RMSNorm over each head of q and k, before rope
  RopeSpec rope;
  double attention_scale = 1.0;
  std::vector<int64_t> sliding_window;  // [layers]; 0 = full attention
  bool tied_embeddings = false;
  std::string prefix = "model.";  // of every module but the head; empty in folders of a headless model
  bool has_head = true;
};

struct IntegerRange {
  int64_t low, high;
};
struct NumberRange {
  double low, high;
};
inline constexpr IntegerRange kSizes{1, int64_t{1} << 31};      // of a dimension
inline constexpr IntegerRange kPositions{1, int64_t{1} << 40};  // of a context
inline constexpr NumberRange kFactors{1e-6, 1e9};               // what something is multiplied or divided by

// Reads config.json with errors that name the key: "config.json: 'hidden_size' is missing". A file of a stranger:
// no number comes out of it without a range.
class ConfigReader {
 public:
  explicit ConfigReader(const JsonValue& config) : config_(config) {}
  bool has(const char* key) const;                             // and it is not null
  int64_t integer(const char* key, IntegerRange range) const;  // required
  int64_t integer_or(const char* key, int64_t otherwise, IntegerRange range) const;
  double number_or(const char* key, double otherwise, NumberRange range) const;  // finite
  bool boolean_or(const char* key, bool otherwise) const;
  std::string text_or(const char* key, std::string otherwise) const;
  const JsonValue& json() const { return config_; }

 private:
  const JsonValue& config_;
};

// What nearly every family has: sizes, dtype, norm epsilon, activation, rope, tie. A family file starts from
// this and states its differences.
DecoderSpec common_decoder(const ConfigReader& config, std::string class_prefix);

struct Family {
  const char* model_type;
  const char* architecture;  // config.json's architectures[0]
  DecoderSpec (*spec)(const ConfigReader&);
};
std::span<const Family> families();
std::string family_names();  // "llama, mistral, qwen2, qwen3"

// Throws Error(unsupported) naming the families when the architecture is none of them. has_tensor: whether the
// folder holds a tensor, by which a headless model's names are told; empty: the names that transformers writes.
Graph build_graph(const std::string& config_json,
                  const std::function<bool(const std::string&)>& has_tensor = {});
Graph build_decoder(const DecoderSpec& spec);

RopeSpec rope_from_config(const ConfigReader& config, int64_t head_dim);
// What each layer attends to: layer_types where the config has it, else `slides` says. [layers], 0: everything.
std::vector<int64_t> windows_by_layer(const ConfigReader& config,
                                      int64_t layers,
                                      int64_t window,
                                      const std::function<bool(int64_t layer)>& slides);

DecoderSpec llama_spec(const ConfigReader&);
DecoderSpec mistral_spec(const ConfigReader&);
DecoderSpec qwen2_spec(const ConfigReader&);
DecoderSpec qwen3_spec(const ConfigReader&);

}  // namespace llmc
