// The families llmc can run forward. A new one is a file beside this and a row here.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/families/decoder_spec.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

// a graph is built before any tensor is looked at: a lie must not cost memory
constexpr IntegerRange kLayers{1, 10'000};
constexpr IntegerRange kWindow{-1, INT64_MAX};  // 0 and -1: none

constexpr Family kFamilies[] = {
    {"llama", "Llama", llama_spec}, {"mistral", "Mistral", mistral_spec}, {"phi3", "Phi3", phi3_spec},
    {"qwen2", "Qwen2", qwen2_spec}, {"qwen3", "Qwen3", qwen3_spec},
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

// "auto" is what some tools write for "as the tensors are".
DType model_dtype(const ConfigReader& config) {
  const char* key = config.has("dtype") ? "dtype" : "torch_dtype";
  const std::string name = config.text_or(key, "bfloat16");
  if (name == "auto") return DType::bf16;
  const auto dtype = parse_torch_dtype(name);
  if (!dtype || (*dtype != DType::bf16 && *dtype != DType::f16 && *dtype != DType::f32))
    throw Error(ErrorCode::unsupported,
                fmt::format("config.json: a model in '{}'; wanted bfloat16, float16 or float32", name));
  return *dtype;
}

int64_t head_dim_of(const ConfigReader& config, const FamilyDefaults& defaults, const DecoderSpec& spec) {
  if (config.has("head_dim")) return config.integer("head_dim", kSizes);
  // a null says "derive it", to every family
  if (defaults.head_dim && !config.json().find("head_dim")) return defaults.head_dim;
  return spec.hidden / spec.heads;
}

int64_t kv_heads_of(const ConfigReader& config, const FamilyDefaults& defaults, const DecoderSpec& spec) {
  if (config.has("num_key_value_heads")) return config.integer("num_key_value_heads", kSizes);
  const bool absent = !config.json().find("num_key_value_heads");
  // the default of a class is for its first model; one of other sizes is none that a reader would load
  return absent && defaults.kv_heads && spec.heads % defaults.kv_heads == 0 ? defaults.kv_heads : spec.heads;
}

}  // namespace

std::span<const Family> families() { return kFamilies; }

std::string family_names() {
  std::string names;
  for (const Family& family : kFamilies)
    names += (names.empty() ? "" : ", ") + std::string(family.model_type);
  return names;
}

DecoderSpec common_decoder(const ConfigReader& config,
                           std::string class_prefix,
                           const FamilyDefaults& defaults) {
  DecoderSpec spec;
  spec.model_type = config.text_or("model_type", "");
  spec.class_prefix = std::move(class_prefix);
  spec.dtype = model_dtype(config);
  spec.vocabulary = config.integer("vocab_size", kSizes);
  spec.hidden = config.integer("hidden_size", kSizes);
  spec.intermediate = config.integer("intermediate_size", kSizes);
  spec.layers = config.integer("num_hidden_layers", kLayers);
  spec.heads = config.integer("num_attention_heads", kSizes);
  spec.kv_heads = kv_heads_of(config, defaults, spec);
  spec.head_dim = head_dim_of(config, defaults, spec);
  if (spec.head_dim < 1 || spec.heads > kSizes.high / spec.head_dim)
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: {} heads of {} channels, wanted 1 to {} channels together",
                            spec.heads, spec.head_dim, kSizes.high));
  if (spec.heads % spec.kv_heads)
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: {} attention heads cannot share {} key-value heads", spec.heads,
                            spec.kv_heads));
  if (spec.heads > kSizes.high / spec.head_dim)
    throw Error(
        ErrorCode::bad_file,
        fmt::format("config.json: {} attention heads of {} channels, wanted at most {} channels in all",
                    spec.heads, spec.head_dim, kSizes.high));
  spec.norm_epsilon = config.number_or("rms_norm_eps", 1e-6, {0.0, 1.0});
  spec.activation = activation_kind(config.text_or("hidden_act", "silu"));
  spec.rope = rope_from_config(config, spec.head_dim, defaults.max_position, spec.notes);
  spec.attention_scale = 1.0 / std::sqrt(static_cast<double>(spec.head_dim));
  spec.sliding_window.assign(static_cast<size_t>(spec.layers), 0);
  spec.tied_embeddings = config.boolean_or("tie_word_embeddings", false);
  for (std::string& note : notes_on_other_functions(config, spec)) spec.notes.push_back(std::move(note));
  return spec;
}

