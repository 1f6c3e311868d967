#include "core/families/decoder_spec.hpp"

namespace llmc {

DecoderSpec llama_spec(const ConfigReader& config) {
  const FamilyDefaults defaults;
  DecoderSpec spec = common_decoder(config, "Llama", defaults);
  // as vLLM reads it: 'bias' is an older spelling, 'qkv_bias' says it for q, k and v alone
  spec.output_bias = config.boolean_or("attention_bias", false) || config.boolean_or("bias", false);
  spec.qkv_bias = config.boolean_or("qkv_bias", spec.output_bias);
  spec.mlp_bias = config.boolean_or("mlp_bias", false);
  apply_sliding_window(config, defaults, spec);
  return spec;
}

}  // namespace llmc
