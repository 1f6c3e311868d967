#include "core/families/decoder_spec.hpp"

namespace llmc {

DecoderSpec llama_spec(const ConfigReader& config) {
  DecoderSpec spec = common_decoder(config, "Llama");
  spec.qkv_bias = spec.output_bias = config.boolean_or("attention_bias", false);
  spec.mlp_bias = config.boolean_or("mlp_bias", false);
  return spec;
}

}  // namespace llmc
