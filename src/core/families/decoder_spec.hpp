// A decoder-only model family as data: what its config.json says, in terms the one generic builder
// understands.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
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
  bool fused_modules = false;   // qkv_proj and gate_up_proj are one Linear each, rows q, k, v and gate, up
  bool query_key_norm = false;  // RMSNorm over each head of q and k, before rope
  RopeSpec rope;
  double attention_scale = 1.0;
  std::vector<int64_t> sliding_window;  // [layers]; 0 = full attention
  bool tied_embeddings = false;
  std::string prefix = "model.";         // of the decoder's tensors in the file
  bool has_head = true;                  // lm_head, or the tied embedding
  std::vector<std::string> other_heads;  // modules that read the last norm and stay as they are: "score"
  std::vector<std::string> notes;        // what a user should know about how config.json was read
};

struct IntegerRange {
  int64_t low, high;
};
struct NumberRange {  // of finite numbers
  double low, high;
};
inline constexpr IntegerRange kSizes{1, int64_t{1} << 31};      // of a dimension
inline constexpr IntegerRange kPositions{1, int64_t{1} << 40};  // of a context
inline constexpr NumberRange kFactors{1e-6, 1e9};               // what something is multiplied or divided by

// Reads config.json, a file that anybody may have written, with errors that name the key: "config.json:
// 'hidden_size' is missing". No number comes out of it without a range.
class ConfigReader {
 public:
  explicit ConfigReader(const JsonValue& config) : config_(config) {}
  bool has(const char* key) const;                             // null counts as absent
  int64_t integer(const char* key, IntegerRange range) const;  // required
  int64_t integer_or(const char* key, int64_t otherwise, IntegerRange range) const;
  double number(const char* key, NumberRange range) const;  // required
  double number_or(const char* key, double otherwise, NumberRange range) const;
  bool boolean_or(const char* key, bool otherwise) const;
  std::string text_or(const char* key, std::string otherwise) const;
  const JsonValue& json() const { return config_; }

 private:
  const JsonValue& config_;
};

// What a family's configuration class in transformers says for keys that config.json leaves out.
struct FamilyDefaults {
  int64_t kv_heads = 0;  // 0: as many as there are heads
  int64_t head_dim = 0;  // 0: hidden_size over the number of heads
  int64_t max_position = 2048;
  int64_t sliding_window = 0;  // 0: none
};

// What nearly every family has: sizes, dtype, norm epsilon, activation, rope, tie. A family file starts from
// this and states its differences.
DecoderSpec common_decoder(const ConfigReader& config,
                           std::string class_prefix,
                           const FamilyDefaults& defaults);
// Every layer slides, or those that 'layer_types' names. `defaults`: what counts when config.json has no
// 'sliding_window'.
void apply_sliding_window(const ConfigReader& config, const FamilyDefaults& defaults, DecoderSpec& spec);
// 'layer_types', one for each layer: whether it slides. Nothing when the key is absent.
std::optional<std::vector<bool>> sliding_layers(const ConfigReader& config, int64_t layers);

struct Family {
  const char* model_type;
  const char* class_prefix;  // "Llama" as in LlamaForCausalLM, LlamaModel
  DecoderSpec (*spec)(const ConfigReader&);
};
std::span<const Family> families();
std::string family_names();  // "llama, mistral, phi3, qwen2, qwen3"

// Whether the model's folder holds a tensor of this name.
using HasTensor = std::function<bool(const std::string&)>;

// What config.json's 'architectures' and 'model_type' mean.
struct Architecture {
  const Family* family = nullptr;  // null: none that is known
  enum class Head { language, none, unsaid } head = Head::language;
  std::string name;  // for messages; may be empty
  std::vector<std::string> notes;
};
Architecture architecture_of(const ConfigReader& config);

// Throws Error(unsupported) naming the families when the architecture is none of them. `has_tensor`: without
// it (config.json alone is there) the names are those of a causal language model as transformers saves it.
Graph build_graph(const std::string& config_json, const HasTensor& has_tensor = {});
Graph build_decoder(const DecoderSpec& spec);

RopeSpec rope_from_config(const ConfigReader& config,
                          int64_t head_dim,
                          int64_t default_max_position,
                          std::vector<std::string>& notes);

// Notes on keys that a server applies and DecoderSpec cannot say. Throws Error(unsupported) for those that make
// another model of it.
std::vector<std::string> notes_on_other_functions(const ConfigReader& config, const DecoderSpec& spec);

DecoderSpec llama_spec(const ConfigReader&);
DecoderSpec mistral_spec(const ConfigReader&);
DecoderSpec phi3_spec(const ConfigReader&);
DecoderSpec qwen2_spec(const ConfigReader&);
DecoderSpec qwen3_spec(const ConfigReader&);

}  // namespace llmc
