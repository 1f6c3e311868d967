// Keys of config.json that a server applies, or that say what a model of another family computes, and that
// DecoderSpec has no word for: named in a note unless they have the value that changes nothing. Keys that are not
// here and that no reader asks for (dropout, token ids, use_cache, pretraining_tp, ...) are harmless.
#include <fmt/format.h>

#include <cmath>

#include "core/families/decoder_spec.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

// What changes nothing, beside null and an empty list.
struct Neutral {
  enum Kind { off, number, attention_scale, head_dim, text, all_ones } kind = off;
  double value = 0;
  const char* word = "";
};

constexpr struct {
  const char* key;
  Neutral neutral;
} kChangesFunction[] = {
    {"dual_chunk_attention_config", {Neutral::off}},
    {"llama_4_scaling", {Neutral::off}},
    {"attention_chunk_size", {Neutral::off}},
    {"attn_temperature_tuning", {Neutral::off}},
    {"attn_logit_softcapping", {Neutral::off}},
    {"final_logit_softcapping", {Neutral::off}},
    {"clip_qkv", {Neutral::off}},
    {"logit_scale", {Neutral::number, 1}},
    {"logits_scaling", {Neutral::number, 1}},
    {"attention_multiplier", {Neutral::attention_scale}},
    {"residual_multiplier", {Neutral::number, 1}},
    {"embedding_multiplier", {Neutral::number, 1}},
    {"query_pre_attn_scalar", {Neutral::head_dim}},
    {"no_rope_layers", {Neutral::all_ones}},
    {"position_embedding_type", {Neutral::text, 0, "rope"}},
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

std::vector<std::string> notes_on_other_functions(const ConfigReader& config, const DecoderSpec& spec) {
  // what vLLM serves as an encoder
  if (!config.boolean_or("is_causal", true) || config.boolean_or("use_bidirectional_attention", false))
    throw Error(
        ErrorCode::unsupported,
        "config.json: attention in both directions ('is_causal', 'use_bidirectional_attention'); wanted a "
        "causal decoder");
  std::vector<std::string> notes;
  for (const auto& row : kChangesFunction)
    if (const JsonValue* value = config.json().find(row.key); value && !is_neutral(*value, row.neutral, spec))
      notes.push_back(fmt::format("config.json: '{}' is not applied: calibration runs without it", row.key));
  return notes;
}

}  // namespace llmc
