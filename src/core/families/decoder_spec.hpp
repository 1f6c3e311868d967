// A decoder-only model family as data: what its config.json says, in terms the one generic builder
// understands.
#pragma once
#include <cstdint>
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
};

// Reads config.json with errors that name the key: "config.json: 'hidden_size' is missing".
class ConfigReader {
 public:
  explicit ConfigReader(const JsonValue& config) : config_(config) {}
  bool has(const char* key) const;
  int64_t integer(const char* key) const;  // required, 1 .. 2^31
  int64_t integer_or(const char* key, int64_t otherwise) const;
  double number_or(const char* key, double otherwise) const;
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

// Throws Error(unsupported) naming the families when the architecture is none of them.
Graph build_graph(const std::string& config_json);
Graph build_decoder(const DecoderSpec& spec);

RopeSpec rope_from_config(const ConfigReader& config, int64_t head_dim);

DecoderSpec llama_spec(const ConfigReader&);
DecoderSpec mistral_spec(const ConfigReader&);
DecoderSpec qwen2_spec(const ConfigReader&);
DecoderSpec qwen3_spec(const ConfigReader&);

}  // namespace llmc
