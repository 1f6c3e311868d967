#include "core/families/decoder_spec.hpp"

namespace llmc {

DecoderSpec llama_spec(const ConfigReader& config) {
  const FamilyDefaults defaults;
  DecoderSpec spec = common_decoder(config, "Llama", defaults);
  // as vLLM reads it: 'bias' is an older spelling, 'qkv_bias' says it for q, k and v alone
  spec.output_bias = config.boolean_or("attention_bias", false) || config.boolean_or("bias", false);
  spec.qkv_bias = config.boolean_or("qkv_bias", spec.output_bias);
  spec.mlp_bias = config.boolean_or("mlp_bias", false);
  // as vLLM does by layer_types; transformers' Llama knows no windows
  if (config.has("layer_types")) {
    apply_sliding_window(config, defaults, spec);
  } else if (config.has("sliding_window")) {
    spec.notes.push_back("config.json: 'sliding_window' without 'layer_types' is not applied to a Llama");
  }
  return spec;
}

}  // namespace llmc
