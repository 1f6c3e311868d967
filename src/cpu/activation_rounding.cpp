// compressed-tensors' arithmetic: every intermediate is rounded to the values' dtype, and clamping comes before rounding.
#include "cpu/activation_rounding.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "core/quantize/number_formats.hpp"
#include "llmc/error.hpp"

namespace llmc::cpu {
namespace {

// Rounds to the values' dtype.
struct ValueRounding {
  bool bf16;
  float operator()(float value) const { return bf16 ? round_to_bf16(value) : value; }
};

float round_e4m3(float value) {
  const float magnitude = std::fabs(value);
  if (magnitude < 0x1p-6f) return std::nearbyint(value * 512.0f) / 512.0f;
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7FFFFu + ((bits >> 20) & 1u)) & 0xFFF00000u);
}

float round_e2m1(float value) {
  const float a = std::fabs(value);
  const float rounded = a <= 0.25f ? 0.0f : a < 0.75f ? 0.5f : a <= 1.25f ? 1.0f : a < 1.75f ? 1.5f : a <= 2.5f ? 2.0f : a < 3.5f ? 3.0f : a <= 5.0f ? 4.0f : 6.0f;
  return std::copysign(rounded, value);
}

struct Limits {
  float low, high;
};
Limits limits_of(const NumberGrid& grid) {
  if (grid.type == NumberType::floating) return grid.num_bits == 4 ? Limits{-6.0f, 6.0f} : Limits{-448.0f, 448.0f};
  const float half = std::ldexp(1.0f, grid.num_bits - 1);
  return {-half, half - 1.0f};
}

struct GroupScale {
  float scale, zero;
};

// The power of two under `largest`, the next one from 1.75 times it on, over the grid's own largest power.
float power_of_two_scale(float largest, const NumberGrid& grid) {
  const float power = std::bit_cast<float>((std::bit_cast<uint32_t>(largest) + 0x00200000u) & 0xFF800000u);
  return std::max(power * (grid.num_bits == 4 ? 0x1p-2f : 0x1p-8f), 0x1p-126f);
}

GroupScale find_scale(const ActivationQuantization& how, const Limits& limits, const ValueRounding& in_dtype, const float* x, int64_t n) {
  float low = 0, high = 0;
  for (int64_t i = 0; i < n; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  const float range = limits.high - limits.low, largest = std::max(-low, high);
  if (how.power_of_two) return {power_of_two_scale(largest, how.grid), 0.0f};
  float scale = how.grid.symmetric ? in_dtype(largest / (range / 2)) : in_dtype(in_dtype(high - low) / range);
  if (how.global_scale > 0) {
    const float local = round_e4m3(std::min(how.global_scale * scale, 448.0f));
    return {(local == 0.0f ? 0.125f : local) / how.global_scale, 0.0f};
  }
  if (scale == 0.0f) scale = in_dtype.bf16 ? 0x1p-7f : 0x1p-23f;
  const float zero = how.grid.symmetric ? 0.0f : std::nearbyint(std::clamp(in_dtype(limits.low - in_dtype(low / scale)), limits.low, limits.high));
  return {scale, zero};
}

void round_group(const NumberGrid& grid, const Limits& limits, const ValueRounding& in_dtype, const GroupScale& group, float* x, int64_t n) {
  const auto [scale, zero] = group;
  for (int64_t i = 0; i < n; ++i) {
    const float clamped = std::clamp(in_dtype(in_dtype(x[i] / scale) + zero), limits.low, limits.high);
    const float q = grid.type == NumberType::integer ? std::nearbyint(clamped) : grid.num_bits == 4 ? round_e2m1(clamped) : round_e4m3(clamped);
    x[i] = in_dtype((q - zero) * scale);
  }
}

}  // namespace

void round_activation(Engine& engine, const ActivationQuantization& how, const void* x, DType dtype, int64_t tokens, int64_t width, void* out) {
  const int64_t heads = std::max<int64_t>(1, static_cast<int64_t>(how.fixed_scales.size()));
  const int64_t group = how.group_size > 0 ? how.group_size : width / heads, item = static_cast<int64_t>(item_size(dtype));
  if (group <= 0 || width % group != 0 || (heads > 1 && width / group != heads))
    throw Error(ErrorCode::invalid_argument, "cpu: activations in groups of " + std::to_string(group) + " channels does not divide a width of " + std::to_string(width));
  const Limits limits = limits_of(how.grid);
  const ValueRounding in_dtype{dtype == DType::bf16};
  engine.pool.parallel_for(tokens, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(width));
    for (int64_t t = begin; t < end; ++t) {
      engine.elements.load_row(static_cast<const std::byte*>(x) + t * width * item, dtype, width, row.data());
      for (int64_t first = 0; first < width; first += group) {
        float* const values = row.data() + first;
        const auto fixed = static_cast<size_t>(heads > 1 ? first / group : 0);
        const GroupScale scale = how.fixed_scales.empty() ? find_scale(how, limits, in_dtype, values, group)
                                                          : GroupScale{how.fixed_scales[fixed], how.fixed_zero_points.empty() ? 0.0f : static_cast<float>(how.fixed_zero_points[fixed])};
        round_group(how.grid, limits, in_dtype, scale, values, group);
      }
      engine.elements.store_row(row.data(), nullptr, width, dtype, static_cast<std::byte*>(out) + t * width * item);
    }
  });
}

}  // namespace llmc::cpu
