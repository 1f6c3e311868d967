// Small number formats <-> float, rounding to nearest even. NaN stays NaN; e4m3 has no infinity, so overflow
// becomes NaN there (as torch does): clamp first where that matters. All are constexpr, so that kernels can
// call them too.
#pragma once
#include <bit>
#include <cstdint>

#include "llmc/tensor.hpp"

namespace llmc {

constexpr float float_from_bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
constexpr uint16_t bf16_from_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7FFFFFFFu) > 0x7F800000u ? (bits >> 16) | 0x40u : rounded);
}
constexpr float round_to_bf16(float value) { return float_from_bf16(bf16_from_float(value)); }

namespace detail {

// Any format with an implicit leading bit, `mantissa` < 23 stored bits and exponent bias `bias`, as magnitude
// bits of a finite |value|. Subnormals come out of the same addition that aligns the mantissa; the caller
// deals with overflow.
template <int mantissa, int bias>
constexpr uint32_t round_magnitude(uint32_t magnitude) {
  constexpr int kShift = 23 - mantissa;
  constexpr uint32_t kSmallestNormal = static_cast<uint32_t>(128 - bias) << 23;
  // one unit in its last place is our smallest subnormal
  constexpr uint32_t kAlign = static_cast<uint32_t>(128 - bias + kShift) << 23;
  // Both are computed and one is taken: loops over this have no branch.
  const uint32_t subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) +
                                                     std::bit_cast<float>(kAlign)) -
      kAlign;
  const uint32_t rebased = magnitude - (static_cast<uint32_t>(127 - bias) << 23);
  const uint32_t normal = (rebased + ((1u << (kShift - 1)) - 1) + ((rebased >> kShift) & 1u)) >> kShift;
  return magnitude < kSmallestNormal ? subnormal : normal;
}

template <int mantissa, int bias>
constexpr float widen_magnitude(uint32_t bits) {
  // 2^(127 - bias)
  constexpr float kRebase = std::bit_cast<float>(static_cast<uint32_t>(254 - bias) << 23);
  return std::bit_cast<float>(bits << (23 - mantissa)) * kRebase;
}

}  // namespace detail

constexpr float float_from_f16(uint16_t bits) {
  const uint32_t magnitude = bits & 0x7FFFu, sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t wide = magnitude >= 0x7C00u
      ? 0x7F800000u | ((magnitude & 0x3FFu) << 13)
      : std::bit_cast<uint32_t>(detail::widen_magnitude<10, 15>(magnitude));
  return std::bit_cast<float>(wide | sign);
}
constexpr uint16_t f16_from_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFFu;
  const uint32_t sign = (bits >> 16) & 0x8000u;
  uint32_t rounded = detail::round_magnitude<10, 15>(magnitude);
  rounded = magnitude >= 0x477FF000u ? 0x7C00u : rounded;  // 65520 and above
  return static_cast<uint16_t>(sign | (magnitude > 0x7F800000u ? 0x7E00u : rounded));
}

constexpr float float_from_e4m3(uint8_t bits) {
  const uint32_t magnitude = bits & 0x7Fu, sign = static_cast<uint32_t>(bits & 0x80u) << 24;
  const uint32_t wide = magnitude == 0x7Fu
      ? 0x7FC00000u
      : std::bit_cast<uint32_t>(detail::widen_magnitude<3, 7>(magnitude));
  return std::bit_cast<float>(wide | sign);
}
constexpr uint8_t e4m3_from_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFFu;
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t rounded = detail::round_magnitude<3, 7>(magnitude);
  // above 464, half way from 448 to the missing 480
  return static_cast<uint8_t>(sign | (magnitude > 0x43E80000u ? 0x7Fu : rounded));
}

constexpr float float_from_e5m2(uint8_t bits) { return float_from_f16(static_cast<uint16_t>(bits << 8)); }
constexpr uint8_t e5m2_from_float(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFFu;
  const uint32_t sign = (bits >> 24) & 0x80u;
  uint32_t rounded = detail::round_magnitude<2, 15>(magnitude);
  rounded = magnitude >= 0x47700000u ? 0x7Cu : rounded;  // 61440 and above
  return static_cast<uint8_t>(sign | (magnitude > 0x7F800000u ? 0x7Fu : rounded));
}

// E8M0: byte e stands for 2^(e - 127); 255 is NaN where a reader follows OCP, and is never written by us.
constexpr float float_from_e8m0(uint8_t exponent) {
  return std::bit_cast<float>(exponent == 0 ? 0x00400000u : static_cast<uint32_t>(exponent) << 23);
}

// fp4 E2M1 code, sign in bit 3: 0, 0.5, 1, 1.5, 2, 3, 4, 6. A negative value that rounds to zero is code 8;
// zero itself is code 0.
constexpr float float_from_fp4(uint8_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 8u) << 28, exponent = (code >> 1) & 3u,
                 mantissa = code & 1u;
  const uint32_t magnitude = exponent == 0 ? mantissa * 0x3F000000u
                                           : ((126u + exponent) << 23) | (mantissa << 22);
  return std::bit_cast<float>(sign | magnitude);
}
constexpr uint8_t fp4_from_float(float value) {
  const float size = value < 0.0f ? -value : value;
  const int code = (size > 0.25f) + (size >= 0.75f) + (size > 1.25f) + (size >= 1.75f) + (size > 2.5f) +
      (size >= 3.5f) + (size > 5.0f);
  return static_cast<uint8_t>(code | (value < 0.0f ? 8 : 0));
}

// `value` as the nearest number of a floating dtype (f64 and f32: unchanged).
float round_to(float value, DType dtype);

// Bulk conversions. Integers and booleans convert too; f8_e8m0 only widens. Throws Error(unsupported) for a
// dtype with no such conversion. source.size() floats
void to_float(const TensorView& source, float* destination);
void to_float(const std::byte* source, DType dtype, int64_t count, float* destination);
void from_float(const float* source, int64_t count, DType dtype, std::byte* destination);
Tensor converted(const TensorView& source, DType dtype);  // same shape

}  // namespace llmc
