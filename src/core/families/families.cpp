// The families llmc can run forward. A new one is a file beside this and a row here.
#include <fmt/format.h>

#include <cmath>

#include "core/families/decoder_spec.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

// a graph is built before any tensor is looked at: a lie must not cost memory
constexpr int64_t kMostLayers = 10'000;

constexpr Family kFamilies[] = {
    {"llama", "LlamaForCausalLM", llama_spec},
    {"mistral", "MistralForCausalLM", mistral_spec},
    {"qwen2", "Qwen2ForCausalLM", qwen2_spec},
    {"qwen3", "Qwen3ForCausalLM", qwen3_spec},
};

constexpr struct {
  const char* name;
  ActivationKind kind;
} kActivations[] = {{"silu", ActivationKind::silu},          {"swish", ActivationKind::silu},
                    {"gelu", ActivationKind::gelu},          {"gelu_pytorch_tanh", ActivationKind::gelu_tanh},
                    {"gelu_new", ActivationKind::gelu_tanh}, {"relu", ActivationKind::relu}};

ActivationKind activation_kind(const std::string& name) {
  for (const auto& row : kActivations)
    if (name == row.name) return row.kind;
  throw Error(ErrorCode::unsupported, fmt::format("config.json: activation '{}' is not supported", name));
}

std::string architecture_of(const JsonValue& config) {
  const JsonValue* list = config.find("architectures");
  return list && !list->items.empty() ? list->items[0].as_string().value_or("") : "";
}

}  // namespace

std::span<const Family> families() { return kFamilies; }

std::string family_names() {
  std::string names;
  for (const Family& family : kFamilies)
    names += (names.empty() ? "" : ", ") + std::string(family.model_type);
  return names;
}

DecoderSpec common_decoder(const ConfigReader& config, std::string class_prefix) {
  DecoderSpec spec;
  spec.model_type = config.text_or("model_type", "");
  spec.class_prefix = std::move(class_prefix);
  const std::string dtype = config.text_or("dtype", config.text_or("torch_dtype", "bfloat16"));
  const auto parsed = parse_torch_dtype(dtype);
  if (!parsed || !is_floating(*parsed))
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: dtype '{}', wanted bfloat16, float16 or float32", dtype));
  spec.dtype = *parsed;
  spec.vocabulary = config.integer("vocab_size");
  spec.hidden = config.integer("hidden_size");
  spec.intermediate = config.integer("intermediate_size");
  spec.layers = config.integer("num_hidden_layers");
  if (spec.layers > kMostLayers)
    throw Error(
        ErrorCode::bad_file,
        fmt::format("config.json: num_hidden_layers is {}, wanted at most {}", spec.layers, kMostLayers));
  spec.heads = config.integer("num_attention_heads");
  spec.kv_heads = config.has("num_key_value_heads") ? config.integer("num_key_value_heads") : spec.heads;
  spec.head_dim = config.has("head_dim") ? config.integer("head_dim") : spec.hidden / spec.heads;
  if (spec.heads % spec.kv_heads)
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: {} attention heads cannot share {} key-value heads", spec.heads,
                            spec.kv_heads));
  spec.norm_epsilon = config.number_or("rms_norm_eps", 1e-6);
  spec.activation = activation_kind(config.text_or("hidden_act", "silu"));
  spec.rope = rope_from_config(config, spec.head_dim);
  spec.attention_scale = 1.0 / std::sqrt(static_cast<double>(spec.head_dim));
  spec.sliding_window.assign(static_cast<size_t>(spec.layers), 0);
  spec.tied_embeddings = config.boolean_or("tie_word_embeddings", false);
  return spec;
}

Graph build_graph(const std::string& config_json) {
  const JsonValue json = parse_json(config_json, "config.json");
  if (!json.is(JsonValue::Kind::object)) throw Error(ErrorCode::bad_file, "config.json: not a JSON object");
  const ConfigReader config(json);
  const std::string model_type = config.text_or("model_type", ""), architecture = architecture_of(json);
  for (const Family& family : kFamilies)
    if (architecture == family.architecture || (architecture.empty() && model_type == family.model_type))
      return build_decoder(family.spec(config));
  throw Error(
      ErrorCode::unsupported,
      fmt::format(
          "config.json: architecture '{}' (model_type '{}') cannot be run forward; calibrated recipes need "
          "one of {}; data-free schemes (--scheme FP8_DYNAMIC, W4A16, ...) work on any safetensors folder",
          architecture, model_type, family_names()));
}

}  // namespace llmc
