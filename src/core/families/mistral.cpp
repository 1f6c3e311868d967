#include <algorithm>

#include "core/families/decoder_spec.hpp"

namespace llmc {

DecoderSpec mistral_spec(const ConfigReader& config) {
  DecoderSpec spec = common_decoder(config, "Mistral");
  std::fill(spec.sliding_window.begin(), spec.sliding_window.end(), config.integer_or("sliding_window", 0));
  return spec;
}

}  // namespace llmc
