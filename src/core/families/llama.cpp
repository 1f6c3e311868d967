#include "core/families/decoder_spec.hpp"

namespace llmc {

DecoderSpec llama_spec(const ConfigReader& config) {
  DecoderSpec spec = common_decoder(config, "Llama");
  spec.qkv_bias = spec.output_bias = config.boolean_or("attention_bias", false);
  // As vLLM does; transformers' Llama knows no windows, and its configs have no layer_types.
  spec.sliding_window = windows_by_layer(config, spec.layers,
                                         config.integer_or("sliding_window", 0, {0, kPositions.high}),
                                         [](int64_t) { return false; });
  spec.mlp_bias = config.boolean_or("mlp_bias", false);
  return spec;
}

}  // namespace llmc
