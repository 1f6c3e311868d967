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

// No product of these leaves a double's range, and no frequency a float's.
constexpr NumberRange kThetas{1.0, 1e30}, kShares{0.0, 1.0}, kScaling{1.0, 1e6},
    kNotNegative{0.0, kFactors.high};

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

// 0 counts as left out.
double or_default(double value, double otherwise) { return value > 0.0 ? value : otherwise; }

// transformers 5 writes rope_parameters; older files have rope_theta at the top and rope_scaling beside it.
// rope_scaling added to a file of transformers 5 takes the place of rope_parameters, rope_theta included.
JsonValue rope_section(const ConfigReader& config, std::vector<std::string>& notes) {
  const auto section = [&](const char* key) {
    JsonValue value = config.has(key) ? *config.json().find(key) : JsonValue::object();
    if (!value.is(JsonValue::Kind::object))
      throw Error(ErrorCode::bad_file,
                  fmt::format("config.json: '{}' is {}, wanted an object", key,
                              dump_json_compact(value).substr(0, 60)));
    for (const auto& [name, inner] : value.members)
      if (inner.is(JsonValue::Kind::object))
        throw Error(
            ErrorCode::unsupported,
            fmt::format("config.json: '{}' has settings of its own for '{}'; wanted one set for all layers",
                        key, name));
    return value;
  };
  JsonValue scaling = section("rope_scaling");
  if (scaling.members.empty()) return section("rope_parameters");
  const JsonValue* parameters = config.json().find("rope_parameters");
  const JsonValue* theta = parameters ? parameters->find("rope_theta") : nullptr;
  if (theta && !scaling.find("rope_theta") && !config.has("rope_theta"))
    notes.push_back(
        fmt::format("config.json: 'rope_scaling' takes the place of 'rope_parameters', as in vLLM and "
                    "transformers: its 'rope_theta' {} is not read",
                    dump_json_compact(*theta)));
  return scaling;
}

int64_t rotary_dim_of(const ConfigReader& config, const ConfigReader& rope, int64_t head_dim, RopeKind kind) {
  const double partial = rope.number_or("partial_rotary_factor",
                                        config.number_or("partial_rotary_factor", 1.0, kShares), kShares);
  const auto rotary_dim = static_cast<int64_t>(static_cast<double>(head_dim) * partial);
  const int64_t smallest = kind == RopeKind::dynamic ? 4 : 2;  // its exponent divides by (dimension - 2)
  if (rotary_dim < smallest || rotary_dim % 2 || rotary_dim > head_dim)
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: rotary dimension {}, wanted an even number from {} to head_dim {}",
                            rotary_dim, smallest, head_dim));
  return rotary_dim;
}

// What one of the readers (vLLM's yarn, its dynamic) takes and the other does not, or that has no word here.
void refuse_unread(const ConfigReader& rope, RopeKind kind) {
  const auto refuse = [](const char* key) {
    throw Error(ErrorCode::unsupported,
                fmt::format("config.json: '{}' of the rope settings is not supported", key));
  };
  if (kind == RopeKind::dynamic && rope.has("alpha")) refuse("alpha");
  if (kind != RopeKind::yarn) return;
  for (const char* key : {"attn_factor", "extrapolation_factor"})
    if (rope.number_or(key, 1.0, kNotNegative) != 1.0) refuse(key);
  if (!rope.boolean_or("apply_yarn_scaling", true)) refuse("apply_yarn_scaling");
}

double yarn_attention_factor(const RopeSpec& spec) {
  if (spec.attention_factor > 0.0) return spec.attention_factor;
  const auto mscale = [&](double m) {
    return spec.factor <= 1.0 ? 1.0 : 0.1 * m * std::log(spec.factor) + 1.0;
  };
  return spec.mscale > 0.0 && spec.mscale_all_dim > 0.0 ? mscale(spec.mscale) / mscale(spec.mscale_all_dim)
                                                        : mscale(1.0);
}

}  // namespace

RopeSpec rope_from_config(const ConfigReader& config,
                          int64_t head_dim,
                          int64_t default_max_position,
                          std::vector<std::string>& notes) {
  const JsonValue parameters = rope_section(config, notes);
  const ConfigReader rope(parameters);
  RopeSpec spec;
  spec.kind = rope_kind(rope.text_or("rope_type", rope.text_or("type", "default")));
  spec.theta = rope.number_or("rope_theta", config.number_or("rope_theta", 10000.0, kThetas), kThetas);
  if (!(spec.theta > 1.0))
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: rope_theta {}, wanted more than 1", spec.theta));
  spec.rotary_dim = rotary_dim_of(config, rope, head_dim, spec.kind);
  spec.max_position = config.integer_or("max_position_embeddings", default_max_position, kPositions);
  // as transformers and vLLM have it, the one at the top goes first
  spec.original_max_position = config.integer_or(
      "original_max_position_embeddings",
      rope.integer_or("original_max_position_embeddings", spec.max_position, kPositions), kPositions);
  if (spec.kind == RopeKind::standard) return spec;
  refuse_unread(rope, spec.kind);
  const bool may_derive = spec.kind == RopeKind::yarn;
  spec.factor = may_derive && !rope.has("factor")
      ? static_cast<double>(spec.max_position) / static_cast<double>(spec.original_max_position)
      : rope.number("factor", kScaling);
  spec.low_freq_factor = rope.number_or("low_freq_factor", 1.0, kFactors);
  spec.high_freq_factor = rope.number_or("high_freq_factor", 4.0, kFactors);
  if (spec.kind == RopeKind::llama3 && spec.low_freq_factor >= spec.high_freq_factor)
    throw Error(ErrorCode::bad_file,
                fmt::format("config.json: low_freq_factor {}, wanted less than high_freq_factor {}",
                            spec.low_freq_factor, spec.high_freq_factor));
  spec.beta_fast = or_default(rope.number_or("beta_fast", 0.0, kNotNegative), 32.0);
  spec.beta_slow = or_default(rope.number_or("beta_slow", 0.0, kNotNegative), 1.0);
  spec.attention_factor = rope.number_or("attention_factor", 0.0, kFactors);
  spec.mscale = rope.number_or("mscale", 0.0, kNotNegative);
  spec.mscale_all_dim = rope.number_or("mscale_all_dim", 0.0, kNotNegative);
  spec.truncate = rope.boolean_or("truncate", true);
  return spec;
}

RopeFrequencies rope_frequencies(const RopeSpec& spec, int64_t sequence_length) {
  double theta = spec.theta;
  if (spec.kind == RopeKind::dynamic && sequence_length > spec.max_position) {
    const double stretch = spec.factor * static_cast<double>(sequence_length) /
            static_cast<double>(spec.max_position) -
        (spec.factor - 1.0);
    const double dim = static_cast<double>(spec.rotary_dim);
    // a rotation of two channels has one frequency, 1, for every base
    if (spec.rotary_dim > 2) theta *= std::pow(stretch, dim / (dim - 2.0));
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
