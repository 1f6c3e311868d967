// The arithmetic of compressed-tensors once more, one number at a time and from its description alone:
// nothing of src/core/quantize is used. Slow on purpose; random tests hold the real thing against it bit for
// bit.
#pragma once
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "llmc/scheme.hpp"

namespace llmc::test {

// A binary floating format: stored fraction bits, smallest normal exponent, largest finite number.
struct Binary {
  int fraction, smallest_exponent, bias, bits;
  double largest;
};
inline constexpr Binary kBf16{7, -126, 127, 16, 3.3895313892515355e38}, kF16{10, -14, 15, 16, 65504},
    kF32{23, -126, 127, 32, 3.4028234663852886e38}, kE4m3{3, -6, 7, 8, 448};

// To the nearest number of the format, ties to even; beyond the largest: infinity.
inline double nearest(double x, const Binary& format) {
  if (x == 0 || !std::isfinite(x)) return x;
  int exponent;
  std::frexp(x, &exponent);
  const int unit = std::max(exponent - 1, format.smallest_exponent) - format.fraction;
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(x, -unit)), unit);
  return std::fabs(rounded) > format.largest ? std::copysign(std::numeric_limits<double>::infinity(), x)
                                             : rounded;
}
inline double float32(double x) { return nearest(x, kF32); }

inline uint32_t bits_of(double x, const Binary& format) {
  const uint32_t sign = std::signbit(x) ? 1u << (format.bits - 1) : 0u;
  x = std::fabs(x);
  if (x == 0) return sign;
  if (std::isinf(x)) return sign | ((((1u << (format.bits - 1 - format.fraction)) - 1)) << format.fraction);
  int exponent;
  std::frexp(x, &exponent);
  exponent = std::max(exponent - 1, format.smallest_exponent);
  // with the leading one, unless subnormal
  const auto fraction = static_cast<uint32_t>(std::ldexp(x, format.fraction - exponent));
  return sign + fraction + (static_cast<uint32_t>(exponent + format.bias - 1) << format.fraction);
}
inline double value_of(uint32_t bits, const Binary& format) {
  const uint32_t magnitude = bits & ((1u << (format.bits - 1)) - 1),
                 fraction = magnitude & ((1u << format.fraction) - 1);
  const int exponent = static_cast<int>(magnitude >> format.fraction);
  const double value = exponent
      ? std::ldexp(1.0 + std::ldexp(fraction, -format.fraction), exponent - format.bias)
      : std::ldexp(fraction, format.smallest_exponent - format.fraction);
  return bits >> (format.bits - 1) & 1 ? -value : value;
}

inline const Binary& binary(DType dtype) {
  return dtype == DType::bf16 ? kBf16 : dtype == DType::f16 ? kF16 : kF32;
}

struct ScalarMatrix {
  int64_t rows = 0, columns = 0;
  std::vector<double> values;  // [rows, columns], numbers of the dtype
};

struct ScalarResult {
  std::vector<double> scales;           // as multipliers before the global scale
  std::vector<uint32_t> scale_bits;     // as stored
  std::vector<int> zero_points, codes;  // codes: numbers for integers, bits for floats
  double global_scale = 0;
  std::vector<double> decoded;
};

class ScalarReference {
 public:
  ScalarReference(const QuantizationArgs& args, DType dtype, bool exact)
      : args_(args),
        dtype_(dtype),
        format_(binary(dtype)),
        exact_(exact) {
    mx_ = args.type == NumberType::floating && args.group_size == 32 && args.scale_dtype == DType::u8;
    nv_ = args.strategy == Strategy::tensor_group;
    const bool integer = args.type == NumberType::integer;
    low_ = integer ? -std::pow(2.0, args.num_bits - 1) : args.num_bits == 8 ? -448 : -6;
    high_ = integer ? -low_ - 1 : -low_;
  }

  ScalarResult run(const ScalarMatrix& w) const {
    ScalarResult out;
    double largest = 0;
    for (double x : w.values) largest = std::max(largest, std::fabs(x));
    out.global_scale = nv_ ? global_scale(largest) : 1;
    const int64_t across = cells_across(w), down = cells_down(w);
    std::vector<double> minimum(static_cast<size_t>(across * down), 0.0), maximum = minimum;
    for (int64_t r = 0; r < w.rows; ++r)
      for (int64_t c = 0; c < w.columns; ++c) {
        const size_t cell = cell_of(w, r, c);
        minimum[cell] = std::min(minimum[cell], at(w, r, c));
        maximum[cell] = std::max(maximum[cell], at(w, r, c));
      }
    for (size_t i = 0; i < minimum.size(); ++i) scale(out, minimum[i], maximum[i]);
    for (int64_t r = 0; r < w.rows; ++r)
      for (int64_t c = 0; c < w.columns; ++c) quantize(out, at(w, r, c), cell_of(w, r, c));
    return out;
  }

 private:
  static double at(const ScalarMatrix& w, int64_t r, int64_t c) {
    return w.values[static_cast<size_t>(r * w.columns + c)];
  }
  double round(double x) const { return nearest(x, format_); }

  int64_t cell_height(const ScalarMatrix& w) const {
    return args_.strategy == Strategy::tensor ? w.rows
        : args_.strategy == Strategy::block   ? (*args_.block_structure)[0]
                                              : 1;
  }
  int64_t cell_width(const ScalarMatrix& w) const {
    if (args_.strategy == Strategy::block) return (*args_.block_structure)[1];
    return args_.strategy == Strategy::group || nv_ ? *args_.group_size : w.columns;
  }
  int64_t cells_across(const ScalarMatrix& w) const {
    return (w.columns + cell_width(w) - 1) / cell_width(w);
  }
  int64_t cells_down(const ScalarMatrix& w) const { return (w.rows + cell_height(w) - 1) / cell_height(w); }
  size_t cell_of(const ScalarMatrix& w, int64_t r, int64_t c) const {
    return static_cast<size_t>(r / cell_height(w) * cells_across(w) + c / cell_width(w));
  }

