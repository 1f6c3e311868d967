// Rotary position frequencies. Formulas: transformers, modeling_rope_utils.py (float32 as there, so that
// recorded forwards agree).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/families/decoder_spec.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

constexpr struct {
  const char* name;
  RopeKind kind;
} kRopeTypes[] = {{"default", RopeKind::standard},
                  {"linear", RopeKind::linear},
                  {"dynamic", RopeKind::dynamic},
                  {"yarn", RopeKind::yarn},
                  {"llama3", RopeKind::llama3}};

RopeKind rope_kind(const std::string& name) {
  for (const auto& row : kRopeTypes)
    if (name == row.name) return row.kind;
  throw Error(
      ErrorCode::unsupported,
      fmt::format("config.json: rope type '{}', wanted one of default, linear, dynamic, yarn, llama3", name));
}

std::vector<float> plain_frequencies(double theta, int64_t rotary_dim) {
  std::vector<float> inverse(rotary_dim / 2);
  for (size_t i = 0; i < inverse.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary_dim);
    inverse[i] = 1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  }
  return inverse;
}

void scale_llama3(const RopeSpec& spec, std::vector<float>& inverse) {
  const double original = static_cast<double>(spec.original_max_position);
  const double low_wavelength = original / spec.low_freq_factor,
               high_wavelength = original / spec.high_freq_factor;
  for (float& f : inverse) {
    const double wavelength = 2.0 * std::numbers::pi / f;
    if (wavelength < high_wavelength) continue;
    if (wavelength > low_wavelength) {
      f = static_cast<float>(f / spec.factor);
    } else {
      const double smooth = (original / wavelength - spec.low_freq_factor) /
          (spec.high_freq_factor - spec.low_freq_factor);
      f = static_cast<float>((1.0 - smooth) * f / spec.factor + smooth * f);
    }
  }
}

// arXiv 2309.00071: channels that turn often keep their frequency, slow ones are interpolated, a ramp lies
// between.
void scale_yarn(const RopeSpec& spec, std::vector<float>& inverse) {
  const double dim = static_cast<double>(spec.rotary_dim);
  const auto correction = [&](double rotations) {
    return dim *
        std::log(static_cast<double>(spec.original_max_position) / (rotations * 2.0 * std::numbers::pi)) /
        (2.0 * std::log(spec.theta));
  };
  double low = correction(spec.beta_fast), high = correction(spec.beta_slow);
  if (spec.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < inverse.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    inverse[i] = static_cast<float>(inverse[i] / spec.factor * ramp + inverse[i] * (1.0 - ramp));
  }
}

double yarn_attention_factor(const RopeSpec& spec) {
  if (spec.attention_factor > 0.0) return spec.attention_factor;
  const auto mscale = [&](double m) {
    return spec.factor <= 1.0 ? 1.0 : 0.1 * m * std::log(spec.factor) + 1.0;
  };
  return spec.mscale > 0.0 && spec.mscale_all_dim > 0.0 ? mscale(spec.mscale) / mscale(spec.mscale_all_dim)
                                                        : mscale(1.0);
}

// Older files have rope_scaling, and rope_theta at the top; transformers 5 writes rope_parameters. Where both are
// there, rope_scaling takes the place of all of the other, as in transformers 5.17 and vLLM 0.32: it is what people
// add to a config that was saved with rope_parameters.
JsonValue rope_section(const ConfigReader& config) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const JsonValue* section = config.has(key) ? config.json().find(key) : nullptr;
    if (!section) continue;
    if (!section->is(JsonValue::Kind::object))
      throw Error(ErrorCode::bad_file,
                  fmt::format("config.json: '{}' is {}, wanted an object", key,
                              dump_json_compact(*section).substr(0, 60)));
    for (const auto& [name, value] : section->members)
      if (value.is(JsonValue::Kind::object))
        throw Error(
            ErrorCode::unsupported,
            fmt::format("config.json: '{}' has settings of its own for '{}'; wanted one set for all layers",
                        key, name));
    if (!section->members.empty()) return *section;
  }
  return JsonValue::object();
}

}  // namespace

