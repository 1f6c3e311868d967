#include "core/families/decoder_spec.hpp"

namespace llmc {

namespace {

constexpr FamilyDefaults kQwen2{.kv_heads = 32, .max_position = 32768, .sliding_window = 4096};
constexpr FamilyDefaults kQwen3{.kv_heads = 32,
                                .head_dim = 128,
                                .max_position = 32768,
                                .sliding_window = 4096};

// Layers from max_window_layers on slide; newer configs say so layer by layer in layer_types.
void apply_qwen_windows(const ConfigReader& config, const FamilyDefaults& defaults, DecoderSpec& spec) {
  const auto types = sliding_layers(config, spec.layers);
  const int64_t first_sliding = config.integer_or("max_window_layers", 28, {0, INT32_MAX});
  if (!config.boolean_or("use_sliding_window", false)) return;
  apply_sliding_window(config, defaults, spec);
  if (types) return;
  for (int64_t layer = 0; layer < std::min(first_sliding, spec.layers); ++layer)
    spec.sliding_window[static_cast<size_t>(layer)] = 0;
}

}  // namespace

DecoderSpec qwen2_spec(const ConfigReader& config) {
  DecoderSpec spec = common_decoder(config, "Qwen2", kQwen2);
  spec.qkv_bias = true;
  apply_qwen_windows(config, kQwen2, spec);
  return spec;
}

DecoderSpec qwen3_spec(const ConfigReader& config) {
  DecoderSpec spec = common_decoder(config, "Qwen3", kQwen3);
  spec.qkv_bias = spec.output_bias = config.boolean_or("attention_bias", false);
  spec.query_key_norm = true;
  apply_qwen_windows(config, kQwen3, spec);
  return spec;
}

}  // namespace llmc
