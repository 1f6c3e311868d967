// Keys of config.json that change what a model computes and that DecoderSpec has no word for. Read past, they
// would calibrate another function than the one that is served; so they are refused by name unless they have
// the value that changes nothing. Keys that are not here and that no reader asks for (dropout, token ids,
// use_cache, pretraining_tp, rope kernels' hints, ...) are harmless.
#include <fmt/format.h>

#include <cmath>

#include "core/families/decoder_spec.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

// What changes nothing, beside null and an empty list. number: any other type of value is refused.
struct Neutral {
  enum Kind { off, number, attention_scale, head_dim, text, all_ones } kind = off;
  double value = 0;
  const char* word = "";
};

constexpr struct {
  const char* key;
  Neutral neutral;
} kChangesFunction[] = {
    // multipliers of granite, minicpm, cohere, grok and falcon
    {"attention_multiplier", {Neutral::attention_scale}},
    {"residual_multiplier", {Neutral::number, 1}},
    {"embedding_multiplier", {Neutral::number, 1}},
    {"lm_head_multiplier", {Neutral::number, 1}},
    {"logits_scaling", {Neutral::number, 1}},
    {"logit_scale", {Neutral::number, 1}},
    {"scale_emb", {Neutral::number, 1}},
    {"scale_depth", {Neutral::off}},
    {"query_pre_attn_scalar", {Neutral::head_dim}},
    // bounds and temperatures
    {"attn_logit_softcapping", {Neutral::off}},
    {"final_logit_softcapping", {Neutral::off}},
    {"clip_qkv", {Neutral::off}},
    {"attn_temperature_tuning", {Neutral::off}},
    {"llama_4_scaling", {Neutral::off}},
    // which keys a query sees, and where it is
    {"is_causal", {Neutral::number, 1}},
    {"use_bidirectional_attention", {Neutral::off}},
    {"attention_chunk_size", {Neutral::off}},
    {"no_rope_layers", {Neutral::all_ones}},
    {"alibi", {Neutral::off}},
    {"position_embedding_type", {Neutral::text, 0, "rope"}},
    {"rotary_pct", {Neutral::number, 1}},
    {"rope_local_base_freq", {Neutral::off}},
    // other wiring
    {"parallel_attn", {Neutral::off}},
    {"use_parallel_residual", {Neutral::off}},
    {"num_local_experts", {Neutral::off}},
    {"num_experts", {Neutral::off}},
};

// Numbers as they are, false and true as 0 and 1.
std::optional<double> as_number(const JsonValue& value) {
  return value.is(JsonValue::Kind::boolean) ? std::optional(value.truth ? 1.0 : 0.0) : value.as_double();
}

bool is_neutral(const JsonValue& value, const Neutral& neutral, const DecoderSpec& spec) {
  if (value.is(JsonValue::Kind::null) || (value.is(JsonValue::Kind::array) && value.items.empty()))
    return true;
  if (neutral.kind == Neutral::text) return value.as_string() == neutral.word;
  if (neutral.kind == Neutral::all_ones) {
    for (const JsonValue& item : value.items)
      if (as_number(item) != 1.0) return false;
    return value.is(JsonValue::Kind::array);
  }
  const double wanted = neutral.kind == Neutral::attention_scale ? spec.attention_scale
      : neutral.kind == Neutral::head_dim                        ? static_cast<double>(spec.head_dim)
                                                                 : neutral.value;
  const auto number = as_number(value);
  return number && std::fabs(*number - wanted) <= 1e-6 * std::fabs(wanted);
}

}  // namespace

void refuse_other_functions(const ConfigReader& config, const DecoderSpec& spec) {
  for (const auto& row : kChangesFunction)
    if (const JsonValue* value = config.json().find(row.key); value && !is_neutral(*value, row.neutral, spec))
      throw Error(ErrorCode::unsupported,
                  fmt::format("config.json: '{}' is {}, which changes what the model computes; the {} family "
                              "is run forward without it",
                              row.key, dump_json_compact(*value).substr(0, 60), spec.class_prefix));
}

}  // namespace llmc