  // 2688 / absmax in two roundings; float32 for float16 models, where the reference would overflow.
  double global_scale(double largest) const {
    const Binary& format = dtype_ == DType::bf16 ? kBf16 : kF32;
    const double inverse = nearest(float32(1.0 / std::max(largest, std::ldexp(1.0, -126))), format),
                 product = nearest(float32(inverse * 2688.0), format);
    return std::isfinite(product) ? product : 1.0;
  }

  void scale(ScalarResult& out, double minimum, double maximum) const {
    const double largest = std::max(-minimum, maximum), steps = high_ - low_;
    double s, zero = 0;
    if (mx_) return mx_scale(out, largest);
    if (args_.symmetric) {
      s = round(float32(largest / (steps / 2)));
    } else {
      s = round(float32(round(float32(maximum - minimum)) / steps));
      const double shift = minimum == 0 && s == 0 ? std::nan("")
          : s == 0                                ? -std::numeric_limits<double>::infinity()
                                                  : round(float32(minimum / s));
      zero = round(float32(low_ - shift));
      zero = std::isnan(zero) ? 0 : std::nearbyint(std::min(std::max(zero, low_), high_));
    }
    if (nv_) {
      s = nearest(std::min(float32(out.global_scale * s), 448.0), kE4m3);
      s = s == 0 ? 0.125 : s;
      out.scale_bits.push_back(bits_of(s, kE4m3));
    } else {
      s = s != 0                  ? s
          : dtype_ == DType::bf16 ? std::ldexp(1.0, -7)
          : dtype_ == DType::f16  ? std::ldexp(1.0, -10)
                                  : std::ldexp(1.0, -23);
      out.scale_bits.push_back(bits_of(s, format_));
    }
    out.scales.push_back(s);
    out.zero_points.push_back(static_cast<int>(zero));
  }

  // A power of two: rounded up from three quarters of the way to the next one, then down by the exponent of
  // the grid's largest number.
  void mx_scale(ScalarResult& out, double largest) const {
    double exponent = -std::numeric_limits<double>::infinity();
    const double smallest = std::ldexp(1.0, format_.smallest_exponent);
    if (largest < smallest) {
      if (largest >= 0.75 * smallest) exponent = format_.smallest_exponent;
    } else {
      int e;
      const double mantissa = 2 * std::frexp(largest, &e);
      exponent = e - 1 + (mantissa >= 1.75 ? 1 : 0);
    }
    const double code = std::min(255.0, std::max(0.0, 127 + exponent - (args_.num_bits == 4 ? 2 : 8)));
    double s = round(std::ldexp(1.0, static_cast<int>(code) - 127));
    if (s == 0) s = 1;
    int e;
    std::frexp(s, &e);
    out.scales.push_back(s);
    out.scale_bits.push_back(static_cast<uint32_t>(127 + e - 1));
    out.zero_points.push_back(0);
  }

  static double fp4(double magnitude) {
    const double limits[] = {0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5}, values[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    int i = 0;
    while (i < 7 && (i % 2 ? magnitude >= limits[i] : magnitude > limits[i])) ++i;
    return values[i];
  }

  void quantize(ScalarResult& out, double x, size_t cell) const {
    const double s = nv_ ? float32(out.scales[cell] / out.global_scale) : out.scales[cell],
                 zero = out.zero_points[cell];
    const auto quotient = [&](double v) { return exact_ || nv_ ? float32(v) : round(float32(v)); };
    double y = quotient(quotient(x / s) + zero);
    y = std::min(std::max(y, low_), high_);
    double q;
    if (args_.type == NumberType::integer) {
      out.codes.push_back(static_cast<int>(std::nearbyint(y)));
      q = out.codes.back();
    } else if (args_.num_bits == 8) {
      q = nearest(y, kE4m3);
      out.codes.push_back(static_cast<int>(bits_of(q == 0 && y == 0 ? 0.0 : q, kE4m3)));
    } else {
      const double size = fp4(std::fabs(y));
      q = y < 0 ? -size : size;
      int index = 0;
      while (fp4(std::vector<double>{0, 0.5, 1, 1.5, 2, 3, 4, 6}[static_cast<size_t>(index)]) != size)
        ++index;
      out.codes.push_back(index | (y < 0 ? 8 : 0));
    }
    out.decoded.push_back(nv_ ? round(float32(q * s)) : round(float32((q - zero) * s)));
  }

  QuantizationArgs args_;
  DType dtype_;
  Binary format_;
  bool exact_, mx_ = false, nv_ = false;
  double low_ = 0, high_ = 0;
};

// Numbers of `bits` bits, offset by 2^(bits - 1), one after another, lowest bit first, in 32-bit words.
inline std::vector<uint32_t> packed_bits(const std::vector<int>& numbers, int bits) {
  std::vector<uint32_t> words((numbers.size() * static_cast<size_t>(bits) + 31) / 32, 0u);
  size_t position = 0;
  for (const int number : numbers)
    for (int bit = 0; bit < bits; ++bit, ++position)
      if ((number + (1 << (bits - 1))) >> bit & 1) words[position / 32] |= 1u << (position % 32);
  return words;
}

}  // namespace llmc::test
