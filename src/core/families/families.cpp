// The families llmc can run forward. A new one is a file beside this and a row here.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
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

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// Which class of a family an architecture names: what follows the family's name. The decoder is the same; a class
// with a head of its own has that copied.
enum class ModelClass { other, causal, headless, own_head };
constexpr struct {
  const char* ending;  // lower case
  ModelClass kind;
} kClasses[] = {{"forcausallm", ModelClass::causal},
                {"model", ModelClass::headless},
                {"forsequenceclassification", ModelClass::own_head},
                {"fortokenclassification", ModelClass::own_head},
                {"forquestionanswering", ModelClass::own_head}};

// Spelled in any case: published configs say LLaMAForCausalLM, and transformers and vLLM go by model_type.
ModelClass class_of(const std::string& architecture, const Family& family) {
  const std::string name = lower(architecture), canonical = lower(family.architecture);
  const std::string prefix = canonical.substr(0, canonical.size() - std::string_view("forcausallm").size());
  if (!name.starts_with(prefix)) return ModelClass::other;
  for (const auto& row : kClasses)
    if (name.substr(prefix.size()) == row.ending) return row.kind;
  return ModelClass::other;
}

// Settings that vLLM applies to these families and llmc's forward pass does not: named, so that nobody wonders.
constexpr const char* kLeftOut[] = {"dual_chunk_attention_config",
                                    "llama_4_scaling",
                                    "attention_chunk_size",
                                    "attn_temperature_tuning",
                                    "attn_logit_softcapping",
                                    "final_logit_softcapping",
                                    "logit_scale",
                                    "no_rope_layers"};

std::vector<std::string> notes_on(const ConfigReader& config) {
  std::vector<std::string> notes;
  for (const char* key : kLeftOut)
    if (config.has(key))
      notes.push_back(fmt::format("config.json: '{}' is not applied: calibration runs without it", key));
  return notes;
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
  if (!parsed || (*parsed != DType::bf16 && *parsed != DType::f16 && *parsed != DType::f32))
    throw Error(ErrorCode::unsupported,
                fmt::format("config.json: a model in '{}'; wanted bfloat16, float16 or float32", dtype));
  spec.dtype = *parsed;
  spec.vocabulary = config.integer("vocab_size", kSizes);
  spec.hidden = config.integer("hidden_size", kSizes);
  spec.intermediate = config.integer("intermediate_size", kSizes);
  spec.layers = config.integer("num_hidden_layers", {1, kMostLayers});
  spec.heads = config.integer("num_attention_heads", kSizes);
  spec.kv_heads = config.integer_or("num_key_value_heads", spec.heads, kSizes);
  spec.head_dim = config.integer_or("head_dim", spec.hidden / spec.heads, kSizes);
  if (spec.head_dim < 1 || spec.heads > kSizes.high / spec.head_dim)
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: {} heads of {} channels, wanted 1 to {} channels together",
                            spec.heads, spec.head_dim, kSizes.high));
  if (spec.heads % spec.kv_heads)
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: {} attention heads cannot share {} key-value heads", spec.heads,
                            spec.kv_heads));
  spec.norm_epsilon = config.number_or("rms_norm_eps", 1e-6, {0.0, 1.0});
  spec.activation = activation_kind(config.text_or("hidden_act", "silu"));
  spec.rope = rope_from_config(config, spec.head_dim);
  spec.attention_scale = 1.0 / std::sqrt(static_cast<double>(spec.head_dim));
  spec.sliding_window.assign(static_cast<size_t>(spec.layers), 0);
  spec.tied_embeddings = config.boolean_or("tie_word_embeddings", false);
  return spec;
}

std::vector<int64_t> windows_by_layer(const ConfigReader& config,
                                      int64_t layers,
                                      int64_t window,
                                      const std::function<bool(int64_t layer)>& slides) {
  std::vector<int64_t> windows(static_cast<size_t>(layers), 0);
  const JsonValue* types = config.has("layer_types") ? config.json().find("layer_types") : nullptr;
  if (types && (!types->is(JsonValue::Kind::array) || types->items.size() < windows.size()))
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: 'layer_types' has {} entries, wanted one for each of {} layers",
                            types->items.size(), layers));
  for (size_t layer = 0; layer < windows.size(); ++layer) {
    bool sliding = slides(static_cast<int64_t>(layer));
    if (types) {
      const std::string type = types->items[layer].as_string().value_or("no text");
      sliding = type == "sliding_attention";
      if (!sliding && type != "full_attention")
        throw Error(
            ErrorCode::unsupported,
            fmt::format("config.json: layer_types[{}] is '{}', wanted full_attention or sliding_attention",
                        layer, type));
    }
    if (sliding) windows[layer] = window;
  }
  return windows;
}

Graph build_graph(const std::string& config_json, const std::function<bool(const std::string&)>& has_tensor) {
  const JsonValue json = parse_json(config_json, "config.json");
  if (!json.is(JsonValue::Kind::object)) throw Error(ErrorCode::bad_file, "config.json: not a JSON object");
  const ConfigReader config(json);
  const std::string model_type = config.text_or("model_type", ""), architecture = architecture_of(json);
  for (const Family& family : kFamilies) {
    if (architecture.empty() ? model_type != family.model_type
                             : class_of(architecture, family) == ModelClass::other)
      continue;
    const ModelClass kind = architecture.empty() ? ModelClass::causal : class_of(architecture, family);
    DecoderSpec spec = family.spec(config);
    const auto lies_there = [&](const std::string& tensor) { return has_tensor && has_tensor(tensor); };
    const bool bare = lies_there("norm.weight") &&
        !lies_there("model.norm.weight");  // norms are never quantized
    if (bare) spec.prefix.clear();
    spec.has_head = kind == ModelClass::causal;
    Graph graph = build_decoder(spec);
    graph.notes = notes_on(config);
    return graph;
  }
  throw Error(
      ErrorCode::unsupported,
      fmt::format(
          "config.json: architecture '{}' (model_type '{}') cannot be run forward; calibrated recipes need "
          "one of {}; data-free schemes (--scheme FP8_DYNAMIC, W4A16, ...) work on any safetensors folder",
          architecture, model_type, family_names()));
}

}  // namespace llmc