RopeSpec rope_from_config(const ConfigReader& config, int64_t head_dim) {
  RopeSpec spec;
  const JsonValue parameters = rope_section(config);
  const ConfigReader rope(parameters);
  spec.kind = rope_kind(rope.text_or("rope_type", rope.text_or("type", "default")));
  constexpr NumberRange kThetas{1.0, 1e18}, kShares{0.0, 1.0}, kScaling{1.0, 1e6};
  spec.theta = rope.number_or("rope_theta", config.number_or("rope_theta", 10000.0, kThetas), kThetas);
  const double partial = rope.number_or("partial_rotary_factor",
                                        config.number_or("partial_rotary_factor", 1.0, kShares), kShares);
  spec.rotary_dim = static_cast<int64_t>(static_cast<double>(head_dim) * partial);
  spec.max_position = config.integer_or("max_position_embeddings", 2048, kPositions);
  spec.original_max_position = rope.integer_or(
      "original_max_position_embeddings",
      config.integer_or("original_max_position_embeddings", spec.max_position, kPositions), kPositions);
  if (spec.kind != RopeKind::standard) spec.factor = rope.number_or("factor", 1.0, kScaling);
  if (spec.kind == RopeKind::yarn && !rope.has("factor"))
    spec.factor = static_cast<double>(spec.max_position) / static_cast<double>(spec.original_max_position);
  spec.low_freq_factor = rope.number_or("low_freq_factor", 1.0, kFactors);
  spec.high_freq_factor = rope.number_or("high_freq_factor", 4.0, kFactors);
  spec.beta_fast = rope.number_or("beta_fast", 32.0, kFactors);
  spec.beta_slow = rope.number_or("beta_slow", 1.0, kFactors);
  spec.attention_factor = rope.number_or("attention_factor", 0.0, {0.0, kFactors.high});
  spec.mscale = rope.number_or("mscale", 0.0, {0.0, kFactors.high});
  spec.mscale_all_dim = rope.number_or("mscale_all_dim", 0.0, {0.0, kFactors.high});
  spec.truncate = rope.boolean_or("truncate", true);
  const int64_t smallest = spec.kind == RopeKind::dynamic ? 4 : 2;  // its exponent divides by (dimension - 2)
  if (spec.rotary_dim < smallest || spec.rotary_dim % 2 || spec.rotary_dim > head_dim)
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: rotary dimension {}, wanted an even number from {} to head_dim {}",
                            spec.rotary_dim, smallest, head_dim));
  if (spec.kind == RopeKind::llama3 && !(spec.low_freq_factor < spec.high_freq_factor))
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: low_freq_factor {}, wanted less than high_freq_factor {}",
                            spec.low_freq_factor, spec.high_freq_factor));
  if (!(spec.factor >= 1.0) && spec.kind != RopeKind::standard)
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: rope factor {}, wanted at least 1", spec.factor));
  if (!(spec.theta > 1.0))
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: rope_theta {}, wanted more than 1", spec.theta));
  return spec;
}

RopeFrequencies rope_frequencies(const RopeSpec& spec, int64_t sequence_length) {
  double theta = spec.theta;
  if (spec.kind == RopeKind::dynamic && sequence_length > spec.max_position) {
    const double stretch = spec.factor * static_cast<double>(sequence_length) /
            static_cast<double>(spec.max_position) -
        (spec.factor - 1.0);
    const double dim = static_cast<double>(spec.rotary_dim);
    theta *= std::pow(stretch, dim / (dim - 2.0));
  }
  RopeFrequencies out{plain_frequencies(theta, spec.rotary_dim), 1.0f};
  switch (spec.kind) {
    case RopeKind::linear:
      for (float& f : out.inverse) f = static_cast<float>(f / spec.factor);
      break;
    case RopeKind::llama3:
      scale_llama3(spec, out.inverse);
      break;
    case RopeKind::yarn:
      scale_yarn(spec, out.inverse);
      out.attention_factor = static_cast<float>(yarn_attention_factor(spec));
      break;
    default:
      break;
  }
  return out;
}

}  // namespace llmc
