// From the range of a cell to its scale, and from a value to its code, as pure functions: the definition that
// src/core/quantize applies row by row and that kernels of a device call thread by thread. Formulas:
// compressed-tensors' calculate_qparams and quantize.
#pragma once
#include <cstdint>

#include "core/quantize/number_formats.hpp"
#include "llmc/scheme.hpp"

namespace llmc {

// A whole number near `value`, ties to even, for |value| < 2^22: adding this much leaves no bits for a
// fraction.
constexpr float round_to_whole(float value) { return (value + 0x1.8p23f) - 0x1.8p23f; }

constexpr float clamp_between(float value, float low, float high) {
  return value < low ? low : value > high ? high : value;
}

// `value` as the nearest number of a model's dtype.
constexpr float round_to_model(float value, DType dtype) {
  return dtype == DType::bf16 ? round_to_bf16(value)
      : dtype == DType::f16   ? float_from_f16(f16_from_float(value))
                              : value;
}

constexpr bool is_mx(const QuantizationArgs& args) {
  return args.type == NumberType::floating && args.group_size == 32 && args.scale_dtype == DType::u8;
}

// Which scale an element of a weight belongs to: index = (row / rows_per_scale) * scale_columns + column /
// columns_per_scale.
struct ScaleLayout {
  static constexpr int64_t kAllRows = INT64_MAX;
  int64_t rows_per_scale = 1, columns_per_scale = 1, scale_columns = 1;

  ScaleLayout() = default;
  ScaleLayout(const QuantizationArgs& args, int64_t columns) : columns_per_scale(columns > 1 ? columns : 1) {
    switch (args.strategy) {
      case Strategy::channel:
        return;
      case Strategy::group:
      case Strategy::tensor_group:
        columns_per_scale = args.group_size.value();
        break;
      case Strategy::block:
        rows_per_scale = args.block_structure.value()[0];
        columns_per_scale = args.block_structure.value()[1];
        break;
      default:
        rows_per_scale = kAllRows;
        return;
    }
    scale_columns = llmc::scale_columns(args, columns);
  }
  bool is_one() const { return rows_per_scale == kAllRows; }  // for the whole tensor
};

// The scale an exact zero is replaced by, so that nothing divides by zero.
constexpr float smallest_scale(DType dtype) {
  return dtype == DType::f8_e4m3 ? 0.125f
      : dtype == DType::bf16     ? 0x1p-7f
      : dtype == DType::f16      ? 0x1p-10f
                                 : 0x1p-23f;
}

enum class ScaleStorage : uint8_t { model, e4m3, exponent };  // e4m3: over a global scale; exponent: MX

struct ScaleGrid {
  DType model = DType::bf16;  // arithmetic rounds to it: f32, bf16 or f16
  ScaleStorage storage = ScaleStorage::model;
  bool symmetric = true;
  float low = -8, high = 7;  // of the codes
  int mx_offset = 2;         // the exponent of the codes' largest power of two
  float global_scale = 0;    // ScaleStorage::e4m3's

