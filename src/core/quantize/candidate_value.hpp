// What one value adds to the cost of a candidate scale, and the order in which torch sums, as pure functions:
// candidate_error.cpp loops over them, kernels of a device call them thread by thread.
#pragma once
#include <bit>
#include <cstdint>

#include "core/quantize/number_formats.hpp"

namespace llmc {

// ---- a quotient as the nearest number of the grid

struct IntegerGrid {
  float low, high;
  constexpr explicit IntegerGrid(int bits)
      : low(-static_cast<float>(int64_t{1} << (bits - 1))),
        high(-low - 1.0f) {}
  constexpr float operator()(float value) const {
    // adding it leaves no bits for a fraction: round to nearest even
    constexpr float kNoFraction = 0x1.8p23f;
    value = value > low ? value : low;
    value = value < high ? value : high;
    return (value + kNoFraction) - kNoFraction;
  }
};
struct Float8Grid {
  constexpr float operator()(float value) const {
    value = value > -448.0f ? value : -448.0f;
    value = value < 448.0f ? value : 448.0f;
    return float_from_e4m3(e4m3_from_float(value));
  }
};
constexpr float size_of(float value) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) & 0x7FFFFFFFu);
}
struct Float4Grid {  // ties to the even mantissa
  constexpr float operator()(float value) const {
    const float size = size_of(value);
    float rounded = size > 0.25f ? 0.5f : 0.0f;
    rounded = size >= 0.75f ? 1.0f : rounded;
    rounded = size > 1.25f ? 1.5f : rounded;
    rounded = size >= 1.75f ? 2.0f : rounded;
    rounded = size > 2.5f ? 3.0f : rounded;
    rounded = size >= 3.5f ? 4.0f : rounded;
    rounded = size > 5.0f ? 6.0f : rounded;
    return value < 0.0f ? -rounded : rounded;
  }
};

// ---- to the dtype of the arithmetic; index: the bits of a number of it that is not negative

struct ToBf16 {
  constexpr float operator()(float value) const {  // as round_to_bf16 for numbers; NaN does not come here
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    return std::bit_cast<float>((bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u);
  }
  static constexpr uint32_t index(float value) { return std::bit_cast<uint32_t>(value) >> 16; }
};
struct ToF16 {
  constexpr float operator()(float value) const { return float_from_f16(f16_from_float(value)); }
  static constexpr uint32_t index(float value) { return f16_from_float(value); }
};
struct ToF32 {
  constexpr float operator()(float value) const { return value; }
  static constexpr uint32_t index(float) { return 0; }
};

// ---- to the grid and back, less the value. `round`: after each step

template <class Grid, class Round>
constexpr float symmetric_difference(float value, float scale, const Grid& grid, const Round& round) {
  return round(grid(round(value / scale)) * scale) - value;
}
template <class Grid, class Round>
constexpr float shifted_difference(float value,
                                   float scale,
                                   float zero,
                                   const Grid& grid,
                                   const Round& round) {
  return round((grid(round(round(value / scale) + zero)) - zero) * scale) - value;
}

// base ^ exponent through double logarithms of our own: the C library's differ between processors.
// Vectorizes.
constexpr float power_of(float base, float exponent) {
  const double wide = static_cast<double>(base);
  // mantissas from sqrt(1/2) to sqrt(2)
  const uint64_t bits = std::bit_cast<uint64_t>(wide), above = bits - 0x3FE6A09E667F3BCDull;
  const auto whole = static_cast<int32_t>(static_cast<int64_t>(above) >> 52);
  const double mantissa = std::bit_cast<double>(bits -
                                                (static_cast<uint64_t>(static_cast<int64_t>(whole)) << 52));
  const double t = (mantissa - 1.0) / (mantissa + 1.0), t2 = t * t;
  const double series = t *
      (1.0 +
       t2 *
           (1.0 / 3 +
            t2 *
                (1.0 / 5 +
                 t2 * (1.0 / 7 + t2 * (1.0 / 9 + t2 * (1.0 / 11 + t2 * (1.0 / 13 + t2 * (1.0 / 15))))))));
  double y = (static_cast<double>(whole) + series * 2.8853900817779268) * static_cast<double>(exponent);
  y = y > 1000.0 ? 1000.0 : y;
  y = y < -1000.0 ? -1000.0 : y;
  constexpr double kNoFraction = 0x1.8p52;
  const double shifted = y + kNoFraction, nearest = shifted - kNoFraction,
               f = (y - nearest) * 0.69314718055994531;
  double e = 1.0 + f * (1.0 / 11);
  for (double k = 10; k >= 1; k -= 1) e = 1.0 + f * e * (1.0 / k);
  const uint64_t scale = (std::bit_cast<uint64_t>(shifted) + 1023) << 52;
  return base > 0.0f ? static_cast<float>(e * std::bit_cast<double>(scale)) : 0.0f;
}
// |difference| ^ norm in float32.
constexpr float raised(float difference, float norm) {
  const float size = size_of(difference);
  return norm == 3.0f ? size * size * size : norm == 2.0f ? size * size : power_of(size, norm);
}

// ---- torch's order of summation: loads of 8 lanes dealt to four chains, the rest of them added to the first;
// chains, then what fills no load, then lanes

constexpr int kSumLanes = 8, kSumChains = 4;

struct SumOrder {
  // values in a load (`paired`: 16-bit numbers are added in pairs first); loads in all; loads in each chain
  int64_t width, loads, rounds;
  constexpr SumOrder(int64_t count, bool paired)
      : width(paired ? 2 * kSumLanes : kSumLanes),
        loads(count / width),
        rounds(loads / kSumChains) {}
};

// One of the chains: sums of sums, so that the error grows with the logarithm of the count. Sum: a lane, or
// all of them.
template <class Sum>
class SumChain {
 public:
  constexpr explicit SumChain(int64_t size) {
    int bits = 0;
    while ((int64_t{1} << bits) < size) ++bits;
    power_ = bits / kLevels > 4 ? bits / kLevels : 4;
  }
  constexpr void add(const Sum& value) {
    sums_[0] += value;
    ++count_;
    const int64_t mask = (int64_t{1} << power_) - 1;
    if (count_ & mask) return;
    for (int level = 1; level < kLevels; ++level) {
      sums_[level] += sums_[level - 1];
      sums_[level - 1] = Sum{};
      if (count_ & (mask << (level * power_))) break;
    }
  }
  constexpr Sum total() const {
    Sum sum = sums_[0];
    for (int level = 1; level < kLevels; ++level) sum += sums_[level];
    return sum;
  }

 private:
  static constexpr int kLevels = 4;
  Sum sums_[kLevels] = {};
  int64_t count_ = 0;
  int power_ = 4;
};

}  // namespace llmc
