#include "core/families/decoder_spec.hpp"

namespace llmc {

namespace {

// Layers from max_window_layers on slide; newer configs say so layer by layer in layer_types.
void apply_qwen_windows(const ConfigReader& config, DecoderSpec& spec) {
  const int64_t window = config.boolean_or("use_sliding_window", false)
      ? config.integer_or("sliding_window", 0, {0, kPositions.high})
      : 0;
  const int64_t first_sliding = config.integer_or("max_window_layers", 28, {0, kSizes.high});
  spec.sliding_window = windows_by_layer(config, spec.layers, window,
                                         [&](int64_t layer) { return layer >= first_sliding; });
}

}  // namespace

DecoderSpec qwen2_spec(const ConfigReader& config) {
  DecoderSpec spec = common_decoder(config, "Qwen2");
  spec.qkv_bias = true;
  apply_qwen_windows(config, spec);
  return spec;
}

DecoderSpec qwen3_spec(const ConfigReader& config) {
  DecoderSpec spec = common_decoder(config, "Qwen3");
  spec.qkv_bias = spec.output_bias = config.boolean_or("attention_bias", false);
  spec.query_key_norm = true;
  apply_qwen_windows(config, spec);
  return spec;
}

}  // namespace llmc
