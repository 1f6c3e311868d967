// Plain loops, compiled once per instruction set (without contraction to fused multiply-add: CMakeLists.txt), so that all give the same bits.
#include "core/quantize/candidate_error.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/quantize/number_formats.hpp"

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/quantize/candidate_error.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc {
namespace HWY_NAMESPACE {
namespace {

struct IntegerGrid {
  float low, high;
  float operator()(float value) const {
    constexpr float kNoFraction = 0x1.8p23f;  // adding it leaves no bits for a fraction: round to nearest even
    value = value > low ? value : low;
    value = value < high ? value : high;
    return (value + kNoFraction) - kNoFraction;
  }
};
struct Float8Grid {
  float operator()(float value) const {
    value = value > -448.0f ? value : -448.0f;
    value = value < 448.0f ? value : 448.0f;
    return float_from_e4m3(e4m3_from_float(value));
  }
};
struct Float4Grid {  // ties to the even mantissa
  float operator()(float value) const {
    const float size = std::fabs(value);
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

struct ToBf16 {
  float operator()(float value) const {  // as round_to_bf16 for numbers; NaN does not come here
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    return std::bit_cast<float>((bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u);
  }
  static uint32_t index(float value) { return std::bit_cast<uint32_t>(value) >> 16; }
};
struct ToF16 {
  float operator()(float value) const { return float_from_f16(f16_from_float(value)); }
  static uint32_t index(float value) { return f16_from_float(value); }
};
struct ToF32 {
  float operator()(float value) const { return value; }
  static uint32_t index(float) { return 0; }
};

// base ^ exponent through double logarithms of our own: the C library's differ between processors. Vectorizes.
inline float power_of(float base, float exponent) {
  const double wide = static_cast<double>(base);
  const uint64_t bits = std::bit_cast<uint64_t>(wide), above = bits - 0x3FE6A09E667F3BCDull;  // mantissas from sqrt(1/2) to sqrt(2)
  const auto whole = static_cast<int32_t>(static_cast<int64_t>(above) >> 52);
  const double mantissa = std::bit_cast<double>(bits - (static_cast<uint64_t>(static_cast<int64_t>(whole)) << 52));
  const double t = (mantissa - 1.0) / (mantissa + 1.0), t2 = t * t;
  const double series = t * (1.0 + t2 * (1.0 / 3 + t2 * (1.0 / 5 + t2 * (1.0 / 7 + t2 * (1.0 / 9 + t2 * (1.0 / 11 + t2 * (1.0 / 13 + t2 * (1.0 / 15))))))));
  double y = (static_cast<double>(whole) + series * 2.8853900817779268) * static_cast<double>(exponent);
  y = y > 1000.0 ? 1000.0 : y;
  y = y < -1000.0 ? -1000.0 : y;
  constexpr double kNoFraction = 0x1.8p52;
  const double shifted = y + kNoFraction, nearest = shifted - kNoFraction, f = (y - nearest) * 0.69314718055994531;
  double e = 1.0 + f * (1.0 / 11);
  for (double k = 10; k >= 1; k -= 1) e = 1.0 + f * e * (1.0 / k);
  const uint64_t scale = (std::bit_cast<uint64_t>(shifted) + 1023) << 52;
  return base > 0.0f ? static_cast<float>(e * std::bit_cast<double>(scale)) : 0.0f;
}

template <class Grid, class Round>
void fill(const Candidate& c, const ErrorPower& power, const Grid& grid, const Round& round, float* errors) {
  const float scale = c.scale, zero = c.symmetric ? 0.0f : c.zero_point;
  const bool weighted = c.importance != nullptr;
  if (c.symmetric)
    for (int64_t i = 0; i < c.count; ++i) errors[i] = round(grid(round(c.values[i] / scale)) * scale) - c.values[i];
  else
    for (int64_t i = 0; i < c.count; ++i) errors[i] = round((grid(round(round(c.values[i] / scale) + zero)) - zero) * scale) - c.values[i];
  if (power.table()) {  // the bits of the differences, for look_up
    for (int64_t i = 0; i < c.count; ++i) errors[i] = std::bit_cast<float>(Round::index(std::fabs(round(errors[i]))) & 0x7FFFu);
    return;
  }
  const float norm = power.norm();
  if (norm == 3.0f)
    for (int64_t i = 0; i < c.count; ++i) errors[i] = std::fabs(errors[i]) * std::fabs(errors[i]) * std::fabs(errors[i]);
  else if (norm == 2.0f)
    for (int64_t i = 0; i < c.count; ++i) errors[i] = errors[i] * errors[i];
  else
    for (int64_t i = 0; i < c.count; ++i) errors[i] = power_of(std::fabs(errors[i]), norm);
  if (weighted)
    for (int64_t i = 0; i < c.count; ++i) errors[i] *= c.importance[i];
}

template <class Grid>
void fill_dtype(const Candidate& c, const ErrorPower& power, const Grid& grid, float* errors) {
  if (c.dtype == DType::bf16) return fill(c, power, grid, ToBf16(), errors);
  if (c.dtype == DType::f16) return fill(c, power, grid, ToF16(), errors);
  fill(c, power, grid, ToF32(), errors);
}

void fill_errors(const Candidate& c, const ErrorPower& power, float* errors) {
  if (c.type == NumberType::floating) return c.num_bits == 4 ? fill_dtype(c, power, Float4Grid(), errors) : fill_dtype(c, power, Float8Grid(), errors);
  const float half = static_cast<float>(int64_t{1} << (c.num_bits - 1));
  fill_dtype(c, power, IntegerGrid{-half, half - 1.0f}, errors);
}

float raise(float base, float exponent) { return power_of(base, exponent); }

}  // namespace

struct CandidateKernels {
  void (*fill)(const Candidate&, const ErrorPower&, float*);
  float (*raise)(float, float);
};
constexpr CandidateKernels kKernels{fill_errors, raise};

}  // namespace HWY_NAMESPACE
}  // namespace llmc
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmc {
namespace {

using FillErrors = void (*)(const Candidate&, const ErrorPower&, float*);

FillErrors best_fill() {
#if defined(__x86_64__)
  const int64_t supported = hwy::SupportedTargets();
  if (supported & HWY_AVX3) return N_AVX3::kKernels.fill;
  if (supported & HWY_AVX2) return N_AVX2::kKernels.fill;
#endif
  return HWY_NAMESPACE::kKernels.fill;
}

// One load after another, on every processor: gather instructions are slower where they are mitigated.
void look_up(const float* table, int64_t count, float* errors) {
  for (int64_t i = 0; i < count; ++i) errors[i] = table[std::bit_cast<uint32_t>(errors[i])];
}

constexpr int64_t kLanes = 8, kChains = 4, kLevels = 4;
using Lanes = std::array<float, kLanes>;

void add(Lanes& to, const Lanes& from) {
  for (size_t l = 0; l < kLanes; ++l) to[l] += from[l];
}

// One of the four chains: sums of sums, so that the error grows with the logarithm of the count.
template <class Load>
Lanes cascade(int64_t size, const Load& load) {
  constexpr int64_t kShort = 16;  // below it there is one level
  if (size < kShort) {
    Lanes sum{};
    for (int64_t i = 0; i < size; ++i) add(sum, load(i));
    return sum;
  }
  int64_t bits = 0;
  while ((int64_t{1} << bits) < size) ++bits;
  const int64_t power = std::max<int64_t>(4, bits / kLevels), step = int64_t{1} << power, mask = step - 1;
  std::array<Lanes, kLevels> sums{};
  int64_t i = 0;
  while (i + step <= size) {
    for (int64_t j = 0; j < step; ++j, ++i) add(sums[0], load(i));
    for (int64_t level = 1; level < kLevels; ++level) {
      add(sums[static_cast<size_t>(level)], sums[static_cast<size_t>(level - 1)]);
      sums[static_cast<size_t>(level - 1)] = {};
      if (i & (mask << (level * power))) break;
    }
  }
  for (; i < size; ++i) add(sums[0], load(i));
  for (size_t level = 1; level < kLevels; ++level) add(sums[0], sums[level]);
  return sums[0];
}

}  // namespace

ErrorPower::ErrorPower(double norm, DType dtype, bool widened) : dtype_(widened ? DType::f32 : dtype), norm_(round_to(static_cast<float>(norm), dtype_)) {
  if (dtype_ != DType::bf16 && dtype_ != DType::f16) return;
  const bool bf16 = dtype_ == DType::bf16;
  table_.resize(32768);
  for (uint32_t bits = 0; bits < table_.size(); ++bits) {
    const float base = bf16 ? float_from_bf16(static_cast<uint16_t>(bits)) : float_from_f16(static_cast<uint16_t>(bits));
    if (!std::isfinite(base)) table_[bits] = base;
    else if (bf16 && norm_ == 3.0f) table_[bits] = round_to_bf16(round_to_bf16(base * base) * base);
    else table_[bits] = round_to(norm_ == 1.0f ? base : norm_ == 2.0f ? base * base : HWY_NAMESPACE::kKernels.raise(base, norm_), dtype_);
  }
}

void candidate_errors(const Candidate& candidate, const ErrorPower& power, float* errors) {
  static const FillErrors fill = best_fill();
  fill(candidate, power, errors);
  if (power.table()) look_up(power.table(), candidate.count, errors);
}

float torch_ordered_sum(const float* values, int64_t count, bool paired) {
  const int64_t width = paired ? 2 * kLanes : kLanes, loads = count / width, rounds = loads / kChains;
  const auto load = [&](int64_t i) {
    Lanes lanes;
    const float* from = values + i * width;
    if (paired)
      for (size_t l = 0; l < kLanes; ++l) lanes[l] = from[l] + from[l + kLanes];
    else
      std::copy_n(from, kLanes, lanes.begin());
    return lanes;
  };
  std::array<Lanes, kChains> chains;
  for (int64_t c = 0; c < kChains; ++c) chains[static_cast<size_t>(c)] = cascade(rounds, [&](int64_t i) { return load(i * kChains + c); });
  for (int64_t i = rounds * kChains; i < loads; ++i) add(chains[0], load(i));
  for (size_t c = 1; c < kChains; ++c) add(chains[0], chains[c]);
  float total = 0;
  for (int64_t i = loads * width; i < count; ++i) total += values[i];
  for (const float lane : chains[0]) total += lane;
  return total;
}

}  // namespace llmc
#endif
