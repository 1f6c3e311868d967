// Rounding of activations, as pure functions for every backend. compressed-tensors' arithmetic: every
// intermediate is rounded to the values' dtype, and clamping comes before rounding.
#pragma once
#include "core/quantize/scale_grid.hpp"
#include "llmc/backend.hpp"

namespace llmc {

// What of an ActivationQuantization is the same for all groups, as plain numbers.
struct ActivationGrid {
  bool integer = true, four_bits = false, symmetric = true, power_of_two = false;
  DType model = DType::bf16;  // of the values
  float low = -128, high = 127, global_scale = 0;

  ActivationGrid() = default;
  ActivationGrid(const ActivationQuantization& how, DType dtype)
      : integer(how.grid.type == NumberType::integer),
        four_bits(how.grid.num_bits == 4),
        symmetric(how.grid.symmetric),
        power_of_two(how.power_of_two),
        model(dtype),
        global_scale(how.global_scale) {
    high = integer ? static_cast<float>((1 << (how.grid.num_bits - 1)) - 1) : four_bits ? 6.0f : 448.0f;
    low = integer ? -high - 1.0f : -high;
  }
};

struct ActivationScale {
  float scale = 1, zero = 0;
};

// For values between `minimum` <= 0 and `maximum` >= 0.
constexpr ActivationScale activation_scale(float minimum, float maximum, const ActivationGrid& grid) {
  const float range = grid.high - grid.low, largest = -minimum > maximum ? -minimum : maximum;
  // the one under `largest`, the next one from 1.75 times it on, over the grid's own largest power
  if (grid.power_of_two) {
    const float power = std::bit_cast<float>((std::bit_cast<uint32_t>(largest) + 0x00200000u) & 0xFF800000u) *
        (grid.four_bits ? 0x1p-2f : 0x1p-8f);
    return {power < 0x1p-126f ? 0x1p-126f : power, 0.0f};
  }
  float scale = grid.symmetric
      ? round_to_model(largest / (range / 2), grid.model)
      : round_to_model(round_to_model(maximum - minimum, grid.model) / range, grid.model);
  if (grid.global_scale > 0) {
    const float product = grid.global_scale * scale,
                local = float_from_e4m3(e4m3_from_float(product < 448.0f ? product : 448.0f));
    return {(local == 0.0f ? smallest_scale(DType::f8_e4m3) : local) / grid.global_scale, 0.0f};
  }
  if (scale == 0.0f) scale = smallest_scale(grid.model);
  const float zero = grid.symmetric
      ? 0.0f
      : round_to_whole(
            clamp_between(round_to_model(grid.low - round_to_model(minimum / scale, grid.model), grid.model),
                          grid.low, grid.high));
  return {scale, zero};
}

constexpr float round_activation_value(float value,
                                       const ActivationScale& group,
                                       const ActivationGrid& grid) {
  const float clamped = clamp_between(
      round_to_model(round_to_model(value / group.scale, grid.model) + group.zero, grid.model), grid.low,
      grid.high);
  const float q = grid.integer ? round_to_whole(clamped)
      : grid.four_bits         ? float_from_fp4(fp4_from_float(clamped))
                               : float_from_e4m3(e4m3_from_float(clamped));
  return round_to_model((q - group.zero) * group.scale, grid.model);
}

}  // namespace llmc