std::optional<std::vector<bool>> sliding_layers(const ConfigReader& config, int64_t layers) {
  if (!config.has("layer_types")) return std::nullopt;
  const JsonValue& types = *config.json().find("layer_types");
  if (!types.is(JsonValue::Kind::array) || static_cast<int64_t>(types.items.size()) < layers)
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: 'layer_types' has {} entries, wanted one for each of {} layers",
                            types.items.size(), layers));
  std::vector<bool> slides;
  for (size_t layer = 0; layer < static_cast<size_t>(layers); ++layer) {
    const std::string type = types.items[layer].as_string().value_or("no text");
    if (type != "sliding_attention" && type != "full_attention")
      throw Error(
          ErrorCode::unsupported,
          fmt::format("config.json: layer_types[{}] is '{}', wanted full_attention or sliding_attention",
                      layer, type));
    slides.push_back(type == "sliding_attention");
  }
  return slides;
}

void apply_sliding_window(const ConfigReader& config, const FamilyDefaults& defaults, DecoderSpec& spec) {
  const auto slides = sliding_layers(config, spec.layers);
  const int64_t absent = config.json().find("sliding_window") ? 0 : defaults.sliding_window;
  const int64_t window = std::max<int64_t>(0, config.integer_or("sliding_window", absent, kWindow));
  if (slides && !window && std::find(slides->begin(), slides->end(), true) != slides->end())
    throw Error(ErrorCode::bad_file,
                "config.json: 'layer_types' names sliding_attention, but 'sliding_window' gives no window");
  for (size_t layer = 0; layer < spec.sliding_window.size(); ++layer)
    spec.sliding_window[layer] = !slides || (*slides)[layer] ? window : 0;
}

namespace {

// Where the decoder's tensors are in the file: under "model." in a causal language model, under nothing in a
// base model saved by itself, under "transformer." in question answering.
std::string decoder_prefix(const HasTensor& has_tensor, const std::string& class_prefix) {
  std::string tried;
  for (const char* prefix : {"model.", "", "transformer."}) {
    for (const char* name : {"norm.weight", "layers.0.input_layernorm.weight", "embed_tokens.weight"})
      if (has_tensor(prefix + std::string(name))) return prefix;
    tried += fmt::format("{}'{}norm.weight'", tried.empty() ? "" : ", ", prefix);
  }
  throw Error(
      ErrorCode::unsupported,
      fmt::format("config.json says {}, but the folder has none of the tensors {}", class_prefix, tried));
}

bool has_weight(const HasTensor& has_tensor, const std::string& module) {
  for (const char* suffix : {".weight", ".weight_packed", ".weight_scale"})
    if (has_tensor(module + suffix)) return true;
  return false;
}

void find_heads(const HasTensor& has_tensor, Architecture::Head said, DecoderSpec& spec) {
  const bool saved = has_weight(has_tensor, "lm_head");
  spec.has_head = said == Architecture::Head::language ||
      (said == Architecture::Head::unsaid && (saved || spec.tied_embeddings));
  if (saved && !spec.has_head) spec.other_heads.push_back("lm_head");
  for (const char* head : {"score", "classifier", "qa_outputs"})
    if (has_weight(has_tensor, head)) spec.other_heads.push_back(head);
}

}  // namespace

Graph build_graph(const std::string& config_json, const HasTensor& has_tensor) {
  const JsonValue json = parse_json(config_json, "config.json");
  if (!json.is(JsonValue::Kind::object)) throw Error(ErrorCode::bad_file, "config.json: not a JSON object");
  const ConfigReader config(json);
  const Architecture architecture = architecture_of(config);
  if (!architecture.family)
    throw Error(
        ErrorCode::unsupported,
        fmt::format(
            "config.json: architecture '{}' (model_type '{}') cannot be run forward; calibrated recipes need "
            "one of {}; data-free schemes (--scheme FP8_DYNAMIC, W4A16, ...) work on any safetensors folder",
            architecture.name, config.text_or("model_type", ""), family_names()));
  DecoderSpec spec = architecture.family->spec(config);
  spec.notes.insert(spec.notes.begin(), architecture.notes.begin(), architecture.notes.end());
  if (has_tensor) {
    spec.prefix = decoder_prefix(has_tensor, architecture.family->class_prefix);
    find_heads(has_tensor, architecture.head, spec);
  } else {
    spec.has_head = architecture.head != Architecture::Head::none;
  }
  return build_decoder(spec);
}

}  // namespace llmc