  ScaleGrid() = default;
  ScaleGrid(const QuantizationArgs& args, DType dtype, std::optional<float> global)
      : model(dtype == DType::f64 ? DType::f32 : dtype),
        storage(is_mx(args)                                   ? ScaleStorage::exponent
                    : args.strategy == Strategy::tensor_group ? ScaleStorage::e4m3
                                                              : ScaleStorage::model),
        symmetric(args.symmetric),
        low(static_cast<float>(args.quant_min())),
        high(static_cast<float>(args.quant_max())),
        mx_offset(args.num_bits == 4 ? 2 : 8),
        global_scale(global.value_or(0.0f)) {}
};

struct CellScale {
  float stored = 0;  // as the file holds it; of an exponent: the power of two
  int8_t zero_point = 0;
};

// The MX scale's byte e, for 2^(e - 127): floor(log2 absmax), plus one where absmax is at least 1.75 times that power
// of two, minus the exponent of the codes' largest power of two.
constexpr uint8_t mx_exponent(float absmax, const ScaleGrid& grid) {
  float power = 0;
  switch (grid.model) {
    case DType::bf16:
      power = float_from_bf16(static_cast<uint16_t>((bf16_from_float(absmax) + 0x0020u) & 0xFF80u));
      break;
    case DType::f16:
      power = float_from_f16(static_cast<uint16_t>((f16_from_float(absmax) + 0x0100u) & 0xFC00u));
      break;
    default:
      power = std::bit_cast<float>((std::bit_cast<uint32_t>(absmax) + 0x00200000u) & 0xFF800000u);
      break;
  }
  const int exponent = static_cast<int>(std::bit_cast<uint32_t>(power) >> 23);
  const int shifted = exponent == 0 || exponent < grid.mx_offset ? 0
      : exponent == 255                                          ? 254
                                                                 : exponent - grid.mx_offset;
  // what float16 cannot hold becomes one
  return grid.model == DType::f16 && shifted < 127 - 24 ? 127 : static_cast<uint8_t>(shifted);
}

// The byte that stands for a power of two.
constexpr uint8_t mx_byte(float power) { return static_cast<uint8_t>(std::bit_cast<uint32_t>(power) >> 23); }

// Both ends include zero. The arithmetic's every step is rounded to the model's dtype.
constexpr CellScale scale_of_cell(float minimum, float maximum, const ScaleGrid& grid) {
  // never -0, which has an exponent's bits beside it
  const float largest = (-minimum > maximum ? -minimum : maximum) + 0.0f;
  if (grid.storage == ScaleStorage::exponent) return {float_from_e8m0(mx_exponent(largest, grid)), 0};
  const float steps = grid.high - grid.low;
  if (grid.symmetric) {
    float scale = round_to_model(largest / (steps / 2), grid.model);
    if (grid.storage == ScaleStorage::e4m3) {
      scale = grid.global_scale * scale;
      scale = float_from_e4m3(e4m3_from_float(scale < 448.0f ? scale : 448.0f));
      return {scale == 0.0f ? smallest_scale(DType::f8_e4m3) : scale, 0};
    }
    return {scale == 0.0f ? smallest_scale(grid.model) : scale, 0};
  }
  const float scale = round_to_model(round_to_model(maximum - minimum, grid.model) / steps, grid.model);
  const float exact = round_to_model(grid.low - round_to_model(minimum / scale, grid.model), grid.model);
  const int8_t zero_point = exact != exact
      ? int8_t{0}
      : static_cast<int8_t>(round_to_whole(clamp_between(exact, grid.low, grid.high)));
  return {scale == 0.0f ? smallest_scale(grid.model) : scale, zero_point};
}

// ---- codes

// How the quotient (and its sum with the zero point) is rounded before it becomes a code.
struct KeepQuotient {
  constexpr float operator()(float value) const { return value; }
};
struct QuotientToBf16 {
  constexpr float operator()(float value) const { return round_to_bf16(value); }
};
struct QuotientToF16 {
  constexpr float operator()(float value) const { return float_from_f16(f16_from_float(value)); }
};

// A quotient as a code.
struct IntegerCode {
  using Type = int8_t;
  float low, high;
  constexpr int8_t operator()(float value) const {
    value = value > low ? value : low;  // NaN becomes the lowest code
    value = value < high ? value : high;
    return static_cast<int8_t>(round_to_whole(value));
  }
};
struct Fp8Code {
  using Type = uint8_t;
  constexpr uint8_t operator()(float value) const {
    value = value < -448.0f ? -448.0f : value;
    value = value > 448.0f ? 448.0f : value;
    return e4m3_from_float(value);
  }
};
struct Fp4Code {
  using Type = uint8_t;
  constexpr uint8_t operator()(float value) const { return fp4_from_float(value); }
};
// What a code stands for, before its zero point and scale.
constexpr float value_of_code(const IntegerCode&, int8_t code) { return static_cast<float>(code); }
constexpr float value_of_code(const Fp8Code&, uint8_t code) { return float_from_e4m3(code); }
constexpr float value_of_code(const Fp4Code&, uint8_t code) { return float_from_fp4(code); }

}  // namespace llmc
