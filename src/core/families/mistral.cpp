#include "core/families/decoder_spec.hpp"

namespace llmc {

DecoderSpec mistral_spec(const ConfigReader& config) {
  DecoderSpec spec = common_decoder(config, "Mistral");
  const int64_t window = config.integer_or("sliding_window", 0, {0, kPositions.high});
  spec.sliding_window = windows_by_layer(config, spec.layers, window, [](int64_t) { return true; });
  return spec;
}

}  // namespace llmc
