#include "core/families/decoder_spec.hpp"

namespace llmc {

DecoderSpec mistral_spec(const ConfigReader& config) {
  const FamilyDefaults defaults{.kv_heads = 8, .max_position = 131072, .sliding_window = 4096};
  DecoderSpec spec = common_decoder(config, "Mistral", defaults);
  apply_sliding_window(config, defaults, spec);
  return spec;
}

}  // namespace llmc
