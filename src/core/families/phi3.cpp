#include "core/families/decoder_spec.hpp"

namespace llmc {

// Phi-3, Phi-3.5 and Phi-4: a Llama whose q, k, v and whose gate, up are one Linear each.
DecoderSpec phi3_spec(const ConfigReader& config) {
  const FamilyDefaults defaults{.max_position = 4096};
  DecoderSpec spec = common_decoder(config, "Phi3", defaults);
  spec.norm_epsilon = config.number_or("rms_norm_eps", 1e-5, {0.0, 1.0});
  spec.fused_modules = true;
  apply_sliding_window(config, defaults, spec);
  return spec;
}

}  // namespace llmc
