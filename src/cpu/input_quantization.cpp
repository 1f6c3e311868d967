// compressed-tensors' arithmetic: every intermediate is rounded to the values' dtype, and clamping comes before rounding.
#include "cpu/input_quantization.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "llmc/error.hpp"

namespace llmc::cpu {
namespace {

float round_to_bf16(float value) {
  if (std::isnan(value)) return value;
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u);
}

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

void quantize_group(const NumberGrid& grid, const Limits& limits, const ValueRounding& in_dtype, float* x, int64_t n) {
  float low = 0, high = 0;
  for (int64_t i = 0; i < n; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  const float range = limits.high - limits.low;
  float scale = grid.symmetric ? in_dtype(std::max(-low, high) / (range / 2)) : in_dtype(in_dtype(high - low) / range);
  if (scale == 0.0f) scale = in_dtype.bf16 ? 0x1p-7f : 0x1p-23f;
  const float zero = grid.symmetric ? 0.0f : std::nearbyint(std::clamp(in_dtype(limits.low - in_dtype(low / scale)), limits.low, limits.high));
  for (int64_t i = 0; i < n; ++i) {
    const float clamped = std::clamp(in_dtype(in_dtype(x[i] / scale) + zero), limits.low, limits.high);
    const float q = grid.type == NumberType::integer ? std::nearbyint(clamped) : grid.num_bits == 4 ? round_e2m1(clamped) : round_e4m3(clamped);
    x[i] = in_dtype((q - zero) * scale);
  }
}

}  // namespace

void quantize_input(Engine& engine, const ActivationQuantization& how, const void* x, DType dtype, int64_t tokens, int64_t width, void* out) {
  const int64_t group = how.group_size > 0 ? how.group_size : width, item = static_cast<int64_t>(item_size(dtype));
  if (width % group != 0)
    throw Error(ErrorCode::invalid_argument, "cpu: input quantization in groups of " + std::to_string(group) + " channels does not divide a width of " + std::to_string(width));
  const Limits limits = limits_of(how.grid);
  const ValueRounding in_dtype{dtype == DType::bf16};
  engine.pool.parallel_for(tokens, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(width));
    for (int64_t t = begin; t < end; ++t) {
      engine.elements.load_row(static_cast<const std::byte*>(x) + t * width * item, dtype, width, row.data());
      for (int64_t first = 0; first < width; first += group) quantize_group(how.grid, limits, in_dtype, row.data() + first, group);
      engine.elements.store_row(row.data(), nullptr, width, dtype, static_cast<std::byte*>(out) + t * width * item);
    }
  });
}

}  // namespace llmc::cpu
